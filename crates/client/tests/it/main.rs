//! A client against a queue that is worked on beside it: in memory where a test is about who is told and when, in folders where it is
//! about files.

mod files;
mod stream;
mod waiting;

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tempfile::TempDir;
use tinyclaw_client::Client;
use tinyclaw_domain::{Channel, Key, Message, Reply, StateDir};
use tinyclaw_queue::{Memory, Options, Place, Queue, Side, Which};

/// A client, and the queue as the office has it.
struct Office {
    dir: TempDir,
    client: Client,
    queue: Queue,
}

impl Office {
    /// Over a queue in memory: what moves is heard of at once, so that a test may stop the clock.
    fn in_memory() -> Office {
        let (dir, memory) = (tempfile::tempdir().unwrap(), Memory::new());
        let open = || Queue::open(memory.clone(), Options::default()).unwrap();
        let client = Client::over(&StateDir::new(dir.path()), open());
        Office { dir, client, queue: open() }
    }

    /// Over folders, opened twice as by two processes.
    fn in_folders() -> Office {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        let options = Options { reserve_bytes: 0, free_share_min: 0.0, ..Options::default() };
        let queue = Queue::open(dir.path(), options.clone()).unwrap();
        Office { client: Client::open(&state, options).unwrap(), queue, dir }
    }

    fn state(&self) -> StateDir {
        StateDir::new(self.dir.path())
    }

    /// Asks something in a thread of the key's own.
    fn ask(&self, key: &str) -> Key {
        let asked = Message::new(key.parse().unwrap(), Channel::Cli, key.parse().unwrap(), "?", 1);
        self.client.publish(Side::Run, asked).unwrap();
        key.parse().unwrap()
    }

    /// Answers a message, as the processor does.
    fn answer(&self, key: &Key) {
        let mut lease = self.claim(key);
        lease.answer(Reply { text: format!("to {key}"), ..Reply::default() }, vec![]).unwrap();
        assert_eq!(lease.message().channel, Channel::Cli, "its answer is fetched");
        lease.finish().unwrap();
        assert_eq!(self.queue.view().place_of(key).unwrap(), Some(Place::Done));
    }

    fn claim(&self, key: &Key) -> tinyclaw_queue::Lease {
        let lane = self.client.view().find(key).unwrap().unwrap().message.lane();
        self.queue.try_claim(Side::Run, &Which::Lane(lane)).unwrap().unwrap()
    }
}

/// Runs a future as far as it goes now.
fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}
