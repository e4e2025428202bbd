//! Which model a message gets: the router is asked with the thread's last messages, and with the operator's `router.toml`.

use std::sync::{Arc, PoisonError, RwLock};

use tinyclaw_domain::{
    Decision, DeskKind, Efforts, Message, Model, OutcomeLine, StateDir, Thread, Tier, Tiers,
};
use tinyclaw_router::{Caches, Config, Input, Router, strip_hints};
use tinyclaw_service::settings::{Settings, Store};
use tinyclaw_service::{Vitals, now_ms};

use crate::blocking::on_disk;
use crate::config::{cache_ttl, catalogue, efforts};
use crate::desks::Desks;
use crate::history::History;
use crate::history::outcomes::outcome;
use crate::policy::escalation::raised_tier;

/// So many entries of a desk's folder are looked at.
const ENTRIES_MAX: usize = 1_000;

/// What is decided about a message.
pub(crate) struct Routed {
    pub(crate) decision: Decision,
    /// The text without a hint, if it had one.
    pub(crate) text: Option<String>,
    /// What it says about an answer before it.
    pub(crate) outcome: Option<OutcomeLine>,
}

/// The router in force.
pub(crate) struct Routing {
    state: StateDir,
    settings: Store<Settings>,
    vitals: Vitals,
    desks: Arc<Desks>,
    history: Arc<History>,
    /// Guards which router is in force. Held for a look or an exchange.
    router: RwLock<Arc<Router>>,
}

impl Routing {
    /// The router with what it learned here and the operator's `router.toml`, without those that are wrong; the operator is
    /// told.
    pub(crate) fn open(
        state: StateDir,
        settings: Store<Settings>,
        vitals: Vitals,
        desks: Arc<Desks>,
        history: Arc<History>,
    ) -> Routing {
        let routing =
            Routing { state, settings, vitals, desks, history, router: RwLock::default() };
        routing.reload();
        routing
    }

    /// Reads `router.toml` and what was learned anew, and what the settings say of models.
    pub(crate) fn reload(&self) {
        let (router, trouble) = read(&self.state);
        self.vitals.concern("router", trouble);
        let (catalogue, trouble) = catalogue(&self.settings.current());
        if let Some(trouble) = &trouble {
            tracing::error!("a setting about models is not taken: {trouble}");
        }
        self.vitals.concern("models", trouble);
        let efforts = efforts(&self.settings.current());
        let router = router.with_catalogue(catalogue).with_efforts(efforts);
        *self.router.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(router);
    }

    fn router(&self) -> Arc<Router> {
        self.router.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which model does a tier's work in this thread.
    pub(crate) fn tiers(&self, thread: &Thread) -> Tiers {
        self.router().catalogue().tiers().with(thread.tiers)
    }

    /// Where a turn goes on when its tools show that its model is too small.
    pub(crate) fn raised(&self, decision: &Decision, thread: &Thread) -> Option<(Tier, Model)> {
        let (router, tiers) = (self.router(), self.tiers(thread));
        let is_stronger = |one, other| router.prices().is_stronger(one, other);
        raised_tier(decision, tiers, is_stronger).map(|it| (it, tiers.of(it)))
    }

    /// How hard a tier's messages are thought about.
    pub(crate) fn efforts(&self) -> Efforts {
        self.router().efforts()
    }

    /// The model of a name that Claude tells.
    pub(crate) fn named(&self, told: Option<&str>) -> Option<Model> {
        told.and_then(|it| self.router().catalogue().of_name(it))
    }

    /// Which model answered, when `asked` was asked and Claude tells this name.
    pub(crate) fn answered_by(&self, asked: Model, told: Option<&str>) -> Model {
        self.router().catalogue().answered_by(asked, told)
    }

    /// The router's decision about a message.
    pub(crate) fn decide(&self, message: &Message, pin: Option<Model>) -> Routed {
        let recent = self.history.recent(&message.thread_id);
        let turns: Vec<tinyclaw_router::Turn<'_>> = recent
            .iter()
            .filter(|it| it.key != message.key)
            .map(|it| tinyclaw_router::Turn {
                direction: it.direction,
                text: &it.message,
                tier: it.tier,
                model: it.model,
            })
            .collect();
        // A session that begins has nothing in it.
        let thread = self.desks.get(&message.thread_id);
        let goes_on = thread.as_ref().is_some_and(|it| it.session_id.is_some());
        let caches = if goes_on { Caches::of(&recent) } else { Caches::default() };
        let ttl = cache_ttl(&self.settings.current());
        let warm = caches.alive(now_ms(), ttl);
        let attachments: Vec<&str> = message.files.iter().map(|it| it.mime.as_str()).collect();
        let router = self.router();
        let effort = thread.as_ref().and_then(|it| it.effort);
        let own_tiers = thread.as_ref().map(|it| it.tiers).unwrap_or_default();
        let decision = router.decide(&Input {
            text: &message.message,
            reply_to_text: message.reply_to_text.as_deref(),
            reply_to_model: message.reply_to_model.filter(|_| message.is_reply),
            history: &turns,
            source: message.source,
            attachments: &attachments,
            desk: Some(thread.map_or(DeskKind::None, |it| on_disk(|| holds(&it)))),
            pin,
            own_tiers,
            effort,
            context_tokens: caches.context(),
            warm: &warm,
            cache: ttl,
        });
        let (hints, text) = strip_hints(&message.message, router.catalogue());
        let outcome = outcome(message, &text, hints, &recent, router.prices());
        Routed { decision, text: (!hints.is_empty()).then(|| text.into_owned()), outcome }
    }
}

/// The router of this state folder, and what of its files is not taken. One file that is wrong leaves the other in force.
fn read(state: &StateDir) -> (Router, Option<String>) {
    let (mut config, mut troubles) = (Config::default(), Vec::new());
    for path in [state.learned_router(), state.router()] {
        let name = path.file_name().unwrap_or_default().display();
        match std::fs::read_to_string(&path) {
            Ok(text) => match config.clone().with(&text) {
                Ok(with) => config = with,
                Err(err) => troubles.push(format!("{name} is not taken: {err}")),
            },
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
            Err(err) => troubles.push(format!("{name} cannot be read: {err}")),
        }
    }
    let trouble = (!troubles.is_empty()).then(|| troubles.join("; "));
    if let Some(trouble) = &trouble {
        tracing::error!("what it says of the router is not in force: {trouble}");
    }
    (Router::new(config), trouble)
}

/// What a desk holds, by a look at its folder: no file in it is opened. A desk elsewhere is there for work on code, and a look
/// over the link for each message would be dear.
fn holds(thread: &Thread) -> DeskKind {
    let (place, folder) = thread.place();
    if thread.repo.is_some() || !place.is_here() {
        return DeskKind::Repo;
    }
    if folder.join(".git").symlink_metadata().is_ok() {
        return DeskKind::Repo;
    }
    // Each message waits for this look: a folder of very many hidden files holds none that counts.
    let mut entries = folder.read_dir().into_iter().flatten().flatten().take(ENTRIES_MAX);
    match entries.any(|it| !it.file_name().as_encoded_bytes().starts_with(b".")) {
        true => DeskKind::Files,
        false => DeskKind::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desk_holds_a_repository_files_or_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let thread = |repo: Option<&str>| -> Thread {
            let fields = serde_json::json!({"name": "x", "cwd": dir.path(), "repo": repo});
            serde_json::from_value(fields).expect("a thread")
        };
        assert_eq!(holds(&thread(None)), DeskKind::None);
        std::fs::create_dir(dir.path().join(".cache")).expect("a folder");
        assert_eq!(holds(&thread(None)), DeskKind::None);
        std::fs::create_dir(dir.path().join("photos")).expect("a folder");
        assert_eq!(holds(&thread(None)), DeskKind::Files);
        assert_eq!(holds(&thread(Some("acme/site"))), DeskKind::Repo);
        let mut elsewhere = thread(None);
        elsewhere.cwd = format!("api:{}", elsewhere.cwd);
        assert_eq!(holds(&elsewhere), DeskKind::Repo, "this disk is not asked");
        std::fs::create_dir(dir.path().join(".git")).expect("a folder");
        assert_eq!(holds(&thread(None)), DeskKind::Repo);
    }
}
