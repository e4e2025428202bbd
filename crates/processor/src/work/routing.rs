//! Which model a message gets: the router is asked with the thread's last messages, and with the operator's `router.toml`.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use tinyclaw_domain::{Decision, Message, Model, StateDir};
use tinyclaw_router::{Config, Input, Router, strip_hint};
use tinyclaw_service::Vitals;

use crate::desks::Desks;
use crate::history::History;

/// The router in force.
pub(crate) struct Routing {
    state: StateDir,
    vitals: Vitals,
    desks: Arc<Desks>,
    history: Arc<History>,
    /// Guards which router is in force. Held for a look or an exchange.
    router: RwLock<Arc<Router>>,
}

impl Routing {
    /// The router with the operator's `router.toml`, or with its own lists when that one is wrong; the operator is told.
    pub(crate) fn open(
        state: StateDir,
        vitals: Vitals,
        desks: Arc<Desks>,
        history: Arc<History>,
    ) -> Routing {
        let (router, trouble) = read(&state.router());
        vitals.concern("router", trouble);
        Routing { state, vitals, desks, history, router: RwLock::new(Arc::new(router)) }
    }

    /// Reads `router.toml` anew.
    pub(crate) fn reload(&self) {
        let (router, trouble) = read(&self.state.router());
        self.vitals.concern("router", trouble);
        *self.router.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(router);
    }

    /// The router's decision about a message, and the text without a model hint if it had one.
    pub(crate) fn decide(
        &self,
        message: &Message,
        pin: Option<Model>,
    ) -> (Decision, Option<String>) {
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
        let goes_on = self.desks.get(&message.thread_id).is_some_and(|it| it.session_id.is_some());
        let last = recent.iter().rev().find_map(|it| it.context_tokens);
        let context_tokens = last.filter(|_| goes_on).unwrap_or(0);
        let attachments: Vec<&str> = message.files.iter().map(|it| it.mime.as_str()).collect();
        let router = self.router.read().unwrap_or_else(PoisonError::into_inner).clone();
        let decision = router.decide(&Input {
            text: &message.message,
            reply_to_text: message.reply_to_text.as_deref(),
            reply_to_model: message.reply_to_model.filter(|_| message.is_reply),
            history: &turns,
            source: message.source,
            attachments: &attachments,
            pin,
            context_tokens,
        });
        let (hint, text) = strip_hint(&message.message);
        (decision, hint.map(|_| text.into_owned()))
    }
}

fn read(path: &Path) -> (Router, Option<String>) {
    let ours = |trouble| (Router::new(Config::default()), trouble);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return ours(None),
        Err(err) => return ours(Some(format!("router.toml cannot be read: {err}"))),
    };
    match Config::parse(&text) {
        Ok(config) => (Router::new(config), None),
        Err(err) => {
            tracing::error!("router.toml is not taken, the built-in lists stay in force: {err}");
            ours(Some(format!("router.toml is not taken: {err}")))
        }
    }
}
