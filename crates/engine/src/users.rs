//! Desks that are users of their own on this machine: which number each has, and where its folders are.
//!
//! A number is a user of the kernel's, and is what the warden is asked by; a thread's name never reaches it. Nothing here
//! opens a desk's folder: this process is another user and could not.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tinyclaw_domain::ThreadId;
use tinyclaw_warden::{AskError, Client, DeskNumber, NotADesk};

/// Who asks the warden, and for which desks. Clones are one.
#[derive(Debug, Clone)]
pub struct Users(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    warden: Client,
    /// The folder that has one of each desk.
    all: PathBuf,
    numbers: RwLock<HashMap<ThreadId, DeskNumber>>,
}

/// What a desk has for itself, and no other user can look into. The desk made them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeskFolders {
    /// Its HOME.
    pub home: PathBuf,
    /// Where it works.
    pub work: PathBuf,
    /// Where its temporary files are.
    pub tmp: PathBuf,
}

impl Users {
    /// Users by this warden, whose folder of desks is this one. No desk has a number yet.
    pub fn new(warden: Client, all: PathBuf) -> Users {
        Users(Arc::new(Inner { warden, all, numbers: RwLock::default() }))
    }

    /// Gives a thread the number that it has had before.
    pub fn seat(&self, thread: &ThreadId, number: DeskNumber) {
        let mut numbers = self.0.numbers.write().unwrap_or_else(PoisonError::into_inner);
        numbers.insert(thread.clone(), number);
    }

    /// Whom this machine knows as the user or the group of this number: that desk would be them, and they that desk.
    pub fn namesake(&self, number: DeskNumber) -> Option<String> {
        let known = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        namesake(number, [known("/etc/passwd"), known("/etc/group")])
    }

    /// The thread's number, a new one if it has none: above all others, one whose folder is not there, and nobody's on this
    /// machine. So no desk ever finds what another one left. Two threads that ask at once get two.
    pub fn seat_anew(&self, thread: &ThreadId) -> Result<DeskNumber, NotADesk> {
        let mut numbers = self.0.numbers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.get(thread) {
            return Ok(*number);
        }
        let mut next = numbers.values().map(|it| it.number()).max().unwrap_or(0) + 1;
        loop {
            let number = DeskNumber::try_from(next)?;
            if self.folder(number).symlink_metadata().is_err() && self.namesake(number).is_none() {
                numbers.insert(thread.clone(), number);
                return Ok(number);
            }
            next += 1;
        }
    }

    /// The thread's number. `None`: what runs for it runs as the office's user.
    pub fn number(&self, thread: &ThreadId) -> Option<DeskNumber> {
        self.0.numbers.read().unwrap_or_else(PoisonError::into_inner).get(thread).copied()
    }

    /// How many desks have a user of their own.
    pub fn count(&self) -> usize {
        self.all_numbers().len()
    }

    /// Where the thread's folders are.
    pub fn folders(&self, thread: &ThreadId) -> Option<DeskFolders> {
        let folder = self.folder(self.number(thread)?);
        let [home, work, tmp] = ["home", "work", "tmp"].map(|it| folder.join(it));
        Some(DeskFolders { home, work, tmp })
    }

    /// The folder that has one of each desk.
    pub fn all(&self) -> &Path {
        &self.0.all
    }

    /// Returns when there is no warden any more: from then on no desk can be asked.
    pub fn wait_until_warden_is_gone(&self) {
        self.0.warden.wait_until_gone();
    }

    pub(crate) fn warden(&self) -> Client {
        self.0.warden.clone()
    }

    /// Every thread that has a number.
    pub(crate) fn threads(&self) -> Vec<ThreadId> {
        let numbers = self.0.numbers.read().unwrap_or_else(PoisonError::into_inner);
        numbers.keys().cloned().collect()
    }

    /// Every number that some thread has: a summary is made at the desk of its thread, under another name.
    fn all_numbers(&self) -> BTreeSet<DeskNumber> {
        let numbers = self.0.numbers.read().unwrap_or_else(PoisonError::into_inner);
        numbers.values().copied().collect()
    }

    /// Ends every process of every desk, whoever started it, but of those threads' desks; returns when none is left.
    pub(crate) async fn end_all_but(&self, threads: &HashSet<ThreadId>) {
        let kept: BTreeSet<_> = threads.iter().filter_map(|it| self.number(it)).collect();
        let ended = self.all_numbers().into_iter().filter(|it| !kept.contains(it)).map(|number| {
            let warden = self.warden();
            tokio::task::spawn_blocking(move || warden.end(number))
        });
        let ended: Vec<_> = ended.collect();
        for it in ended {
            if let Ok(Err(err)) = it.await {
                tracing::warn!("not everything that a desk began has ended: {err}");
            }
        }
    }

    /// Ends every process of the thread's desk and removes all that the desk has. What stays is its folder, empty: so its
    /// number is given to nobody, who would own what it left elsewhere. `false`: the thread has no number.
    pub(crate) async fn remove(&self, thread: &ThreadId) -> Result<bool, AskError> {
        let Some(number) = self.number(thread) else { return Ok(false) };
        let warden = self.warden();
        let removing = tokio::task::spawn_blocking(move || {
            warden.remove(number).and_then(|()| warden.make(number))
        });
        removing.await.map_err(|_| AskError::Gone)??;
        let mut numbers = self.0.numbers.write().unwrap_or_else(PoisonError::into_inner);
        numbers.retain(|_, it| *it != number);
        Ok(true)
    }

    fn folder(&self, number: DeskNumber) -> PathBuf {
        self.0.all.join(number.to_string())
    }
}

/// The name that has the desk's number, or its hand's, in `/etc/passwd` or `/etc/group`: the third field of a line in both.
fn namesake(number: DeskNumber, known: [String; 2]) -> Option<String> {
    let ours = [number.user(), number.hand()].map(|it| it.to_string());
    known.iter().flat_map(|it| it.lines()).find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        fields.nth(1).is_some_and(|it| ours.iter().any(|own| own == it)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_number_is_never_anothers_nor_one_whose_folder_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, _other) = UnixStream::pair().unwrap();
        let users = Users::new(Client::over(socket.into()).unwrap(), dir.path().to_owned());
        let number = |it: u32| users.seat_anew(&ThreadId::topic(it)).unwrap().number();
        users.seat(&ThreadId::topic(7), DeskNumber::try_from(3).unwrap());
        // Of a thread that somebody took out of threads.json.
        tinyclaw_disk::write_new(&dir.path().join("5"), b"").unwrap();
        assert_eq!((number(8), number(9), number(7), number(8)), (4, 6, 3, 4));
        assert_eq!(users.number(&ThreadId::topic(10)), None);
        let folders = users.folders(&ThreadId::topic(9)).unwrap();
        assert_eq!(folders.work, dir.path().join("6/work"));
    }

    #[test]
    fn a_number_that_a_person_of_the_machine_has_is_no_desks() {
        let number = |it: u32| DeskNumber::try_from(it).unwrap();
        let users = "root:x:0:0::/root:/bin/sh\nada:x:20007:20007::/home/ada:/bin/sh\n+::::::\n";
        let groups = "root:x:0:\nstaff:x:30008:ada\n";
        let of = |it: u32| namesake(number(it), [users.to_owned(), groups.to_owned()]);
        assert_eq!(of(7).as_deref(), Some("ada"));
        assert_eq!(
            of(8).as_deref(),
            Some("staff"),
            "what the warden does there it does as this user"
        );
        assert_eq!(of(9), None);
    }
}
