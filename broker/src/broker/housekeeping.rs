//! Looking after the house: files that change, and whether the broker can do its job.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::{Broker, add_secret, lock, lost};
use crate::app::Stamp;
use crate::clients::Clients;
use crate::counters::gauge;
use crate::policy::Policy;
use crate::refusal::{Refusal, chain};

/// A check that the key works is good for this long.
const PROBE_SECONDS: i64 = 60;
/// A failure is looked at again soon: somebody may be mending it.
const PROBE_FAILED_SECONDS: i64 = 5;

/// How the broker is.
#[derive(Debug)]
pub struct Readiness {
    /// Why it cannot mint; empty when it can.
    pub why: Vec<String>,
    /// What a person should look at although it can.
    pub warnings: Vec<String>,
}

/// The files that say who may have what.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    policy: Watched,
    clients: Watched,
}

/// A file that is read again when it changes.
#[derive(Debug, Default)]
struct Watched {
    /// Of the file, and of those it names.
    stamps: Vec<Stamp>,
    named: Vec<PathBuf>,
    trouble: Option<String>,
    in_force: InForce,
    /// Whether the file was there at some time.
    seen: bool,
}

/// What is in force in place of what a file says.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum InForce {
    /// What goes without a file, because there is none.
    #[default]
    Usual,
    /// What was read from it.
    Read,
    /// Nothing: it may say something narrower than what goes without it.
    Nothing,
}

impl Watched {
    /// What the file says, when it is new and good, and which files it names. One that was asked
    /// for by hand must be there.
    fn look<T>(
        &mut self,
        (path, asked_for): (&Path, bool),
        read: impl FnOnce() -> Result<(T, Vec<PathBuf>), String>,
    ) -> Option<T> {
        let paths = std::iter::once(path).chain(self.named.iter().map(PathBuf::as_path));
        let stamps: Vec<Stamp> = paths.map(Stamp::of).collect();
        // What is in trouble is looked at each time: the cause may be in no stamp.
        if stamps == self.stamps && self.trouble.is_none() {
            return None;
        }
        let stamp = stamps[0];
        self.stamps = stamps;
        self.seen |= matches!(stamp, Stamp::There(_));
        let read = match stamp {
            Stamp::There(_) => read(),
            Stamp::Hidden(error) => {
                let error = error.map(std::io::Error::from_raw_os_error);
                let error = error.map_or_else(|| "it is hidden".to_owned(), |it| it.to_string());
                Err(format!("cannot look at {}: {error}", path.display()))
            }
            Stamp::Missing if !asked_for && !self.seen => {
                self.in_force = InForce::Usual;
                self.trouble = None;
                return None;
            }
            // One that goes away is probably being replaced.
            Stamp::Missing if self.seen => Err(format!("{} is gone", path.display())),
            Stamp::Missing => Err(format!("{} was asked for and is missing", path.display())),
        };
        let trouble = match read {
            Ok((it, named)) => {
                let named_before = std::mem::replace(&mut self.named, named);
                if self.named != named_before {
                    // Looked at for the first time: a change since then is not missed.
                    self.stamps.truncate(1);
                }
                self.trouble = None;
                self.in_force = InForce::Read;
                return Some(it);
            }
            Err(trouble) if self.in_force == InForce::Read => {
                format!("{trouble}; what was read before stays in force")
            }
            Err(trouble) => {
                self.in_force = InForce::Nothing;
                trouble
            }
        };
        if self.trouble.as_ref() != Some(&trouble) {
            if self.in_force == InForce::Nothing {
                tracing::error!(%trouble, "nothing is handed out until this is mended");
            } else {
                tracing::error!(%trouble, "a file is not taken");
            }
        }
        self.trouble = Some(trouble);
        None
    }

    /// Why nothing at all may be handed out.
    fn closed(&self) -> Option<&String> {
        self.trouble.as_ref().filter(|_| self.in_force == InForce::Nothing)
    }
}

impl Broker {
    /// Looks at every file again that may have changed. Called every second.
    pub fn reload(&self) {
        if self.app.refresh() {
            self.counters.reloads.up();
            *lock(&self.probed) = None;
            tracing::info!("the key was rotated");
        }
        let mut stamps = lock(&self.stamps);
        let stamps = &mut *stamps;
        let policy = || match Policy::read(&self.config.policy) {
            Ok(policy) => Ok((policy, Vec::new())),
            Err(error) => Err(chain(&error)),
        };
        let file = (self.config.policy.as_path(), self.config.policy_asked_for);
        if let Some(policy) = stamps.policy.look(file, policy) {
            *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
            self.counters.reloads.up();
            tracing::info!("the policy was read");
        }
        let clients = || {
            let read = Clients::read(&self.config.clients).map_err(|error| chain(&error));
            let (mut clients, secrets) = read?;
            add_secret(&mut clients, &self.config).map_err(|error| error.to_string())?;
            Ok((clients, secrets))
        };
        let file = (self.config.clients.as_path(), self.config.clients_asked_for);
        if let Some(clients) = stamps.clients.look(file, clients) {
            *self.clients.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(clients);
            self.counters.reloads.up();
            tracing::info!("the clients were read");
        }
    }

    /// Refuses everything while a secret of the environment is unusable, or a file that says who may have what was never understood: what
    /// would be in force without it may be wider than what was meant.
    pub(crate) fn check_files(&self) -> Result<(), Refusal> {
        if let Some(trouble) = &self.config.trouble {
            let hint = "set it right, then start the broker again";
            return Err(Refusal::new(503, "not_configured", trouble.clone(), hint));
        }
        let stamps = lock(&self.stamps);
        for watched in [&stamps.policy, &stamps.clients] {
            if let Some(trouble) = watched.closed() {
                let hint = "mend the file; it is looked at every second";
                return Err(Refusal::new(503, "not_configured", trouble.clone(), hint));
            }
        }
        Ok(())
    }

    /// Whether it can mint, found out by asking GitHub with the key.
    pub async fn readiness(self: &Arc<Self>) -> Readiness {
        let mut why: Vec<String> = self.app.unready().into_iter().collect();
        if why.is_empty()
            && let Err(refusal) = self.probe().await
        {
            why.push(refusal.to_string());
        }
        if self.break_glass_is_hidden() {
            let path = self.config.freeze_file.display();
            why.push(format!("nobody can tell whether {path} is there: so long nothing is minted"));
        } else if self.is_frozen() {
            why.push("frozen: POST /thaw, or tinyclaw-broker thaw".to_owned());
        }
        if let Err(error) = self.audit.check(self.clock.wall_ms()) {
            why.push(chain(&error));
        }
        let mut warnings = Vec::new();
        if why.is_empty() {
            // Otherwise it is among the reasons already.
            warnings.extend(self.app.trouble());
        }
        if let Err(refusal) = self.check_files() {
            why.push(refusal.to_string());
        } else {
            let stamps = lock(&self.stamps);
            warnings.extend(stamps.policy.trouble.clone());
            warnings.extend(stamps.clients.trouble.clone());
        }
        if lock(&self.stamps).policy.in_force == InForce::Usual {
            let path = self.config.policy.display();
            warnings.push(format!("there is no policy at {path}: the built-in one is in force"));
        }
        if !self.is_guarded() {
            let warning = "no clients are configured: whoever reaches this port from a private \
                           network is served";
            warnings.push(warning.to_owned());
        }
        let (segments, most) = self.audit.segments();
        if segments * 4 >= most * 3 && why.is_empty() {
            warnings.push(format!(
                "{segments} of {most} segments of the audit log are full: those younger than 30 \
                 days are not thrown away; move old ones to where they are kept"
            ));
        }
        if self.clock.offset() != 0 {
            let offset = self.clock.offset();
            warnings.push(format!("this machine's clock is {} s off", -offset));
        }
        Readiness { why, warnings }
    }

    async fn probe(self: &Arc<Self>) -> Result<(), Refusal> {
        let now = self.clock.now();
        if let Some((until, outcome)) = &*lock(&self.probed)
            && now < *until
        {
            return outcome.clone();
        }
        let broker = self.clone();
        let errand = move || async move {
            let outcome = broker.github.app().await.map(|_| ());
            let seconds = if outcome.is_ok() { PROBE_SECONDS } else { PROBE_FAILED_SECONDS };
            let until = broker.clock.now() + seconds;
            *lock(&broker.probed) = Some((until, outcome.clone()));
            outcome
        };
        self.probes.join((), errand).await.map_err(|_| lost())?.0
    }

    /// The lines of `/metrics` that are not counters.
    pub fn gauges(&self, text: &mut String) {
        let now = self.clock.now();
        gauge(text, "living_tokens", "Tokens that are good at this moment.", self.vault.count(now));
        gauge(text, "frozen", "1 while nothing is minted.", u8::from(self.is_frozen()));
        gauge(text, "clock_offset_seconds", "GitHub's clock minus ours.", self.clock.offset());
        let head = self.audit.head();
        gauge(text, "audit_seq", "Number of the audit log's last line.", head.seq);
        let info = format!("audit_head{{hash=\"{}\"}}", head.hash);
        text.push_str("# HELP tinyclaw_broker_audit_head Hash of the audit log's last line.\n");
        text.push_str("# TYPE tinyclaw_broker_audit_head gauge\n");
        let _ = writeln!(text, "tinyclaw_broker_{info} 1");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "these tests write and damage files on purpose")]

    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Looks once; what was read, if anything was.
    fn look(watched: &mut Watched, path: &Path, asked_for: bool) -> Option<String> {
        let read = || {
            let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
            if text == "bad" { Err("it is bad".to_owned()) } else { Ok((text, Vec::new())) }
        };
        watched.look((path, asked_for), read)
    }

    #[test]
    fn no_file_is_no_trouble_unless_it_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        let mut watched = Watched::default();
        assert_eq!(look(&mut watched, &path, false), None);
        assert_eq!((watched.closed(), watched.in_force), (None, InForce::Usual));

        let mut watched = Watched::default();
        look(&mut watched, &path, true);
        assert!(watched.closed().unwrap().ends_with("was asked for and is missing"));
        fs::write(&path, "good").unwrap();
        assert_eq!(look(&mut watched, &path, true).as_deref(), Some("good"));
        assert_eq!(watched.closed(), None);
    }

    #[test]
    fn a_file_that_cannot_be_looked_at_is_not_a_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        // A link to itself, a link to nothing, and a file in the folder's place: what root cannot
        // look at either. A folder without rights and a broken disk go the same way.
        let at = |name: &str| folder.path().join(name);
        symlink(at("loop"), at("loop")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        fs::write(at("file"), "").unwrap();
        for path in [at("loop"), at("dangling"), at("file/policy.toml")] {
            let mut watched = Watched::default();
            look(&mut watched, &path, false);
            let trouble = watched.closed().unwrap_or_else(|| panic!("{path:?} is taken for none"));
            assert!(trouble.starts_with("cannot look at"), "{trouble}");
        }
        // Over the usual rules it closes as well, and opens when there is none after all.
        let mut watched = Watched::default();
        look(&mut watched, &at("later"), false);
        symlink(at("later"), at("later")).unwrap();
        look(&mut watched, &at("later"), false);
        assert!(watched.closed().is_some());
        fs::remove_file(at("later")).unwrap();
        look(&mut watched, &at("later"), false);
        assert_eq!(watched.closed(), None);
    }

    #[test]
    fn what_was_read_stays_in_force_and_what_was_never_understood_stays_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        let mut watched = Watched::default();
        fs::write(&path, "good").unwrap();
        assert!(look(&mut watched, &path, false).is_some());
        fs::remove_file(&path).unwrap();
        symlink(&path, &path).unwrap();
        assert!(look(&mut watched, &path, false).is_none());
        assert!(watched.trouble.as_ref().unwrap().ends_with("stays in force"));
        assert_eq!(watched.closed(), None);

        fs::remove_file(&path).unwrap();
        fs::write(&path, "bad").unwrap();
        let mut watched = Watched::default();
        look(&mut watched, &path, false);
        fs::remove_file(&path).unwrap();
        look(&mut watched, &path, false);
        assert!(watched.closed().is_some(), "somebody wanted a policy");
    }
}
