//! Pauses, outages and places out of reach: while nobody can be answered at a place, everything of that place waits; people
//! are told once, and once more when it is over.

use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::{
    ButtonPress, Command, DevboxName, DevboxOrder, Key, Message, Place, ReplyButton, ThreadId,
};
use tinyclaw_engine::{Engine, OutOfReach, Taken};
use tinyclaw_service::settings::{Settings, Store};
use tinyclaw_service::{Vitals, now_ms};

use crate::availability::notices::Notices;
pub(crate) use crate::availability::places::Paused;
use crate::availability::places::Places;
use crate::availability::taken::TakenDirectories;
use crate::policy::failure::{Pause, Waited};

/// The concern that no turn can run.
const ENGINE: &str = "engine";
/// The concern that the API answers nobody, and what a thread is told of it.
const OUTAGE: &str = "api";
/// What a thread is told of while no turn can run.
const PAUSE: &str = "pause";
/// The concern that a place does not answer, and what a thread is told of it.
const AWAY: &str = "out of reach";
/// The same of one that a person has to do something about.
const HELD: &str = "held";
/// The concern that a leash does not promise everything.
const LEASH: &str = "leash";
/// An outage is worth a word from then on.
const OUTAGE_TOLD_AFTER: Duration = Duration::from_secs(120);
/// A link that is cut is mended within seconds, as a rule: before this nobody is told.
const AWAY_TOLD_AFTER: Duration = Duration::from_secs(30);
/// What is held looks so often whether a person has acted. Nobody is asked for it.
pub(crate) const HELD_LOOK: Duration = Duration::from_secs(3);

/// Whether turns can run, place by place. Operators are told of this machine; of another place its own threads are, and
/// `health/` says it.
pub(crate) struct Availability {
    settings: Store<Settings>,
    vitals: Vitals,
    notices: Arc<Notices>,
    engine: Engine,
    places: Places,
    taken: TakenDirectories,
}

impl Availability {
    /// Available, until it turns out otherwise.
    pub(crate) fn new(
        settings: Store<Settings>,
        vitals: Vitals,
        notices: Arc<Notices>,
        engine: Engine,
    ) -> Availability {
        let (places, taken) = (Places::default(), TakenDirectories::default());
        Availability { settings, vitals, notices, engine, places, taken }
    }

    /// Why no turn can run at a place, if none can.
    pub(crate) fn paused(&self, place: &Place) -> Option<Paused> {
        self.places.paused(place)
    }

    /// Every place where no turn can run.
    pub(crate) fn all_paused(&self) -> Vec<(Place, Paused)> {
        self.places.all_paused()
    }

    /// `Claude's plan limit is reached until 15:00.`
    pub(crate) fn sentence(&self, pause: &Pause) -> String {
        let at = pause.until.and_then(|it| jiff::Timestamp::from_second(it as i64).ok());
        match at {
            Some(until) => format!("{} until {}.", pause.why, self.clock_time(until)),
            None => format!("{}.", pause.why),
        }
    }

    /// `api is out of reach since 12:03; Claude goes on there.` To be said of a turn that runs.
    pub(crate) fn lost_in_a_turn(&self, place: &Place, at: u64, is_stopping: bool) -> String {
        if is_stopping {
            return format!("Stopping when {place} is back in reach.");
        }
        format!("{place} is out of reach since {}; Claude goes on there.", self.clock_time_of(at))
    }

    /// `12:03`, of a time in ms since 1970.
    pub(crate) fn clock_time_of(&self, at: u64) -> String {
        self.clock_time(jiff::Timestamp::from_millisecond(at.cast_signed()).unwrap_or_default())
    }

    fn clock_time(&self, at: jiff::Timestamp) -> String {
        let zone = self.settings.current().office.timezone.clone();
        at.to_zoned(zone).strftime("%H:%M").to_string()
    }

    /// Stops asking the Claude of a place until it is over. Everything of that place waits; each thread is told when it
    /// comes up.
    pub(crate) fn pause(&self, place: &Place, pause: Pause) {
        tracing::error!("no turn can run on {place}: {}", pause.why);
        let sentence = self.sentence(&pause);
        if place.is_here() {
            self.vitals.block(ENGINE, sentence.clone());
            self.notices
                .concern(ENGINE, Some(format!("{sentence} What waits goes on by itself then.")));
            // Whoever reads that needs not be told once more what waits for it.
            self.notices.are_told(PAUSE);
        } else {
            self.vitals.concern(&cause(ENGINE, place), Some(sentence));
        }
        self.places.pause(place, pause);
    }

    /// Looks again later.
    pub(crate) fn look_again_in(&self, place: &Place, time: Duration) {
        self.places.look_again_in(place, time);
    }

    /// Tells a thread of a place, once, why its messages wait.
    pub(crate) fn tell_of_pause(&self, place: &Place, thread: &ThreadId, text: &str) {
        self.notices.say_once(thread, &cause(PAUSE, place), text);
    }

    /// Turns run again, until the next one says otherwise. People are told when one was answered.
    pub(crate) fn go_on(&self, place: &Place) {
        if self.places.go_on(place) {
            tracing::info!("turns run again on {place}");
        }
        if place.is_here() {
            self.vitals.unblock(ENGINE);
        } else {
            self.vitals.concern(&cause(ENGINE, place), None);
        }
    }

    /// Whatever kept turns of a place from being answered is over.
    pub(crate) fn cured(&self, place: &Place) {
        if self.places.paused(place).is_some() {
            // The answer was on its way before.
            return;
        }
        self.notices.forget_in_threads(&[&cause(PAUSE, place), &cause(OUTAGE, place)]);
        if !place.is_here() {
            return self.vitals.concern(&cause(OUTAGE, place), None);
        }
        let is_told = self.notices.is_told(ENGINE);
        self.notices.concern(ENGINE, None);
        if is_told {
            // One thing for whoever reads it, and said.
            self.notices.forget(OUTAGE);
        }
        self.notices.concern(OUTAGE, None);
    }

    /// A message could not be answered, maybe because nobody of its place is: how long that has been so.
    pub(crate) fn note_failure(&self, place: &Place, key: &Key) -> Waited {
        self.places.note_failure(place, key)
    }

    /// Somebody was answered: whatever was out at that place is back.
    pub(crate) fn note_answered(&self, place: &Place, key: &Key) {
        self.places.note_answered(place, key);
        self.cured(place);
    }

    /// A message is not tried any more: nothing waits for it.
    pub(crate) fn forget(&self, key: &Key) {
        self.places.forget(key);
    }

    /// The API answers nobody of a place. Told once it has lasted: it happens, and passes.
    pub(crate) fn note_outage(
        &self,
        place: &Place,
        thread: &ThreadId,
        since: Duration,
        what: &str,
    ) {
        if since < OUTAGE_TOLD_AFTER {
            return;
        }
        let all = format!("{what} Messages wait and are tried until they are answered.");
        let is_operators = place.is_here() && self.notices.operators().contains(thread);
        if place.is_here() {
            self.notices.concern(OUTAGE, Some(all));
        } else {
            self.vitals.concern(&cause(OUTAGE, place), Some(all));
        }
        if !is_operators {
            let text = format!("{what} This message is tried again until it is answered.");
            self.notices.say_once(thread, &cause(OUTAGE, place), &text);
        }
    }

    /// A message waits because its place does not answer; its thread is told once that has lasted. When to try again, and
    /// the words.
    pub(crate) fn note_away(&self, message: &Message, err: &OutOfReach) -> (Duration, String) {
        let OutOfReach { place, why, is_held } = err;
        let away = self.places.lose(place);
        let thread = &message.thread_id;
        // Here each desk has a link of its own, and what one of them says holds no other.
        if *is_held && !place.is_here() {
            tracing::warn!(thread.id = %thread, key = %message.key, "message {} is held: {err}", message.key);
            let text = held_sentence(place, why);
            self.places.hold(place, &text);
            return (HELD_LOOK, self.tell_held(place, thread, &text));
        }
        tracing::warn!(
            thread.id = %thread, key = %message.key, away_s = away.since.as_secs(),
            "message {} waits: {err}", message.key
        );
        let what = format!("{place} is out of reach since {}: {why}.", self.clock_time_of(away.at));
        let text = format!("{what} This message waits and is answered when {place} is back.");
        if away.since >= AWAY_TOLD_AFTER {
            self.vitals.concern(&cause(AWAY, place), Some(what));
            self.notices.say_once(thread, &cause(AWAY, place), &text);
        }
        (away.after, text)
    }

    /// A message waits because another office has its thread's directory, which is told at once and once, with the way out.
    /// The words.
    pub(crate) fn note_taken(&self, message: &Message, place: &Place, by: Taken) -> String {
        let thread = &message.thread_id;
        tracing::warn!(
            thread.id = %thread, key = %message.key,
            "message {} waits: office {} has its directory on {place}", message.key, by.office
        );
        let since = by.held_s.map(|it| now_ms().saturating_sub(it.saturating_mul(1_000)));
        let since =
            since.map_or_else(String::new, |at| format!(" since {}", self.clock_time_of(at)));
        let what = format!("Office {} works in {}{since}.", by.office, by.dir.display());
        let (ways, buttons) = match place {
            Place::Devbox(name) => {
                (format!(", and /devbox take over {name} ends it at once"), vec![take_over(name)])
            }
            _ => (String::new(), Vec::new()),
        };
        let text = format!("{what} This message is kept; it goes on when that is over{ways}.");
        self.notices.say_once_with(thread, &taken_cause(thread), &text, buttons);
        self.taken.note(thread, by, &text);
        text
    }

    /// What a thread was told of another office in its directory, while it waits for that one.
    pub(crate) fn taken(&self, thread: &ThreadId) -> Option<String> {
        self.taken.told(thread)
    }

    /// A thread had its directory: it may be told of another office another time.
    pub(crate) fn note_granted(&self, thread: &ThreadId) {
        if self.taken.forget(thread).is_some() {
            self.notices.forget_in_threads(&[&taken_cause(thread)]);
        }
    }

    /// A person says that another office has to leave: what waits goes on. Which office; `None`: it waits for none.
    #[cfg(feature = "devboxes")]
    pub(crate) fn take_over(&self, thread: &ThreadId) -> Option<Taken> {
        let taken = self.taken.forget(thread)?;
        self.notices.forget_in_threads(&[&taken_cause(thread)]);
        Some(taken)
    }

    /// What a person has to do about a place, while everything of it waits for that.
    pub(crate) fn held(&self, place: &Place) -> Option<String> {
        self.places.held(place)
    }

    /// Tells a thread of it, once, and at once: nothing goes on by itself. The words.
    pub(crate) fn tell_held(&self, place: &Place, thread: &ThreadId, text: &str) -> String {
        self.vitals.concern(&cause(HELD, place), Some(text.to_owned()));
        let buttons = match place {
            Place::Devbox(name) => vec![try_again(name)],
            _ => Vec::new(),
        };
        self.notices.say_once_with(thread, &cause(HELD, place), text, buttons);
        text.to_owned()
    }

    /// A person did something about a place: what waits there is tried again.
    #[cfg(feature = "devboxes")]
    pub(crate) fn let_go(&self, place: &Place) {
        self.places.let_go(place);
        self.vitals.concern(&cause(HELD, place), None);
        self.notices.forget_in_threads(&[&cause(HELD, place)]);
    }

    /// A place answered: whoever was told of the contrary may be told again another time. The first time it is asked what
    /// its leash does not promise.
    pub(crate) async fn note_reached(&self, place: &Place) {
        let reached = self.places.reach(place);
        if reached.was_away {
            tracing::info!("{place} is in reach again");
            self.vitals.concern(&cause(AWAY, place), None);
            self.vitals.concern(&cause(HELD, place), None);
            self.notices.forget_in_threads(&[&cause(AWAY, place), &cause(HELD, place)]);
        }
        if reached.is_first && !place.is_here() {
            self.note_confinement(place).await;
        }
    }

    /// Notes what the leash cannot promise of any Claude of a place.
    pub(crate) async fn note_confinement(&self, place: &Place) {
        let Ok(look) = self.engine.look(place) else { return };
        match look.unconfined(place).await {
            Ok(unkept) => self.vitals.concern(&cause(LEASH, place), unkept),
            Err(err) => tracing::warn!("what the leash on {place} promises is not known: {err}"),
        }
    }

    /// Whether a place did not answer when it was asked last.
    pub(crate) fn is_away(&self, place: &Place) -> bool {
        self.places.is_away(place)
    }
}

fn held_sentence(place: &Place, why: &str) -> String {
    let ways = match place {
        Place::Devbox(name) => format!(", and /devbox doctor {name} tries it at once"),
        _ => String::new(),
    };
    format!(
        "{place} waits for a person: {why}. This message is kept; it goes on when that is done{ways}."
    )
}

fn take_over(name: &DevboxName) -> ReplyButton {
    let order = DevboxOrder::TakeOver { name: name.clone() };
    let press = ButtonPress::Command(Command::Devbox { order, admin: false });
    ReplyButton { label: "Take over".to_owned(), press }
}

/// Under which name a thread is told that another office has its directory.
fn taken_cause(thread: &ThreadId) -> String {
    format!("taken, thread {thread}")
}

fn try_again(name: &DevboxName) -> ReplyButton {
    // Whoever presses it is looked at then.
    let order = DevboxOrder::Doctor { name: Some(name.clone()) };
    let press = ButtonPress::Command(Command::Devbox { order, admin: false });
    ReplyButton { label: "Try again".to_owned(), press }
}

/// Under which name something is a concern of a place.
fn cause(what: &str, place: &Place) -> String {
    match place {
        Place::Here => what.to_owned(),
        Place::Devbox(name) => format!("{what}, devbox {name}"),
        Place::Env(name) => format!("{what}, environment {name}"),
    }
}
