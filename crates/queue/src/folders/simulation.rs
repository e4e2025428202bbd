//! Several claimers of one queue, each with a picture of it that is late, has holes or is out of order.
//!
//! Claimers of one process see every move at once, and one processor a folder hides the rest. Here each claimer is a queue
//! of its own that hears of the others' moves when the script says so: late, in another order, or never. A claimer may
//! die at any step on the disk. The script is drawn by proptest from fixed seeds, and nothing here depends on time.
//!
//! What must hold: whoever is given a message is given the first of its lane, by what truly lies in the folders; and in
//! the end everything is worked off once and in order.
//!
//! Two things are not imitated, because no engine can promise order without them: publications of one folder are
//! heard of in their order, or the claimer is told that it missed something.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tinyclaw_disk::testing::{Fault, disarm, fail_after};
use tinyclaw_domain::{Channel, Message, Reply};

use super::claim::WAITERS_MAX;
use super::notices::Happened;
use super::watch::tell;
use super::*;
use crate::{Lease, Queue};

const CLAIMERS: usize = 3;
const DAY: Duration = Duration::from_secs(86_400);

#[derive(Debug, Clone)]
enum Step {
    Publish {
        lane: u8,
    },
    Claim {
        who: usize,
        dies_at: Option<u32>,
    },
    /// Of those who hold a message.
    End {
        which: usize,
        how: Ending,
        dies_at: Option<u32>,
    },
    Hear {
        who: usize,
        which: u8,
    },
    Miss {
        who: usize,
        which: u8,
    },
    Overflow {
        who: usize,
    },
    List {
        who: usize,
    },
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Answer,
    PutBack,
    PutBackForLong,
    Drop,
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..CLAIMERS;
    let dies_at = |steps: u32| prop::option::weighted(0.4, 0..steps);
    let how = prop_oneof![
        4 => Just(Ending::Answer),
        4 => Just(Ending::PutBack),
        1 => Just(Ending::PutBackForLong),
        1 => Just(Ending::Drop),
    ];
    prop_oneof![
        3 => prop_oneof![4 => Just(0), 1 => Just(1)].prop_map(|lane| Step::Publish { lane }),
        8 => (who(), dies_at(4)).prop_map(|(who, dies_at)| Step::Claim { who, dies_at }),
        8 => (who(), how, dies_at(6)).prop_map(|(which, how, dies_at)| Step::End { which, how, dies_at }),
        8 => (who(), any::<u8>()).prop_map(|(who, which)| Step::Hear { who, which }),
        1 => (who(), any::<u8>()).prop_map(|(who, which)| Step::Miss { who, which }),
        1 => who().prop_map(|who| Step::Overflow { who }),
        1 => who().prop_map(|who| Step::List { who }),
    ]
}

struct Notice {
    place: Place,
    text: String,
    happened: Happened,
    is_publication: bool,
}

struct Claimer {
    queue: Queue,
    inner: Arc<Inner>,
    held: Option<Lease>,
    unheard: Vec<Notice>,
}

impl Claimer {
    fn new(dir: &Path) -> Claimer {
        let options = Options {
            reserve_bytes: 0,
            free_share_min: 0.0,
            watch: false,
            sweep_every: DAY,
            ..Options::default()
        };
        let inner = Inner::open(dir, options.clone()).unwrap();
        let queue = Queue {
            view: crate::View::over(inner.look()),
            work: inner.clone(),
            options: Arc::new(options),
        };
        // The one sweep that a day allows is over, and no thread waits for a lock: what is heard is up to the script.
        inner.sweep_listing().unwrap();
        inner.waiters.store(WAITERS_MAX, Ordering::SeqCst);
        Claimer { queue, inner, held: None, unheard: Vec::new() }
    }

    fn claim(&self) -> Option<Lease> {
        let lanes = self.inner.index().set_aside_lanes(Side::Run);
        for lane in lanes {
            self.inner.index().unblock(Side::Run, &lane, now_ms());
        }
        self.queue.try_claim(Side::Run, &Which::Ordinary).ok().flatten()
    }

    /// The notice that comes next, if the script wants the `which`th: of publications always the first.
    fn next_notice(&mut self, which: u8) -> Option<Notice> {
        let at = (!self.unheard.is_empty()).then(|| which as usize % self.unheard.len())?;
        let first = self.unheard.iter().position(|it| it.is_publication);
        // Half of what is heard is what is new: who knows of nothing overtakes nobody.
        let at = match first {
            Some(first) if which >= 128 || self.unheard[at].is_publication => first,
            _ => at,
        };
        Some(self.unheard.remove(at))
    }
}

struct SimulatedOffice {
    dir: tempfile::TempDir,
    publisher: Queue,
    claimers: Vec<Claimer>,
    published: [u32; 2],
    answered: [u32; 2],
}

/// Every name and where it lies.
fn truth(dir: &Path) -> BTreeSet<(Place, String)> {
    let folders = Folders::of(dir);
    let mut names = BTreeSet::new();
    for place in Place::ALL {
        let insert = |text: &str, _: name::Parts<'_>| {
            names.insert((place, text.to_owned()));
        };
        folders.scan(place, insert).unwrap();
    }
    names
}

impl SimulatedOffice {
    fn new() -> SimulatedOffice {
        let shared = Path::new("/dev/shm");
        let dir = if shared.is_dir() {
            tempfile::tempdir_in(shared).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        let publisher = Claimer::new(dir.path()).queue;
        let claimers = (0..CLAIMERS).map(|_| Claimer::new(dir.path())).collect();
        SimulatedOffice { dir, publisher, claimers, published: [0; 2], answered: [0; 2] }
    }

    /// Does something, and leaves word of what it moved with every claimer but the one that did it.
    fn moving<T>(&mut self, who: Option<usize>, work: impl FnOnce(&mut SimulatedOffice) -> T) -> T {
        let before = truth(self.dir.path());
        let result = work(self);
        let after = truth(self.dir.path());
        for (names, others, happened) in
            [(&before, &after, Happened::Left), (&after, &before, Happened::Came)]
        {
            for (place, text) in names.difference(others) {
                for (at, claimer) in self.claimers.iter_mut().enumerate() {
                    if Some(at) != who {
                        claimer.unheard.push(Notice {
                            place: *place,
                            text: text.clone(),
                            happened,
                            is_publication: who.is_none(),
                        });
                    }
                }
            }
        }
        result
    }

    /// Does something with a claimer that dies at a step, if it comes to that. Then another takes its place.
    fn perhaps_dying(
        &mut self,
        who: usize,
        dies_at: Option<u32>,
        work: impl FnOnce(&mut SimulatedOffice),
    ) {
        let died = self.moving(Some(who), |office| {
            if let Some(steps) = dies_at {
                fail_after(steps, Fault::Dead);
            }
            work(office);
            disarm()
        });
        if died {
            self.claimers[who] = Claimer::new(self.dir.path());
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Publish { lane } => {
                let number = self.published[lane as usize];
                self.published[lane as usize] += 1;
                let key = format!("k{lane}-{number}").parse().unwrap();
                let thread = (lane + 1).to_string().parse().unwrap();
                let message = Message::new(key, Channel::Cli, thread, number.to_string(), 1);
                self.moving(None, |it| {
                    it.publisher.publish(Side::Run, message, Durability::None).unwrap()
                });
            }
            Step::Claim { who, dies_at } => {
                if self.claimers[who].held.is_none() {
                    self.perhaps_dying(who, dies_at, |it| {
                        it.claimers[who].held = it.claimers[who].claim();
                    });
                    return self.check(who);
                }
            }
            Step::End { which, how, dies_at } => {
                let holders: Vec<usize> =
                    (0..CLAIMERS).filter(|it| self.claimers[*it].held.is_some()).collect();
                let Some(who) = holders.get(which % holders.len().max(1)).copied() else {
                    return Ok(());
                };
                if let Some(mut lease) = self.claimers[who].held.take() {
                    self.perhaps_dying(who, dies_at, |it| {
                        let lane = usize::from(lease.message().thread_id.as_str() == "2");
                        let ended = match how {
                            Ending::Answer => lease
                                .answer(Reply::default(), Vec::new())
                                .and_then(|()| lease.finish())
                                .map(|()| it.answered[lane] += 1),
                            Ending::PutBack => lease.put_back(),
                            Ending::PutBackForLong => {
                                lease.put_back_for(Duration::from_secs(3_000))
                            }
                            Ending::Drop => {
                                drop(lease);
                                Ok(())
                            }
                        };
                        // An error is the death that was asked for.
                        drop(ended);
                    });
                }
            }
            Step::Hear { who, which } => {
                if let Some(notice) = self.claimers[who].next_notice(which) {
                    let mut index = self.claimers[who].inner.index();
                    tell(&mut index, notice.place, &notice.text, notice.happened);
                }
            }
            Step::Miss { who, which } => {
                let unheard = &mut self.claimers[who].unheard;
                let at = which as usize % unheard.len().max(1);
                if unheard.get(at).is_some_and(|it| !it.is_publication) {
                    unheard.remove(at);
                }
            }
            Step::Overflow { who } => {
                self.claimers[who].unheard.clear();
                self.claimers[who].inner.index().stale = true;
            }
            Step::List { who } => self.claimers[who].inner.rescan().unwrap(),
        }
        Ok(())
    }

    /// Whoever holds a message holds the first of its lane.
    fn check(&self, who: usize) -> Result<(), TestCaseError> {
        let Some(lease) = &self.claimers[who].held else { return Ok(()) };
        let lane = lease.message().lane().to_string();
        let key = lease.message().key.to_string();
        let mut open: Vec<(String, Place, String)> = Vec::new();
        for (place, text) in truth(self.dir.path()) {
            let parts = name::parts(&text).unwrap();
            if parts.lane == lane && place <= Place::Processing {
                open.push((parts.order.to_owned(), place, parts.key.to_owned()));
            }
        }
        open.sort();
        prop_assert_eq!(&open[0].2, &key, "it overtook: {:?}", open);
        Ok(())
    }

    /// In the end everything is there, once.
    fn check_all(mut self) -> Result<(), TestCaseError> {
        self.claimers.clear();
        let mut keys: Vec<String> = truth(self.dir.path())
            .into_iter()
            .map(|(_, text)| name::parts(&text).unwrap().key.to_owned())
            .collect();
        keys.sort();
        let count = keys.len();
        keys.dedup();
        prop_assert_eq!(count, keys.len(), "one is there twice");
        prop_assert_eq!(count as u32, self.published.iter().sum::<u32>(), "one is gone");
        let last = Claimer::new(self.dir.path());
        while let Some(mut lease) = last.claim() {
            if lease.message().reply.is_none() {
                lease.answer(Reply::default(), Vec::new()).unwrap();
            }
            lease.finish().unwrap();
        }
        let left = truth(self.dir.path()).into_iter().filter(|it| it.0 <= Place::Processing);
        for (place, text) in left {
            let waits = name::parts(&text).unwrap();
            let behind_one_put_back_for_long = truth(self.dir.path()).iter().any(|(_, it)| {
                let it = name::parts(it).unwrap();
                it.lane == waits.lane && it.order <= waits.order && it.epoch > now_ms()
            });
            prop_assert!(behind_one_put_back_for_long, "{} is left in {}", text, place);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 800,
        rng_seed: RngSeed::Fixed(20_261_130),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_claimer_overtakes_whatever_it_has_heard(steps in prop::collection::vec(step(), 10..80)) {
        let mut office = SimulatedOffice::new();
        for step in &steps {
            office.step(step)?;
        }
        office.check_all()?;
    }
}

fn play(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut office = SimulatedOffice::new();
    for step in steps {
        office.step(step)?;
    }
    office.check_all()
}

const fn claim(who: usize) -> Step {
    Step::Claim { who, dies_at: None }
}

const fn end(how: Ending) -> Step {
    Step::End { which: 0, how, dies_at: None }
}

const PUBLISH: Step = Step::Publish { lane: 0 };

/// The note named where the message was to go, and its owner died before it went there.
#[test]
fn an_owner_that_dies_while_it_moves_a_message_back_is_not_overtaken() {
    let dies = Step::End { which: 0, how: Ending::PutBack, dies_at: Some(1) };
    play(&[
        PUBLISH,
        PUBLISH,
        Step::List { who: 0 },
        Step::List { who: 1 },
        claim(0),
        dies,
        claim(1),
    ])
    .unwrap();
}

/// A claimer that had not heard that the first was answered noted it, found it gone, and left the lane with that note.
#[test]
fn a_claimer_that_is_late_does_not_take_the_note_from_those_who_need_it() {
    let list = |who| Step::List { who };
    play(&[
        PUBLISH,
        PUBLISH,
        PUBLISH,
        list(0),
        list(1),
        claim(0),
        end(Ending::Answer),
        claim(0),
        // The third knows that the second is worked on, and will not hear that it was put back.
        list(2),
        end(Ending::PutBackForLong),
        claim(1),
        claim(2),
    ])
    .unwrap();
}
