//! `/devbox`: remote machines on which Claude works. Everybody who may speak may ask how they are; all else is for admins.

use std::path::Path;
use std::time::Instant;

use tinyclaw_devbox::{Devbox, KeyFile, NewDevbox};
use tinyclaw_domain::{
    ButtonPress, Command, DevboxAddress, DevboxDir, DevboxHost, DevboxName, DevboxOrder,
    DevboxUser, Message, Place, Reply, ReplyButton, Thread, ThreadId, ThreadStatus, TopicChange,
};
use tinyclaw_engine::DevboxLauncher;

use crate::availability::notices::notice;
use crate::commands::{Commands, Refusal};
use crate::devboxes::{self, OFF, health_lines, listed, readiness, shown_status};

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
                let devbox = self.known(name)?;
                let reply = self.ready(&devbox).await?;
                let text = format!("The key is kept.\n\n{}", reply.text);
                Ok(Reply { text, ..reply })
            }
            DevboxOrder::List { all } => {
                Ok(notice(listed(&self.fleet.all(*all).map_err(plain)?, admin)))
            }
            DevboxOrder::Status { name } => self.devbox_status(name.as_ref(), thread).await,
            DevboxOrder::Doctor { name } => {
                let devbox = self.meant(name.as_ref(), thread)?;
                if devbox.host.is_some() && devbox.host_key.is_none() {
                    return self.card(&devbox).await;
                }
                self.doctor(&devbox).await
            }
            DevboxOrder::Remove { name } => {
                let devbox = self.known(name)?;
                let text = format!(
                    "Remove `{name}`? Its thread is closed; {} and Claude's sessions stay there.\n\n`/devbox yes {name}` or `/devbox keep {name}`.",
                    devbox.dir
                );
                let buttons = vec![
                    button("Remove", DevboxOrder::Yes { name: name.clone() }),
                    button("Keep", DevboxOrder::Keep { name: name.clone() }),
                ];
                self.fleet.ask(name);
                Ok(Reply { buttons, ..notice(text) })
            }
            DevboxOrder::Yes { name } => {
                let devbox = self.known(name)?;
                if !self.fleet.take_question(name) {
                    return Err(plain(format!("Nothing was asked about {name}.")));
                }
                self.remove_devbox(&devbox, by).await
            }
            DevboxOrder::Keep { name } => {
                let devbox = self.known(name)?;
                let was_asked = self.fleet.take_question(name);
                Ok(notice(match devbox.host_key.is_none() && !was_asked {
                    true => "Not trusted; nothing was sent.",
                    false => "All stays as it is.",
                }))
            }
            DevboxOrder::Rename { from, to } => self.rename_devbox(from, to, by),
            DevboxOrder::ForgetKey { name } => {
                let devbox = self.known(name)?;
                self.fleet.forget_key(&devbox, by).map_err(plain)?;
                self.let_go(name);
                Ok(notice(
                    "The key is forgotten; the next connection asks again. /devbox doctor shows the key it has now.",
                ))
            }
            DevboxOrder::Key {} => {
                let key = self.own_key().await?;
                Ok(notice(format!(
                    "Our public key, for `~/.ssh/authorized_keys` of the user on the devbox:\n\n```\nrestrict {}\n```\n\n`restrict` takes from it all but running the helper: no forwarding, no terminal.",
                    key.public()
                )))
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
        match self.launcher()?.health(&devbox.name, Path::new(&dir)).await {
            Ok(health) => {
                if let Some(version) = &health.version {
                    self.fleet.note_version(devbox, version);
                }
                Ok(notice(readiness(devbox, &dir, &health)))
            }
            Err(err) => Ok(not_ready(&devbox.name, &err.to_string())),
        }
    }

    async fn doctor(&self, devbox: &Devbox) -> Result<Reply, Refusal> {
        let (dir, begun) = (self.dir_of(devbox), Instant::now());
        match self.launcher()?.health(&devbox.name, Path::new(&dir)).await {
            Ok(health) => {
                if let Some(version) = &health.version {
                    self.fleet.note_version(devbox, version);
                }
                Ok(notice(health_lines(devbox, &dir, &health, begun.elapsed())))
            }
            Err(err) => Ok(not_ready(&devbox.name, &err.to_string())),
        }
    }

    async fn devbox_status(
        &self,
        name: Option<&DevboxName>,
        thread: &Thread,
    ) -> Result<Reply, Refusal> {
        let is_of_none = name.is_none() && !matches!(thread.place().0, Place::Devbox(_));
        let asked = match is_of_none {
            true => self.fleet.all(false).map_err(plain)?,
            false => vec![self.meant(name, thread)?],
        };
        let mut lines = Vec::new();
        for devbox in &asked {
            let (dir, begun) = (self.dir_of(devbox), Instant::now());
            let trouble = devbox
                .last_error
                .as_ref()
                .map_or_else(String::new, |it| format!("; last trouble: {it}"));
            let health = self.launcher()?.health(&devbox.name, Path::new(&dir)).await;
            lines.push(match health {
                Ok(health) => {
                    let claude = health
                        .version
                        .map_or_else(|| "no claude".to_owned(), |it| format!("claude {it}"));
                    format!(
                        "`{}`: ready, {} ms, {claude}{trouble}.",
                        devbox.name,
                        begun.elapsed().as_millis()
                    )
                }
                Err(_) => {
                    let now = self.known(&devbox.name)?;
                    let why =
                        now.last_error.as_ref().map_or_else(String::new, |it| format!(": {it}"));
                    format!("`{}`: {}{why}.", now.name, shown_status(&now))
                }
            });
        }
        if lines.is_empty() {
            lines.push(listed(&[], true));
        }
        Ok(notice(lines.join("\n")))
    }

    async fn remove_devbox(&self, devbox: &Devbox, by: Option<&str>) -> Result<Reply, Refusal> {
        let name = &devbox.name;
        if !self.engine.evict(&devbox.thread).await {
            return Err(plain(format!(
                "Claude is at work on {name}. /stop there first, then /devbox remove {name} again."
            )));
        }
        self.fleet.remove(devbox, by).map_err(plain)?;
        self.let_go(name);
        self.desks.change(&devbox.thread, |it| {
            it.name = format!("archived: {name}");
            it.status = ThreadStatus::Closed;
        })?;
        let text = match devbox.host {
            Some(_) => format!(
                "Removed. On {name} our files stay in ~/.local/share/tinyclaw and ~/.local/state/tinyclaw, until somebody removes them."
            ),
            None => "Removed.".to_owned(),
        };
        let topic = TopicChange {
            thread: devbox.thread.clone(),
            name: format!("archived: {name}"),
            close: true,
        };
        Ok(Reply { topic: Some(topic), ..notice(text) })
    }

    fn rename_devbox(
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
        let dir = self.dir_of(&devbox);
        self.fleet.rename(&devbox, to, by).map_err(plain)?;
        self.let_go(from);
        self.desks.change(&devbox.thread, |it| {
            it.name = title(to);
            it.cwd = format!("{to}:{dir}");
        })?;
        let topic = TopicChange { thread: devbox.thread.clone(), name: title(to), close: false };
        Ok(Reply { topic: Some(topic), ..notice(format!("{from} is called {to} now.")) })
    }

    /// Whoever is connected under this name is let go of.
    fn let_go(&self, name: &DevboxName) {
        if let Some(launcher) = self.fleet.launcher() {
            launcher.forget(name);
        }
    }
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
