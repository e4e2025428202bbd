//! The queue against the simplest thing that could be it: one `Vec` a lane.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tinyclaw_queue::Lease;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Publish { lane: u8, key: u8 },
    Claim,
    Answer { lane: u8 },
    PutBack { lane: u8 },
    Retry { lane: u8 },
    Drop { lane: u8 },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8, 0..24_u8).prop_map(|(lane, key)| Step::Publish { lane, key }),
        4 => Just(Step::Claim),
        3 => (0..3_u8).prop_map(|lane| Step::Answer { lane }),
        1 => (0..3_u8).prop_map(|lane| Step::PutBack { lane }),
        1 => (0..3_u8).prop_map(|lane| Step::Retry { lane }),
        1 => (0..3_u8).prop_map(|lane| Step::Drop { lane }),
        1 => Just(Step::Restart),
    ]
}

#[derive(Default)]
struct Model {
    lanes: BTreeMap<u8, Vec<u8>>,
    known: Vec<u8>,
}

pub(super) fn every_interleaving_agrees_with_one_list_a_lane(make: Make) {
    some_agree_with_one_list_a_lane(make, 64);
}

pub(super) fn some_agree_with_one_list_a_lane(make: Make, cases: u32) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..60))| {
    let open = make();
    let mut queue = open(quiet());
    let mut model = Model::default();
    let mut held: BTreeMap<u8, Lease> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Publish { lane, key } => {
                let message = message(&format!("{}", lane + 1), &format!("k-{key}"));
                let published = queue.publish(Side::Run, message, Durability::None).unwrap();
                prop_assert_eq!(published == Published::New, !model.known.contains(&key));
                if published == Published::New {
                    model.known.push(key);
                    model.lanes.entry(lane).or_default().push(key);
                }
            }
            Step::Claim => {
                let free = |(lane, keys): (&u8, &Vec<u8>)| !held.contains_key(lane) && !keys.is_empty();
                let expected = model.lanes.iter().any(free);
                // A message put back twice in one millisecond is due in the next.
                let claim = || queue.try_claim(Side::Run, &Which::Ordinary).unwrap();
                let lease = claim().or_else(|| {
                    std::thread::sleep(Duration::from_millis(3));
                    claim()
                });
                prop_assert_eq!(lease.is_some(), expected);
                if let Some(lease) = lease {
                    let lane = lease.message().thread_id.number().unwrap() as u8 - 1;
                    let head = model.lanes[&lane][0];
                    prop_assert_eq!(lease.message().key.to_string(), format!("k-{head}"));
                    prop_assert!(held.insert(lane, lease).is_none());
                }
            }
            Step::Answer { lane } => {
                if let Some(mut lease) = held.remove(&lane) {
                    lease.answer(reply("x"), vec![]).unwrap();
                    lease.finish().unwrap();
                    model.lanes.get_mut(&lane).unwrap().remove(0);
                }
            }
            Step::PutBack { lane } => {
                if let Some(lease) = held.remove(&lane) {
                    lease.put_back().unwrap();
                }
            }
            Step::Retry { lane } => {
                if let Some(lease) = held.remove(&lane) {
                    lease.retry_after(Duration::ZERO, "again").unwrap();
                }
            }
            Step::Drop { lane } => {
                held.remove(&lane);
            }
            Step::Restart => {
                held.clear();
                queue = open(quiet());
            }
        }
    }
    let waiting: usize = model.lanes.values().map(Vec::len).sum();
    let depth = queue.view().depth().unwrap();
    prop_assert_eq!(depth.incoming + depth.processing, waiting);
    prop_assert_eq!(depth.outgoing, model.known.len() - waiting);
    });
}
