//! `/devbox`: remote machines on which Claude works. Everybody who may speak may ask how they are; all else is for admins.

mod git;
mod moving;

use std::path::Path;
use std::time::{Duration, Instant};

use tinyclaw_devbox::{Devbox, HostKey, KeyFile, NewDevbox};
use tinyclaw_domain::look::FarHealth;
use tinyclaw_domain::{
    ButtonPress, Channel, Command, DevboxAddress, DevboxDir, DevboxHost, DevboxName, DevboxOrder,
    DevboxStatus, DevboxTrust, DevboxUser, Key, Message, Place, Reply, ReplyButton, Source, Thread,
    ThreadId, ThreadStatus, TopicChange,
};
use tinyclaw_engine::{DevboxLauncher, LookError};
use tinyclaw_queue::{Durability, Side};
use tinyclaw_service::{now_ms, words};

use crate::availability::notices::notice;
use crate::blocking::on_disk;
use crate::commands::{Commands, Refusal};
use crate::devboxes::{self, OFF, Question, fault, health_lines, listed, shown_status};

/// The ladder of a stop, and some for a slow machine.
const STOP: Duration = Duration::from_secs(30);
/// So often it is looked whether a turn is over.
const LOOK: Duration = Duration::from_millis(100);

impl Commands {
    pub(super) async fn devbox(
        &self,
        message: &Message,
        thread: &Thread,
        order: &DevboxOrder,
        admin: bool,
    ) -> Result<Reply, Refusal> {
        if !admin && !order.is_for_all() {
            return Err(plain("Only admins may do that with devboxes. Nothing was changed."));
        }
        if !self.fleet.is_on() {
            return Err(plain(OFF));
        }
        let by = message.sender_id.as_deref();
        let here = &message.thread_id;
        match order {
            DevboxOrder::Add { name, at, user, dir } => {
                let new = self.new_devbox(name, at, user.as_ref(), dir.as_ref(), here, by)?;
                self.add_devbox(new, thread).await
            }
            DevboxOrder::Approve { name, fingerprint } => {
                let devbox = self.known(name)?;
                if !self.fleet.approve(&devbox, fingerprint, by).map_err(plain)? {
                    return Err(plain(format!(
                        "That is not the key that was shown. /devbox doctor {name} shows the one it has now."
                    )));
                }
                // Whatever speaks with it goes by the key of before.
                self.let_go(name);
                self.availability.let_go(&Place::Devbox(name.clone()));
                let devbox = self.known(name)?;
                let reply = self.ready(&devbox).await?;
                let text = format!("The key is kept.\n\n{}", reply.text);
                Ok(Reply { text, ..reply })
            }
            DevboxOrder::List { all } => {
                let all = self.fleet.all(*all).map_err(plain)?;
                Ok(notice(listed(&all, admin, |it| self.is_at_work(it))))
            }
            DevboxOrder::Status { name } => self.devbox_status(name.as_ref(), thread, admin).await,
            DevboxOrder::Doctor { name } => {
                let devbox = self.meant(name.as_ref(), thread)?;
                let is_asked =
                    devbox.host_key.is_none() || devbox.status == DevboxStatus::KeyChanged;
                if devbox.host.is_some() && is_asked {
                    return self.card(&devbox).await;
                }
                self.doctor(&devbox).await
            }
            DevboxOrder::Remove { name } => {
                let devbox = self.known(name)?;
                let is_at_work = self.is_at_work(&devbox);
                let (at_work, label) = match is_at_work {
                    true => ("Claude is at work there, and is stopped. ", "Stop and remove"),
                    false => ("", "Remove"),
                };
                let text = format!(
                    "Remove `{name}`? {at_work}Its topic is archived, our files there go; {} and Claude's sessions stay.\n\n`/devbox yes {name}` or `/devbox keep {name}`.",
                    self.dir_of(&devbox)
                );
                let buttons = vec![
                    button(label, DevboxOrder::Yes { name: name.clone() }),
                    button("Keep", DevboxOrder::Keep { name: name.clone() }),
                ];
                self.fleet.ask(name, Question::Remove);
                Ok(Reply { buttons, ..notice(text) })
            }
            DevboxOrder::Yes { name } => {
                let devbox = self.known(name)?;
                match self.fleet.take_question(name) {
                    None => Err(plain(format!("Nothing was asked about {name}."))),
                    Some(Question::Remove) => self.remove_devbox(&devbox, by).await,
                    Some(Question::Move { thread, to, dir }) => {
                        self.move_thread(&thread, &to, dir.as_ref(), by).await
                    }
                }
            }
            DevboxOrder::Keep { name } => {
                let devbox = self.known(name)?;
                let was_asked = self.fleet.take_question(name).is_some();
                Ok(notice(match (was_asked, devbox.host_key.is_none(), devbox.status) {
                    (false, true, _) => "Not trusted; nothing was sent.",
                    (false, false, DevboxStatus::KeyChanged) => {
                        "The new key is not trusted; nothing runs there."
                    }
                    _ => "All stays as it is.",
                }))
            }
            DevboxOrder::TakeOver { name } => {
                let devbox = self.known(name)?;
                // A thread that moved there has a directory of its own.
                let is_there = thread.place().0 == Place::Devbox(name.clone());
                let whose = if is_there { here } else { &devbox.thread };
                let launcher = self.launcher()?;
                let Some(taken) = self.availability.take_over(whose) else {
                    return Err(plain(format!(
                        "No other office works in the directory of this thread on {name}, as far as is known here. Nothing was changed."
                    )));
                };
                self.fleet.taken_over(&devbox, &taken.office, by).map_err(plain)?;
                launcher.take_over(whose);
                Ok(notice(format!(
                    "Taken over: what office {} has running in `{}` on {name} is ended, and what waits here goes on.",
                    taken.office,
                    taken.dir.display()
                )))
            }
            DevboxOrder::Rename { from, to } => self.rename_devbox(from, to, by).await,
            DevboxOrder::ForgetKey { name } => {
                let devbox = self.known(name)?;
                self.fleet.forget_key(&devbox, by).map_err(plain)?;
                self.let_go(name);
                self.availability.let_go(&Place::Devbox(name.clone()));
                Ok(notice(
                    "The key is forgotten; the next connection asks again. /devbox doctor shows the key it has now.",
                ))
            }
            DevboxOrder::Move { to, dir } => self.ask_to_move(here, thread, to, dir.as_ref()).await,
            DevboxOrder::Trust { name, trust } => {
                self.fleet.trust(&self.known(name)?, *trust, by).map_err(plain)?;
                Ok(notice(match trust {
                    DevboxTrust::Own => format!("{name} gets send_file and note."),
                    DevboxTrust::Office => format!("{name} gets all our tools."),
                }))
            }
            DevboxOrder::Git { name, on } => {
                let devbox = self.known(name)?;
                match on {
                    true => self.give_tokens(&devbox, by).await,
                    false => self.give_no_tokens(&devbox, by).await,
                }
            }
            DevboxOrder::Key {} => {
                let key = self.own_key().await?;
                let (path, helper) = self.launcher()?.helper().await.map_err(plain)?;
                Ok(notice(key_lines(key.public(), &path.display().to_string(), &helper)))
            }
        }
    }

    fn known(&self, name: &DevboxName) -> Result<Devbox, Refusal> {
        let found = self.fleet.get(name).map_err(plain)?;
        found.ok_or_else(|| plain(format!("There is no devbox `{name}`. /devbox list names them.")))
    }

    /// The one that is named, else the thread's own.
    fn meant(&self, name: Option<&DevboxName>, thread: &Thread) -> Result<Devbox, Refusal> {
        match (name, thread.place()) {
            (Some(name), _) => self.known(name),
            (None, (Place::Devbox(name), _)) => self.known(&name),
            (None, _) => {
                Err(plain("Which one? This thread works on none; /devbox list names them."))
            }
        }
    }

    async fn own_key(&self) -> Result<KeyFile, Refusal> {
        let Some(path) = self.settings.current().devbox.ssh_key.clone() else {
            return Err(plain(OFF));
        };
        KeyFile::read(&path).await.map_err(|fault| plain(format!("Not ready: {fault}.")))
    }

    fn new_devbox(
        &self,
        name: &DevboxName,
        at: &DevboxAddress,
        user: Option<&DevboxUser>,
        dir: Option<&DevboxDir>,
        thread: &ThreadId,
        by: Option<&str>,
    ) -> Result<NewDevbox, Refusal> {
        let settings = self.settings.current();
        let host: Option<DevboxHost> = match at {
            DevboxAddress::Ssh(host) => Some(host.clone()),
            DevboxAddress::Local if self.fleet.may_be_local() => None,
            DevboxAddress::Local => {
                return Err(plain(
                    "A devbox on this machine is for trying things out: set devbox.allowLocal.",
                ));
            }
        };
        if let Some(known) = self.fleet.get(name).map_err(plain)? {
            return Err(plain(format!(
                "There is a devbox `{name}` already: {}.",
                devboxes::at(&known)
            )));
        }
        let wrong = |what: &str, err: tinyclaw_domain::BadDevbox| plain(format!("{what}: {err}"));
        let user = match user {
            Some(user) => user.clone(),
            None => settings.devbox.ssh_user.parse().map_err(|err| wrong("devbox.sshUser", err))?,
        };
        let dir = match dir {
            Some(dir) => dir.clone(),
            None => settings.devbox.dir.parse().map_err(|err| wrong("devbox.dir", err))?,
        };
        let (name, thread, owner) = (name.clone(), thread.clone(), by.map(str::to_owned));
        Ok(NewDevbox { name, host, user, dir, thread, owner })
    }

    async fn add_devbox(&self, new: NewDevbox, thread: &Thread) -> Result<Reply, Refusal> {
        if thread.session_id.is_some() || !thread.place().0.is_here() {
            return Err(plain(
                "This thread works already; a devbox gets one of its own. Nothing was changed.",
            ));
        }
        if new.host.is_some() {
            self.own_key().await?;
        }
        let devbox = self.fleet.add(&new).map_err(plain)?;
        self.desks.change(&new.thread, |it| {
            it.name = title(&devbox.name);
            it.cwd = format!("{}:{}", devbox.name, devbox.dir);
            it.status = ThreadStatus::Idle;
        })?;
        match devbox.host {
            Some(_) => self.card(&devbox).await,
            None => self.ready(&devbox).await,
        }
    }

    /// Shows the key that a machine has, for a person to say whose it is.
    async fn card(&self, devbox: &Devbox) -> Result<Reply, Refusal> {
        let name = &devbox.name;
        let learned = self.fleet.learn(devbox).await.map_err(plain)?;
        let key = match learned {
            Ok(key) => key,
            Err(trouble) => return Ok(not_ready(name, &trouble.text)),
        };
        let Some(fingerprint) = key.fingerprint() else {
            return Ok(not_ready(name, "its key is of no known kind"));
        };
        let kept = devbox.host_key.as_deref().and_then(|it| it.parse::<HostKey>().ok());
        if let Some(was) = kept.as_ref().and_then(HostKey::fingerprint) {
            if was == fingerprint {
                return self.doctor(devbox).await;
            }
            let text = format!(
                "**The key of `{name}` has changed.** It was set up anew, or somebody stands between. Was `{was}`, is `{fingerprint}` ({}). On the machine: `ssh-keygen -lf {}`. Nothing runs there until you say that it is its own.\n\n`/devbox approve {name} {fingerprint}` or `/devbox keep {name}`.",
                key.kind(),
                key.usual_file(),
            );
            let buttons = vec![
                button("Trust it", DevboxOrder::Approve { name: name.clone(), fingerprint }),
                button("Leave it", DevboxOrder::Keep { name: name.clone() }),
            ];
            return Ok(Reply { buttons, ..notice(text) });
        }
        let text = format!(
            "**Is this `{name}`?** {} shows `{fingerprint}` ({}). On the machine: `ssh-keygen -lf {}`. Nothing was sent to it yet.\n\n`/devbox approve {name} {fingerprint}` or `/devbox keep {name}`.",
            devboxes::at(devbox),
            key.kind(),
            key.usual_file(),
        );
        let buttons = vec![
            button("It is", DevboxOrder::Approve { name: name.clone(), fingerprint }),
            button("It is not", DevboxOrder::Keep { name: name.clone() }),
        ];
        Ok(Reply { buttons, ..notice(text) })
    }

    fn launcher(&self) -> Result<std::sync::Arc<DevboxLauncher>, Refusal> {
        let missing = "tinyclaw-leash is not beside this program; install all of TinyClaw's binaries together.";
        self.fleet.launcher().ok_or_else(|| plain(missing))
    }

    /// The directory of a devbox's thread, which may be another one by now.
    fn dir_of(&self, devbox: &Devbox) -> String {
        let thread = self.desks.get(&devbox.thread).map(|it| it.place());
        match thread {
            Some((Place::Devbox(name), dir)) if name == devbox.name => dir.display().to_string(),
            _ => devbox.dir.to_string(),
        }
    }

    async fn ready(&self, devbox: &Devbox) -> Result<Reply, Refusal> {
        let dir = self.dir_of(devbox);
        Ok(match self.look_at(devbox, &dir).await? {
            Ok(health) => match fault(devbox, &dir, &health) {
                None => {
                    notice(format!("Ready. Write here, and Claude on {} answers.", devbox.name))
                }
                Some(fault) => not_ready(&devbox.name, &fault),
            },
            Err(why) => not_ready(&devbox.name, &why),
        })
    }

    async fn doctor(&self, devbox: &Devbox) -> Result<Reply, Refusal> {
        let (dir, begun) = (self.dir_of(devbox), Instant::now());
        Ok(match self.look_at(devbox, &dir).await? {
            Ok(health) => notice(health_lines(devbox, &dir, &health, begun.elapsed())),
            Err(why) => not_ready(&devbox.name, &why),
        })
    }

    /// Asks a devbox how it is. Once it answers, what waited for a person goes on. Within: why it does not.
    async fn look_at(
        &self,
        devbox: &Devbox,
        dir: &str,
    ) -> Result<Result<FarHealth, String>, Refusal> {
        let health = self.launcher()?.health(&devbox.name, Path::new(dir)).await;
        let health = match health {
            Ok(health) => health,
            Err(err) => return Ok(Err(err.to_string())),
        };
        if let Some(version) = &health.version {
            self.fleet.note_version(devbox, version);
        }
        self.availability.note_reached(&Place::Devbox(devbox.name.clone())).await;
        Ok(Ok(health))
    }

    async fn devbox_status(
        &self,
        name: Option<&DevboxName>,
        thread: &Thread,
        admin: bool,
    ) -> Result<Reply, Refusal> {
        let is_of_none = name.is_none() && !matches!(thread.place().0, Place::Devbox(_));
        let asked = match is_of_none {
            true => self.fleet.all(false).map_err(plain)?,
            false => vec![self.meant(name, thread)?],
        };
        let mut lines = Vec::new();
        for devbox in &asked {
            let dir = self.dir_of(devbox);
            // Where it is and who is logged in as stands in such a sentence: that is for admins.
            let trouble = if admin { self.last_trouble(devbox) } else { String::new() };
            lines.push(match self.look_at(devbox, &dir).await? {
                Ok(health) => {
                    let claude = health
                        .version
                        .map_or_else(|| "no claude".to_owned(), |it| format!("claude {it}"));
                    if let Ok(took) = self.launcher()?.ping(&devbox.name).await {
                        self.fleet.pinged(devbox, took);
                    }
                    let ping = self.known(&devbox.name)?.ping_ms;
                    let ping = ping.map_or_else(String::new, |it| format!("{it} ms, "));
                    let status = if self.is_at_work(devbox) { "working" } else { "ready" };
                    format!("`{}`: {status}, {ping}{claude}{trouble}.", devbox.name)
                }
                Err(_) => {
                    let now = self.known(&devbox.name)?;
                    let why = now.last_error.as_ref().filter(|_| admin);
                    let why = why.map_or_else(String::new, |it| format!(": {it}"));
                    format!("`{}`: {}{why}.", now.name, shown_status(&now))
                }
            });
        }
        if lines.is_empty() {
            lines.push(listed(&[], true, |_| false));
        }
        Ok(notice(lines.join("\n")))
    }

    /// `; last trouble 12:03: api:22 refuses connections`.
    fn last_trouble(&self, devbox: &Devbox) -> String {
        let (Some(what), Some(at)) = (&devbox.last_error, devbox.last_error_at) else {
            return String::new();
        };
        format!("; last trouble {}: {what}", self.availability.clock_time_of(at))
    }

    async fn remove_devbox(&self, devbox: &Devbox, by: Option<&str>) -> Result<Reply, Refusal> {
        let name = &devbox.name;
        let mut guests = self.guests(devbox).into_iter();
        if let Some((guest, _)) = guests.find(|it| it.1.status != ThreadStatus::Closed) {
            return Err(plain(format!(
                "Thread {guest} works on {name} as well. Move it away or close it first; nothing was changed."
            )));
        }
        if !self.stop_there(&devbox.thread).await {
            return Err(plain(format!(
                "Claude on {name} cannot be stopped, for nobody hears it there. /devbox remove {name} again when {name} is back, or when {} is over.",
                words::span(self.settings.current().devbox.lease.as_millis() as u64)
            )));
        }
        let cleaned = match self.fleet.launcher().filter(|_| devbox.host_key.is_some()) {
            Some(launcher) => launcher.clean(name).await,
            None => Ok(true),
        };
        self.fleet.remove(devbox, by).map_err(plain)?;
        self.let_go(name);
        let is_there = |it: &Thread| it.place().0 == Place::Devbox(name.clone());
        if !self.desks.get(&devbox.thread).is_some_and(|it| is_there(&it)) {
            // Its topic's thread went elsewhere.
            return Ok(notice("Removed. Its topic works elsewhere, and stays."));
        }
        self.desks.change(&devbox.thread, |it| {
            it.name = format!("archived: {name}");
            it.status = ThreadStatus::Closed;
        })?;
        let stay = "~/.local/share/tinyclaw and ~/.local/state/tinyclaw stay there";
        let text = match (&devbox.host, cleaned) {
            (None, _) | (_, Ok(true)) => "Removed.".to_owned(),
            (_, Ok(false)) => format!("Removed here; another office has a Claude there: {stay}."),
            (_, Err(LookError::OutOfReach(_))) => {
                format!("Removed here; {name} could not be reached: {stay}.")
            }
            (_, Err(_)) => format!("Removed here; {name} keeps our files: {stay}."),
        };
        let topic = TopicChange {
            thread: devbox.thread.clone(),
            name: format!("archived: {name}"),
            close: true,
        };
        Ok(Reply { topic: Some(topic), ..notice(text) })
    }

    async fn rename_devbox(
        &self,
        from: &DevboxName,
        to: &DevboxName,
        by: Option<&str>,
    ) -> Result<Reply, Refusal> {
        let devbox = self.known(from)?;
        if let Some(known) = self.fleet.get(to).map_err(plain)? {
            return Err(plain(format!(
                "There is a devbox `{to}` already: {}.",
                devboxes::at(&known)
            )));
        }
        let guests: Vec<ThreadId> = self.guests(&devbox).into_iter().map(|it| it.0).collect();
        for thread in guests.iter().chain([&devbox.thread]) {
            if !self.engine.evict(thread).await {
                return Err(plain(format!(
                    "Claude is at work on {from}. /stop there first, or wait; nothing was changed."
                )));
            }
        }
        let dir = self.dir_of(&devbox);
        self.fleet.rename(&devbox, to, by).map_err(plain)?;
        self.let_go(from);
        for guest in &guests {
            self.desks.change(guest, |it| {
                it.cwd = format!("{to}:{}", it.place().1.display());
            })?;
        }
        self.desks.change(&devbox.thread, |it| {
            it.name = title(to);
            if it.place().0 == Place::Devbox(from.clone()) {
                it.cwd = format!("{to}:{dir}");
            }
        })?;
        let topic = TopicChange { thread: devbox.thread.clone(), name: title(to), close: false };
        Ok(Reply { topic: Some(topic), ..notice(format!("{from} is called {to} now.")) })
    }

    /// Whether Claude is in a turn in its thread.
    fn is_at_work(&self, devbox: &Devbox) -> bool {
        let thread = self.desks.get(&devbox.thread);
        thread.is_some_and(|it| matches!(it.status, ThreadStatus::Working | ThreadStatus::Waiting))
    }

    /// Stops what runs in a thread, and lets go of its Claude. `false`: it does not hear.
    async fn stop_there(&self, thread: &ThreadId) -> bool {
        if self.engine.evict(thread).await {
            return true;
        }
        let key = Key::hashed("n", &format!("stop-{thread}-{}", now_ms()));
        let mut stop = Message::new(key, Channel::System, thread.clone(), "", now_ms());
        stop.source = Source::System;
        stop.command = Some(Command::Stop { key: None });
        if let Err(err) = on_disk(|| self.queue.publish(Side::Run, stop, Durability::Strict)) {
            tracing::error!(thread.id = %thread, "a stop is not published: {err}");
            return false;
        }
        let end = Instant::now() + STOP;
        while Instant::now() < end {
            if self.engine.evict(thread).await {
                return true;
            }
            tokio::time::sleep(LOOK).await;
        }
        false
    }

    /// Whoever is connected under this name is let go of.
    fn let_go(&self, name: &DevboxName) {
        if let Some(launcher) = self.fleet.launcher() {
            launcher.forget(name);
        }
    }
}

/// Our public key as `authorized_keys` takes it: for whoever trusts the office with that user, and for whoever pins it down.
fn key_lines(public: &str, path: &str, helper: &str) -> String {
    let folder = helper.rsplit_once('/').map_or(helper, |it| it.0);
    format!(
        "Our public key, for `~/.ssh/authorized_keys` of the user on the devbox:\n\n```\nrestrict {public}\n```\n\nWith it this office may do there what that user may; it has no forwarding and no terminal. Pinned to one directory it runs Claude there and nothing else:\n\n```\nrestrict,command=\"$HOME/{helper} hub --pinned --dir DIR --mode edits\" {public}\n```\n\n`--mode` is `ask`, `edits` or `bypass`. The helper is then put there by hand, and again after each update of this office:\n\n```\nssh USER@HOST 'mkdir -p {folder}'\nscp {path} USER@HOST:{helper}\n```"
    )
}

/// What a devbox's topic is called.
fn title(name: &DevboxName) -> String {
    format!("devbox: {name}")
}

fn not_ready(name: &DevboxName, why: &str) -> Reply {
    let buttons = vec![
        button("Try again", DevboxOrder::Doctor { name: Some(name.clone()) }),
        button("Remove", DevboxOrder::Remove { name: name.clone() }),
    ];
    let text = format!(
        "Not ready: {why}.\n\n`/devbox doctor {name}` tries again; `/devbox remove {name}`."
    );
    Reply { buttons, ..notice(text) }
}

fn button(label: &str, order: DevboxOrder) -> ReplyButton {
    // Whoever presses it is looked at then.
    let press = ButtonPress::Command(Command::Devbox { order, admin: false });
    ReplyButton { label: label.to_owned(), press }
}

fn plain(text: impl Into<String>) -> Refusal {
    Refusal::Plain(text.into())
}
