//! What was given up lies there until somebody takes it up or it is kept no longer.

use tinyclaw_domain::STOPPED_WAITING;
use tinyclaw_queue::{Keep, MoveError};

use super::*;

const ALL: Keep = Keep { dead: Duration::ZERO, quarantine: Duration::ZERO };
const HOUR: Duration = Duration::from_secs(3_600);

fn give_up(queue: &Queue, key: &str) {
    publish(queue, "7", key);
    queue.bury(&key.parse().unwrap(), "nobody needs it").unwrap();
}

pub(super) fn an_operator_gives_up_what_nobody_works_on_and_takes_it_up_again(make: Make) {
    let open = make();
    let queue = open(quiet());
    give_up(&queue, "tg-1");
    let seen = queue.view().find(&key("tg-1")).unwrap().unwrap();
    assert_eq!((seen.place, seen.reason.as_deref()), (Place::Dead, Some("nobody needs it")));
    assert_eq!(queue.view().depth().unwrap().dead, 1);
    assert_eq!(queue.requeue(&key("tg-1")).unwrap(), Place::Incoming);
    assert_eq!(queue.view().find(&key("tg-1")).unwrap().unwrap().reason, None);
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    let busy = queue.bury(&key("tg-1"), "no").unwrap_err();
    assert_eq!(busy.to_string(), "message tg-1 is being worked on; stop it first");
    lease.bury("it cannot be answered").unwrap();
    queue.purge(&key("tg-1")).unwrap();
    assert_eq!(queue.view().place_of(&key("tg-1")).unwrap(), None);
    let gone = queue.requeue(&key("tg-1")).unwrap_err();
    assert_eq!(gone.to_string(), "there is no message tg-1 in dead/ or quarantine/");
}

/// Who stops a message that waits wants it gone; nothing failed, and nobody has to look after it.
pub(super) fn what_a_person_stopped_is_counted_as_stopped_and_not_as_given_up(make: Make) {
    let open = make();
    let queue = open(quiet());
    publish(&queue, "7", "tg-1");
    publish(&queue, "7", "tg-2");
    give_up(&queue, "tg-3");
    queue.bury(&key("tg-1"), STOPPED_WAITING).unwrap();
    let view = queue.view();
    let count = || view.depth().map(|it| (it.incoming, it.dead, it.stopped)).unwrap();
    assert_eq!(count(), (1, 1, 1));
    // Under the name that it gets when it is taken up, it is another's decision.
    queue.requeue(&key("tg-1")).unwrap();
    assert_eq!(count(), (2, 1, 0));
    queue.bury(&key("tg-1"), "nobody needs it").unwrap();
    queue.bury(&key("tg-2"), STOPPED_WAITING).unwrap();
    assert_eq!(count(), (0, 2, 1));
}

pub(super) fn what_was_given_up_long_ago_is_removed_and_the_rest_stays(make: Make) {
    let open = make();
    let queue = open(quiet());
    give_up(&queue, "tg-1");
    publish(&queue, "7", "tg-2");
    assert_eq!(queue.retire(&Keep { dead: HOUR, quarantine: HOUR }).unwrap(), 0);
    while queue.retire(&ALL).unwrap() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(queue.view().place_of(&key("tg-1")).unwrap(), None);
    assert_eq!(queue.view().place_of(&key("tg-2")).unwrap(), Some(Place::Incoming));
    // What is forgotten may come again.
    assert_eq!(publish(&queue, "7", "tg-1"), Published::New);
}

/// A message was removed while an operator took it up: it was gone, and what was said of it was a move that failed.
pub(super) fn a_message_is_taken_up_or_removed_and_never_both(make: Make) {
    const MESSAGES: usize = 150;
    let open = make();
    let keys: Vec<Key> = (0..MESSAGES).map(|it| key(&format!("tg-{it}"))).collect();
    let queue = open(quiet());
    for (number, key) in keys.iter().enumerate() {
        let message = message(&format!("{}", number + 1), key.as_str());
        queue.publish(Side::Run, message, Durability::None).unwrap();
        queue.bury(key, "nobody needs it").unwrap();
    }
    let (operator, keeper) = (open(quiet()), open(quiet()));
    let (taken_up, removed) = std::thread::scope(|scope| {
        // From the end, where the other one comes last.
        let operator = scope.spawn(|| {
            keys.iter()
                .rev()
                .filter(|key| match operator.requeue(key) {
                    Ok(place) => place == Place::Incoming,
                    Err(MoveError::NotThere { .. }) => false,
                    Err(err) => panic!("{key} was removed while it was taken up: {err:?}"),
                })
                .count()
        });
        let keeper = scope.spawn(|| {
            let mut removed = 0;
            while keeper.view().depth().unwrap().dead > 0 {
                removed += keeper.retire(&ALL).unwrap();
            }
            removed
        });
        (operator.join().unwrap(), keeper.join().unwrap())
    });
    assert_eq!(taken_up + removed, MESSAGES);
    assert_eq!(queue.view().depth().unwrap().incoming, taken_up);
}
