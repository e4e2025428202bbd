//! How each place fares where Claude runs: paused, answering nobody, or not to be reached. What one of them lacks concerns
//! its own threads and nobody else's. Tells nobody.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tinyclaw_domain::{Key, Place};
use tinyclaw_service::now_ms;

use crate::blocking::lock;
use crate::policy::failure::{Pause, Waited};

/// What was not tried again for so long is not waited for any more.
const FAILED_KEPT: Duration = Duration::from_secs(48 * 3_600);
/// A place that does not answer is asked again after this at first,
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// and the longer it is away the less often, up to this.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(60);

/// A pause, and when to look whether it is over.
#[derive(Debug, Clone)]
pub(crate) struct Paused {
    pub(crate) pause: Pause,
    pub(crate) next_look: Instant,
}

/// A place that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Away {
    /// When to ask it again.
    pub(crate) after: Duration,
    /// For how long it has not answered.
    pub(crate) since: Duration,
    /// From when on, in ms since 1970.
    pub(crate) at: u64,
}

/// Every place that there is something to be said of.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Guards how each place fares. Held for a look or a change, and nothing is locked within it.
    all: Mutex<BTreeMap<Place, Standing>>,
}

/// How one place fares.
#[derive(Debug, Default)]
struct Standing {
    /// Why no turn can run there.
    paused: Option<Paused>,
    /// When messages that could not be answered first failed, and how often since.
    failed: HashMap<Key, (Instant, u32)>,
    /// When anybody was answered last.
    answered_at: Option<Instant>,
    /// When it was first found not to answer, also in ms since 1970; none while it does.
    away: Option<(Instant, u64)>,
    /// Whether it has answered at all.
    is_known: bool,
    /// What a person has to do about it, as people are told, and when it is tried again all the same.
    held: Option<(String, Instant)>,
}

/// What a person has to mend there is looked at so often all the same: it may have been mended without a word.
const HELD_LOOK: Duration = Duration::from_secs(10 * 60);

/// What it means for a place that it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    /// It never had before.
    pub(crate) is_first: bool,
    /// It had not when it was asked last.
    pub(crate) was_away: bool,
}

impl Places {
    fn with<T>(&self, place: &Place, work: impl FnOnce(&mut Standing) -> T) -> T {
        work(lock(&self.all).entry(place.clone()).or_default())
    }

    /// Why no turn can run at a place, if none can.
    pub(crate) fn paused(&self, place: &Place) -> Option<Paused> {
        self.with(place, |it| it.paused.clone())
    }

    /// Every place where no turn can run.
    pub(crate) fn all_paused(&self) -> Vec<(Place, Paused)> {
        let all = lock(&self.all);
        all.iter().filter_map(|(place, it)| Some((place.clone(), it.paused.clone()?))).collect()
    }

    /// No turn can run there until it is over.
    pub(crate) fn pause(&self, place: &Place, pause: Pause) {
        let next_look = Instant::now() + pause.look_in;
        self.with(place, |it| it.paused = Some(Paused { pause, next_look }));
    }

    /// Looks again later whether it is over.
    pub(crate) fn look_again_in(&self, place: &Place, time: Duration) {
        self.with(place, |it| {
            if let Some(paused) = &mut it.paused {
                paused.next_look = Instant::now() + time;
            }
        });
    }

    /// Turns can run there again. Whether they could not before.
    pub(crate) fn go_on(&self, place: &Place) -> bool {
        self.with(place, |it| it.paused.take().is_some())
    }

    /// A message could not be answered, maybe because nobody is there: how long that has been so.
    pub(crate) fn note_failure(&self, place: &Place, key: &Key) -> Waited {
        let now = Instant::now();
        self.with(place, |it| {
            // Who was stopped while it waited comes no more.
            it.failed.retain(|_, (first, _)| now - *first < FAILED_KEPT);
            let (first, tries) = it.failed.entry(key.clone()).or_insert((now, 0));
            *tries += 1;
            Waited {
                since: now - *first,
                tries: *tries,
                others_were_answered: it.answered_at.is_some_and(|it| it > *first),
            }
        })
    }

    /// Somebody was answered there.
    pub(crate) fn note_answered(&self, place: &Place, key: &Key) {
        self.with(place, |it| {
            it.failed.remove(key);
            it.answered_at = Some(Instant::now());
        });
    }

    /// A message is not tried any more, wherever it was: nothing waits for it.
    pub(crate) fn forget(&self, key: &Key) {
        for standing in lock(&self.all).values_mut() {
            standing.failed.remove(key);
        }
    }

    /// The place does not answer.
    pub(crate) fn lose(&self, place: &Place) -> Away {
        let new = || (Instant::now(), now_ms());
        let (first, at) = self.with(place, |it| *it.away.get_or_insert_with(new));
        let since = first.elapsed();
        Away { after: since.clamp(ASK_AGAIN, ASK_AGAIN_MAX), since, at }
    }

    /// A person has to do something about a place, and nothing is asked of it until then.
    pub(crate) fn hold(&self, place: &Place, told: &str) {
        self.with(place, |it| it.held = Some((told.to_owned(), Instant::now() + HELD_LOOK)));
    }

    /// What people were told that they have to do about it, while nothing is asked of it.
    pub(crate) fn held(&self, place: &Place) -> Option<String> {
        let now = Instant::now();
        self.with(place, |it| it.held.clone().filter(|it| now < it.1).map(|it| it.0))
    }

    /// A person did something about it: it is tried again.
    #[cfg(any(test, feature = "devboxes"))]
    pub(crate) fn let_go(&self, place: &Place) {
        self.with(place, |it| it.held = None);
    }

    /// The place answers.
    pub(crate) fn reach(&self, place: &Place) -> Reached {
        self.with(place, |it| Reached {
            is_first: !std::mem::replace(&mut it.is_known, true),
            was_away: it.held.take().is_some() | it.away.take().is_some(),
        })
    }

    /// Whether a place did not answer when it was asked last.
    pub(crate) fn is_away(&self, place: &Place) -> bool {
        self.with(place, |it| it.away.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devbox(name: &str) -> Place {
        Place::Devbox(name.parse().unwrap())
    }

    #[test]
    fn a_place_is_away_from_its_first_silence_until_it_answers_and_no_other_with_it() {
        let (places, api, lab) = (Places::default(), devbox("api"), devbox("lab"));
        let first = places.lose(&api);
        assert_eq!(first.after, ASK_AGAIN);
        assert!(places.is_away(&api) && !places.is_away(&lab) && !places.is_away(&Place::Here));
        assert_eq!(places.lose(&api).at, first.at, "one silence, however often it is met");
        assert_eq!(places.reach(&lab), Reached { is_first: true, was_away: false });
        assert_eq!(places.reach(&api), Reached { is_first: true, was_away: true });
        assert_eq!(places.reach(&api), Reached { is_first: false, was_away: false });
        assert!(!places.is_away(&api));
    }

    #[test]
    fn a_place_is_held_until_a_person_acts_or_it_answers() {
        let (places, api, lab) = (Places::default(), devbox("api"), devbox("lab"));
        assert_eq!(places.held(&api), None);
        places.hold(&api, "the key of api has changed");
        assert_eq!(places.held(&api).as_deref(), Some("the key of api has changed"));
        assert_eq!(places.held(&lab), None);
        places.let_go(&api);
        assert_eq!(places.held(&api), None);
        places.hold(&api, "x");
        assert!(places.reach(&api).was_away && places.held(&api).is_none());
    }

    #[test]
    fn a_pause_and_an_outage_of_one_place_are_no_others() {
        let (places, api) = (Places::default(), devbox("api"));
        let key: Key = "tg-1".parse().unwrap();
        let look_in = Duration::from_secs(60);
        let pause = Pause { why: "x".to_owned(), until: None, look_in, is_proven_by_start: true };
        places.pause(&api, pause);
        assert!(places.paused(&api).is_some() && places.paused(&Place::Here).is_none());
        assert_eq!(places.all_paused().len(), 1);
        assert!(!places.go_on(&Place::Here) && places.go_on(&api) && !places.go_on(&api));
        assert_eq!(places.note_failure(&api, &key).tries, 1);
        places.note_answered(&Place::Here, &"tg-2".parse().unwrap());
        let again = places.note_failure(&api, &key);
        assert!(again.tries == 2 && !again.others_were_answered, "somebody was, but elsewhere");
        places.note_answered(&api, &"tg-3".parse().unwrap());
        assert!(places.note_failure(&api, &key).others_were_answered);
        places.forget(&key);
        assert_eq!(places.note_failure(&api, &key).tries, 1);
    }
}
