//! A Claude that is asked about itself: whether it can work at all, and how far its plan is used. It works in the office's own
//! home, without tools, in a session that is kept nowhere; no agent's word reaches it.

use std::sync::Arc;

use tinyclaw_domain::{Effort, PermissionMode, Place, SessionId, ThreadId, Trust};
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::Pool;
use crate::arguments::Purpose;
use crate::config::{Auth, EngineConfig};
use crate::driver::{Driver, TurnOrder};
use crate::failure::TurnFailure;
use crate::launch::PROBE;
use crate::login::Login;
use crate::look::LookError;
use crate::outfit::with_source;
use crate::turn::{RateWindow, SessionSpec, Turn, TurnControl, TurnOutcome};

fn broken(detail: String) -> TurnFailure {
    TurnFailure::NotStarted { detail, lasting: true }
}

impl Pool {
    /// See [`Engine::probe`](crate::Engine::probe).
    pub(crate) async fn probe(&self, place: &Place) -> Result<(), TurnFailure> {
        let config = self.config();
        let spec = self.probe_session(&config, place).await?;
        let member = self.member(&spec.thread);
        let _lane = member.lane.lock().await;
        let driver = self.start_probe(&config, &spec, Purpose::Probe).await?;
        member.keep(&driver, &spec, config.clone(), None);
        let (events_to, events) = mpsc::unbounded_channel();
        let (to, controls) = mpsc::unbounded_channel();
        let order = Box::new(TurnOrder {
            key: "probe".parse().map_err(|it| broken(format!("{it}")))?,
            uuid: Uuid::new_v4().to_string(),
            model: config.model_name(spec.model),
            effort: spec.effort,
            content: "Answer with the single word: ready".into(),
            begun: Instant::now(),
            session: spec.id,
            events: events_to,
            controls,
            done: None,
            is_ended: false,
        });
        if let Err(order) = driver.turn(order) {
            order.fail(broken("it ended at once".to_owned()));
        }
        let end = Turn { events, control: TurnControl { to } }.end().await;
        driver.close(false).await;
        match end.map(|it| it.outcome) {
            Some(TurnOutcome::Answered) => Ok(()),
            Some(TurnOutcome::Failed(failure)) => Err(failure),
            Some(TurnOutcome::Interrupted) | None => Err(TurnFailure::Closing),
        }
    }

    /// See [`Engine::plan_windows`](crate::Engine::plan_windows).
    pub(crate) async fn plan_windows(&self) -> Result<Vec<RateWindow>, TurnFailure> {
        let config = self.config();
        // The CLI asks for it with a stored login only, and never behind another address.
        let is_stored = || Login::read(&config.claude_home).is_ok_and(|it| it.is_some());
        if !matches!(config.auth, Auth::Login) || config.base_url.is_some() || !is_stored() {
            return Ok(Vec::new());
        }
        let spec = self.probe_session(&config, &Place::Here).await?;
        let member = self.member(&spec.thread);
        let _lane = member.lane.lock().await;
        let driver = self.start_probe(&config, &spec, Purpose::PlanWindows).await?;
        member.keep(&driver, &spec, config, None);
        let windows = driver.plan_windows().await;
        driver.close(false).await;
        windows.ok_or_else(|| broken("it does not say how far its plan is used".to_owned()))
    }

    async fn probe_session(
        &self,
        config: &EngineConfig,
        place: &Place,
    ) -> Result<SessionSpec, TurnFailure> {
        let name = match place {
            Place::Here => PROBE.to_owned(),
            Place::Devbox(name) => format!("{PROBE}-devbox-{name}"),
            Place::Env(name) => format!("{PROBE}-env-{name}"),
        };
        let thread: ThreadId = name.parse().map_err(|it| broken(format!("{it}")))?;
        let id: SessionId =
            Uuid::new_v4().to_string().parse().map_err(|it| broken(format!("{it}")))?;
        let launcher = self.launchers.of(place).map_err(TurnFailure::OutOfReach)?;
        let cwd = launcher.look().own_folder(place, &thread).await.map_err(|err| match err {
            LookError::OutOfReach(err) => TurnFailure::OutOfReach(err),
            other => broken(with_source(&other)),
        })?;
        Ok(SessionSpec {
            thread,
            place: place.clone(),
            id,
            cwd,
            permission_mode: PermissionMode::Ask,
            system_prompt: String::new(),
            tools: Arc::new([]),
            servers: Arc::default(),
            model: config.catalogue.tiers().simple,
            effort: Effort::Low,
            trust: Trust::None,
            skills: None,
            is_attended: false,
        })
    }

    async fn start_probe(
        &self,
        config: &EngineConfig,
        spec: &SessionSpec,
        purpose: Purpose,
    ) -> Result<Driver, TurnFailure> {
        self.launch(config, spec, purpose, None).await.map_err(|it| TurnFailure::from(&it))
    }
}
