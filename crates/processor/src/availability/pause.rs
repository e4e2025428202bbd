//! Pauses and outages: while nobody can be answered, everything waits; people are told once, and once more when it is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tinyclaw_domain::{Key, ThreadId};
use tinyclaw_service::Vitals;
use tinyclaw_service::settings::{Settings, Store};

use crate::availability::notices::Notices;
use crate::blocking::lock;
use crate::policy::failure::{Pause, Waited};

/// The concern that no turn can run.
const ENGINE: &str = "engine";
/// The concern that the API answers nobody, and what a thread is told of it.
const OUTAGE: &str = "api";
/// What a thread is told of while no turn can run.
const PAUSE: &str = "pause";
/// An outage is worth a word from then on.
const OUTAGE_TOLD_AFTER: Duration = Duration::from_secs(120);

/// What was not tried again for so long is not waited for any more.
const FAILED_KEPT: Duration = Duration::from_secs(48 * 3_600);

/// A pause, and when to look whether it is over.
#[derive(Debug, Clone)]
pub(crate) struct Paused {
    pub(crate) pause: Pause,
    pub(crate) next_look: Instant,
}

/// Whether turns can run.
pub(crate) struct Availability {
    settings: Store<Settings>,
    vitals: Vitals,
    notices: Arc<Notices>,
    /// Guards why no turn can run. Held for a look or a change, and nothing is locked within it.
    paused: Mutex<Option<Paused>>,
    /// Guards who could not be answered since when. Held for a look or a change, and nothing is locked within it.
    outage: Mutex<Outage>,
}

/// When messages that could not be answered first failed, and when anybody was answered last.
#[derive(Debug, Default)]
struct Outage {
    /// When each failed first, and how often since.
    failed: HashMap<Key, (Instant, u32)>,
    answered_at: Option<Instant>,
}

impl Availability {
    /// Available, until it turns out otherwise.
    pub(crate) fn new(
        settings: Store<Settings>,
        vitals: Vitals,
        notices: Arc<Notices>,
    ) -> Availability {
        let (paused, outage) = (Mutex::default(), Mutex::default());
        Availability { settings, vitals, notices, paused, outage }
    }

    /// Why no turn can run, if none can.
    pub(crate) fn paused(&self) -> Option<Paused> {
        lock(&self.paused).clone()
    }

    /// `Claude's plan limit is reached until 15:00.`
    pub(crate) fn sentence(&self, pause: &Pause) -> String {
        match pause.until.and_then(|it| jiff::Timestamp::from_second(it as i64).ok()) {
            Some(until) => {
                let until = until.to_zoned(self.settings.current().office.timezone.clone());
                format!("{} until {}.", pause.why, until.strftime("%H:%M"))
            }
            None => format!("{}.", pause.why),
        }
    }

    /// Stops asking Claude until it is over. Everything waits; each thread is told when it comes up.
    pub(crate) fn pause(&self, pause: Pause) {
        tracing::error!("no turn can run: {}", pause.why);
        let sentence = self.sentence(&pause);
        self.vitals.block(ENGINE, sentence.clone());
        self.notices
            .concern(ENGINE, Some(format!("{sentence} What waits goes on by itself then.")));
        // Whoever reads that needs not be told once more what waits for it.
        self.notices.are_told(PAUSE);
        let next_look = Instant::now() + pause.look_in;
        *lock(&self.paused) = Some(Paused { pause, next_look });
    }

    /// Looks again later.
    pub(crate) fn look_again_in(&self, time: Duration) {
        if let Some(paused) = lock(&self.paused).as_mut() {
            paused.next_look = Instant::now() + time;
        }
    }

    /// Tells a thread, once, why its messages wait.
    pub(crate) fn tell_of_pause(&self, thread: &ThreadId, text: &str) {
        self.notices.say_once(thread, PAUSE, text);
    }

    /// Turns run again, until the next one says otherwise. People are told when one was answered.
    pub(crate) fn go_on(&self) {
        if lock(&self.paused).take().is_some() {
            tracing::info!("turns run again");
        }
        self.vitals.unblock(ENGINE);
    }

    /// Whatever kept turns from being answered is over.
    pub(crate) fn cured(&self) {
        if lock(&self.paused).is_some() {
            // The answer was on its way before.
            return;
        }
        self.notices.forget_in_threads(&[PAUSE, OUTAGE]);
        let is_told = self.notices.is_told(ENGINE);
        self.notices.concern(ENGINE, None);
        if is_told {
            // One thing for whoever reads it, and said.
            self.notices.forget(OUTAGE);
        }
        self.notices.concern(OUTAGE, None);
    }

    /// A message could not be answered, maybe because nobody is: how long that has been so.
    pub(crate) fn note_failure(&self, key: &Key) -> Waited {
        let mut outage = lock(&self.outage);
        let now = Instant::now();
        // Who was stopped while it waited comes no more.
        outage.failed.retain(|_, (first, _)| now - *first < FAILED_KEPT);
        let answered_at = outage.answered_at;
        let (first, tries) = outage.failed.entry(key.clone()).or_insert((now, 0));
        *tries += 1;
        Waited {
            since: now - *first,
            tries: *tries,
            others_were_answered: answered_at.is_some_and(|it| it > *first),
        }
    }

    /// Somebody was answered: whatever was out is back.
    pub(crate) fn note_answered(&self, key: &Key) {
        {
            let mut outage = lock(&self.outage);
            outage.failed.remove(key);
            outage.answered_at = Some(Instant::now());
        }
        self.cured();
    }

    /// A message is not tried any more: nothing waits for it.
    pub(crate) fn forget(&self, key: &Key) {
        lock(&self.outage).failed.remove(key);
    }

    /// The API answers nobody. Told once it has lasted: it happens, and passes.
    pub(crate) fn note_outage(&self, thread: &ThreadId, since: Duration, what: &str) {
        if since < OUTAGE_TOLD_AFTER {
            return;
        }
        self.notices.concern(
            OUTAGE,
            Some(format!("{what} Messages wait and are tried until they are answered.")),
        );
        if !self.notices.operators().contains(thread) {
            let text = format!("{what} This message is tried again until it is answered.");
            self.notices.say_once(thread, OUTAGE, &text);
        }
    }
}
