//! What the kernel says of the names in a set of folders: which came, which left, which was removed.
//!
//! Nothing else is asked of it. Files are opened, written and read there all the time, also by whoever looks because of a notice,
//! and each notice costs a wake-up.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

/// What happened to a name in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happened {
    Came,
    Left,
    Removed,
}

/// What is told of the folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice<'a> {
    /// A name in a folder changed. What left one folder comes to another with the same number.
    Name { folder: &'a Path, text: &'a str, happened: Happened, number: u32 },
    /// Some changes were not told: look at everything.
    Missed,
    /// That was all for now.
    Caught,
}

/// Tells of the folders until it is dropped.
#[derive(Debug)]
pub(super) struct Notices {
    /// Its end is what the thread waits for beside the kernel.
    _end: UnixStream,
}

impl Notices {
    /// Tells of changes in these folders, and in those that are in `nest` or come there later. Everything that happens after
    /// this returns is told, in its order, from a thread of its own.
    pub(super) fn start(
        folders: &[&Path],
        nest: Option<&Path>,
        tell: impl FnMut(Notice<'_>) + Send + 'static,
    ) -> io::Result<Notices> {
        let kernel = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let mut source = Source {
            kernel,
            folders: HashMap::new(),
            nest: nest.map(Path::to_owned),
            tell: Box::new(tell),
        };
        for folder in folders.iter().copied().chain(nest) {
            source.watch(folder)?;
        }
        if let Some(nest) = nest {
            for entry in tinyclaw_disk::read_dir(nest)? {
                let path = entry?.path();
                // A file among them is nobody's, and a folder may just have been removed.
                let _ = source.watch(&path);
            }
        }
        let (end, ended) = UnixStream::pair()?;
        std::thread::Builder::new().name("queue notices".to_owned()).spawn(move || {
            source.listen(&ended);
        })?;
        Ok(Notices { _end: end })
    }
}

struct Source {
    kernel: Inotify,
    folders: HashMap<WatchDescriptor, PathBuf>,
    nest: Option<PathBuf>,
    tell: Box<dyn FnMut(Notice<'_>) + Send>,
}

impl Source {
    fn watch(&mut self, folder: &Path) -> io::Result<()> {
        let moves = AddWatchFlags::IN_MOVE | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE;
        let number = self.kernel.add_watch(folder, moves | AddWatchFlags::IN_ONLYDIR)?;
        self.folders.insert(number, folder.to_owned());
        Ok(())
    }

    fn listen(mut self, ended: &UnixStream) {
        loop {
            let mut both = [
                PollFd::new(self.kernel.as_fd(), PollFlags::POLLIN),
                PollFd::new(ended.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut both, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                Err(err) => return self.give_up(err),
                Ok(_) => {}
            }
            if both[1].any() != Some(false) {
                return;
            }
            match self.kernel.read_events() {
                Ok(events) => {
                    events.iter().for_each(|it| self.pass_on(it));
                    (self.tell)(Notice::Caught);
                }
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(err) => return self.give_up(err),
            }
        }
    }

    fn give_up(&mut self, err: Errno) {
        tracing::warn!("the kernel tells no more, and the sweep alone sees what moves: {err}");
        (self.tell)(Notice::Missed);
        (self.tell)(Notice::Caught);
    }

    fn pass_on(&mut self, event: &InotifyEvent) {
        let is = |flags| event.mask.intersects(flags);
        if is(AddWatchFlags::IN_Q_OVERFLOW) {
            return (self.tell)(Notice::Missed);
        }
        if is(AddWatchFlags::IN_IGNORED) {
            // The folder is gone, and its number may be given again.
            self.folders.remove(&event.wd);
            return;
        }
        let came = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        let happened = if is(came) {
            Happened::Came
        } else if is(AddWatchFlags::IN_MOVED_FROM) {
            Happened::Left
        } else {
            Happened::Removed
        };
        let Some(folder) = self.folders.get(&event.wd).cloned() else { return };
        let Some(text) = event.name.as_ref().and_then(|it| it.to_str()) else { return };
        if self.nest.as_deref() == Some(&*folder) {
            if is(came) && is(AddWatchFlags::IN_ISDIR) {
                let _ = self.watch(&folder.join(text));
            }
            // Something may have come to it before it was watched.
            return (self.tell)(Notice::Missed);
        }
        (self.tell)(Notice::Name { folder: &folder, text, happened, number: event.cookie });
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes its files as it likes")]
mod tests {
    use std::fs;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;

    fn notices(folders: &[&Path], nest: Option<&Path>) -> (Notices, Receiver<String>) {
        let (send, told) = channel();
        let notices = Notices::start(folders, nest, move |notice| {
            let _ = match notice {
                Notice::Caught => Ok(()),
                Notice::Missed => send.send("missed".to_owned()),
                Notice::Name { folder, text, happened, .. } => {
                    let folder = folder.file_name().unwrap().to_string_lossy();
                    send.send(format!("{happened:?} {folder}/{text}"))
                }
            };
        });
        (notices.unwrap(), told)
    }

    fn next(told: &Receiver<String>) -> String {
        told.recv_timeout(Duration::from_secs(60)).expect("a notice")
    }

    #[test]
    fn moves_are_told_in_their_order_and_looking_at_a_message_wakes_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir(&a).unwrap();
        fs::create_dir(&b).unwrap();
        let (_notices, told) = notices(&[&a, &b], None);
        fs::write(a.join("x"), "1").unwrap();
        fs::write(a.join("x"), "2").unwrap();
        fs::read(a.join("x")).unwrap();
        fs::rename(a.join("x"), b.join("x")).unwrap();
        fs::remove_file(b.join("x")).unwrap();
        let all: Vec<String> = (0..4).map(|_| next(&told)).collect();
        assert_eq!(all, ["Came a/x", "Left a/x", "Came b/x", "Removed b/x"]);
    }

    #[test]
    fn a_day_that_comes_later_is_watched_and_one_that_went_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let done = dir.path().join("done");
        fs::create_dir_all(done.join("20261120")).unwrap();
        let (_notices, told) = notices(&[], Some(&done));
        fs::write(done.join("20261120/x"), "").unwrap();
        assert_eq!(next(&told), "Came 20261120/x");
        fs::create_dir(done.join("20261121")).unwrap();
        assert_eq!(next(&told), "missed");
        fs::write(done.join("20261121/y"), "").unwrap();
        assert_eq!(next(&told), "Came 20261121/y");
        fs::remove_dir_all(done.join("20261120")).unwrap();
        assert_eq!((next(&told), next(&told)), ("Removed 20261120/x".into(), "missed".into()));
    }

    #[test]
    fn after_the_drop_the_kernel_is_asked_for_nothing_more() {
        let dir = tempfile::tempdir().unwrap();
        let (notices, told) = notices(&[dir.path()], None);
        drop(notices);
        // The thread took the sender along.
        while told.recv_timeout(Duration::from_secs(60)).is_ok() {}
        assert!(matches!(told.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected)));
    }
}
