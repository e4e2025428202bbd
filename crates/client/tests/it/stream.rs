use tinyclaw_client::{Ending, Stream, Told};
use tinyclaw_domain::{JobEvent, Key, Outcome};
use tinyclaw_ledger::JobLog;

use crate::{Office, poll};

fn text(it: &str) -> JobEvent {
    JobEvent::Text { text: it.to_owned() }
}

/// What comes next, in short.
async fn next(stream: &mut Stream) -> String {
    match stream.next().await.unwrap() {
        Told::Line(line) => match line.event {
            JobEvent::Text { text } => text,
            JobEvent::End { .. } => "end".to_owned(),
            other => format!("{other:?}"),
        },
        Told::Ended(Ending::Answered(message)) => message.reply.unwrap().text,
        Told::Ended(Ending::GivenUp(why)) => why,
    }
}

fn log(office: &Office, key: &Key) -> JobLog {
    std::fs::create_dir_all(office.state().jobs()).unwrap();
    JobLog::begin(&office.state(), key, 1_000)
}

/// What is written in the moment before the message moves on comes before its ending.
#[tokio::test]
async fn every_line_is_told_and_then_the_ending() {
    let office = Office::in_folders();
    let key = office.ask("cli-a");
    let mut stream = office.client.stream(&key);
    assert!(poll(&mut Box::pin(stream.next())).is_pending(), "it waits for its turn");
    let mut log = log(&office, &key);
    log.write(1, text("one")).unwrap();
    assert_eq!(next(&mut stream).await, "one");
    assert!(poll(&mut Box::pin(stream.next())).is_pending(), "Claude writes");
    for it in ["two", "three"] {
        log.write(1, text(it)).unwrap();
    }
    log.write(1, JobEvent::End { outcome: Outcome::Answered }).unwrap();
    office.answer(&key);
    for it in ["two", "three", "end", "to cli-a", "to cli-a"] {
        assert_eq!(next(&mut stream).await, it);
    }
}

#[tokio::test]
async fn a_stream_of_what_has_ended_tells_the_whole_story() {
    let office = Office::in_folders();
    let key = office.ask("cli-a");
    let mut log = log(&office, &key);
    log.write(1, text("one")).unwrap();
    office.answer(&key);
    let mut stream = office.client.stream(&key);
    assert_eq!(next(&mut stream).await, "one");
    assert_eq!(next(&mut stream).await, "to cli-a");
    // Whose story is gone, or was never kept, has its answer all the same.
    std::fs::remove_file(office.state().job(&key)).unwrap();
    assert_eq!(next(&mut office.client.stream(&key)).await, "to cli-a");
}
