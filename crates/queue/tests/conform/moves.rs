//! Whoever waits is told what moved, and need not list the queue for it.

use tinyclaw_queue::{Moved, Moves, News};

use super::*;

/// The next move, passing over the advice to look again.
async fn next_move(moves: &mut Moves) -> (String, String, Option<Place>, Option<Place>) {
    loop {
        if let News::Moved(it) = moves.next().await {
            let Moved { key, lane, from, to, .. } = &*it;
            return (key.to_string(), lane.to_string(), *from, *to);
        }
    }
}

pub(super) fn every_move_is_told_with_its_key_and_both_places(make: Make) {
    let open = make();
    let queue = open(quiet());
    let watch = queue.view().watch();
    let mut moves = watch.moves();
    publish(&queue, "7", "tg-1");
    let claim = || queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    claim().put_back().unwrap();
    let mut lease =
        std::iter::repeat_with(|| queue.try_claim(Side::Run, &Which::Ordinary).unwrap())
            .find_map(|it| it)
            .unwrap();
    lease.answer(reply("hi"), vec![]).unwrap();
    lease.finish().unwrap();
    let which = Which::Channel(Channel::Telegram);
    queue.try_claim(Side::Send, &which).unwrap().unwrap().bury("the chat is gone").unwrap();
    queue.purge(&key("tg-1")).unwrap();
    let told = runtime().block_on(async {
        let mut told = Vec::new();
        while told.len() < 8 {
            let (key, lane, from, to) = next_move(&mut moves).await;
            assert_eq!((key.as_str(), lane.as_str()), ("tg-1", "7"));
            told.push((from, to));
        }
        told
    });
    use Place::{Dead, Incoming, Outgoing, Processing, Sending};
    let expected = [
        (None, Some(Incoming)),
        (Some(Incoming), Some(Processing)),
        (Some(Processing), Some(Incoming)),
        (Some(Incoming), Some(Processing)),
        (Some(Processing), Some(Outgoing)),
        (Some(Outgoing), Some(Sending)),
        (Some(Sending), Some(Dead)),
        (Some(Dead), None),
    ];
    assert_eq!(told, expected);
}

/// A thousand callers that wait for an answer listed every folder a thousand times at every move.
pub(super) fn whoever_waits_for_a_key_reads_its_end_without_a_list(make: Make) {
    let open = make();
    let queue = open(quiet());
    // The day's folder is there, and watched.
    let ask = |number: u32| {
        let key = format!("cli-{number}").parse().unwrap();
        let asked = Message::new(key, Channel::Cli, "cli".parse().unwrap(), "hello", 1);
        queue.publish(Side::Run, asked, Durability::Strict).unwrap();
    };
    let answer = || {
        let mut lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
        lease.answer(reply("hi"), vec![]).unwrap();
        lease.finish().unwrap();
    };
    ask(1);
    answer();
    let view = queue.view();
    let watch = view.watch();
    let mut moves = watch.moves();
    ask(2);
    answer();
    let read = runtime().block_on(async {
        loop {
            if let News::Moved(it) = moves.next().await
                && it.to == Some(Place::Done)
            {
                let entry = it.entry.as_ref().unwrap();
                return view.read(entry).unwrap().unwrap();
            }
        }
    });
    assert_eq!((read.key, read.reply.unwrap().text), (key("cli-2"), "hi".to_owned()));
}
