//! The processor told in order: prepare, settle the desks, work, leave. Owns what lives as long as the service.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tinyclaw_domain::{Place, StateDir};
use tinyclaw_engine::{Engine, Users};
use tinyclaw_ledger::Progresses;
use tinyclaw_memory::Memory;
use tinyclaw_queue::{LookError, Options, Place as Folder, Queue};
use tinyclaw_service::settings::{Settings, Store};
use tinyclaw_service::{Shutdown, Vitals};

use crate::availability::budget::Budgets;
use crate::availability::notices::Notices;
use crate::availability::pause::Availability;
use crate::availability::plan::Plan;
use crate::blocking::on_disk;
use crate::commands::Commands;
use crate::config::{conceal_secrets, engine, envs};
use crate::desks::sessions::Sessions;
use crate::desks::{Desks, settle, users};
use crate::devboxes::Fleet;
use crate::history::History;
use crate::schedule::clock::Clock;
use crate::tools::Tools;
use crate::tools::servers::Servers;
use crate::tools::skills::Skills;
use crate::work::control::Control;
use crate::work::routing::Routing;
use crate::work::slots::Slots;
use crate::work::turns::Turns;
use crate::work::worker::Worker;
use crate::work::{Prompts, background, claims};

/// After a start that did not work, until it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);
const DAY_S: u64 = 86_400;

/// What a processor stands on.
#[derive(Clone)]
pub struct Ground {
    /// The state folder.
    pub state: StateDir,
    /// The settings, followed while it works.
    pub settings: Store<Settings>,
    /// How it is.
    pub vitals: Vitals,
    /// When it is to end.
    pub shutdown: Shutdown,
    /// Where messages come from and go to.
    pub queue: Queue,
    /// Who answers them.
    pub engine: Engine,
    /// The remote machines that the engine reaches.
    pub fleet: Arc<Fleet>,
}

impl Ground {
    /// The queue of this state folder, and an engine by the settings. Needs a Tokio runtime; starts no Claude yet.
    fn open(
        state: StateDir,
        settings: Store<Settings>,
        vitals: Vitals,
        shutdown: Shutdown,
        users: Option<&Users>,
    ) -> anyhow::Result<Ground> {
        let current = settings.current();
        conceal_secrets(&current);
        let fleet = Fleet::new(state.clone(), settings.clone(), vitals.clone());
        let engine = engine(&state, &current, users, &fleet, Some(envs(&state, &current)))?;
        let options = Options {
            done_days: (current.retention.done.as_secs() / DAY_S).clamp(1, 3_650) as u32,
            allow_network_disk: current.office.allow_network_disk,
            ..Options::default()
        };
        let queue = Queue::open(state.root(), options).context("cannot open the queue")?;
        Ok(Ground { engine, state, settings, vitals, shutdown, queue, fleet })
    }
}

/// Works on a state folder until the shutdown, with desks that are users of their own if there can be any. While that is not possible it stays unready with the reason: a restart
/// loop helps nobody.
pub async fn run(
    state: StateDir,
    settings: Store<Settings>,
    vitals: Vitals,
    shutdown: Shutdown,
    users: Option<Users>,
) -> anyhow::Result<()> {
    let mut told = String::new();
    loop {
        let (vital, end) = (vitals.clone(), shutdown.clone());
        let wanted = users.as_ref().filter(|_| settings.current().engine.users);
        let service = Ground::open(state.clone(), settings.clone(), vital, end, wanted)
            .and_then(Service::open);
        match service {
            Ok(service) => {
                vitals.unblock("prepare");
                if let Some(users) = users.filter(|_| !settings.current().engine.users) {
                    let desks = &service.worker.desks;
                    let (now, fleet) = (settings.current(), &service.ground.fleet);
                    // No desk of an environment is brought anywhere.
                    match engine(&state, &now, Some(&users), fleet, None) {
                        Ok(as_users) => users::bring_out(desks, &as_users).await,
                        Err(err) => tracing::error!("no desk is brought back: {err:#}"),
                    }
                }
                return service.run().await;
            }
            Err(err) => {
                let why = format!("{err:#}");
                if why != told {
                    tracing::error!("cannot begin: {why}");
                    vitals.block("prepare", why.clone());
                    told = why;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(TRY_AGAIN) => settings.refresh(),
            () = shutdown.begun() => return Ok(()),
        };
    }
}

/// Works on this ground until the shutdown. Needs a Tokio runtime with several threads.
pub async fn serve(ground: Ground) -> anyhow::Result<()> {
    Service::open(ground)?.run().await
}

/// One processor, ready to work.
struct Service {
    ground: Ground,
    worker: Arc<Worker>,
    clock: Clock,
}

impl Service {
    /// Puts together who owns what. Each type says in its own file which lock it holds.
    fn open(ground: Ground) -> anyhow::Result<Service> {
        let Ground { state, settings, vitals, shutdown: _, queue, engine, fleet: _ } =
            ground.clone();
        let current = settings.current();
        for dir in [current.office.default_cwd(), &current.office.workspace, &state.mirrors()] {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let desks = Desks::open(state.clone(), settings.clone(), vitals.clone(), engine.clone())?;
        let desks = Arc::new(desks);
        ground.fleet.follow(&desks);
        let progresses = Progresses::new(&state);
        let trouble = progresses.sweep().err();
        vitals.concern("progress", trouble.map(|err| format!("progress/ cannot be swept: {err}.")));
        let memory = Memory::new(state.memory());
        let notices =
            Arc::new(Notices::new(settings.clone(), vitals.clone(), queue.clone(), desks.clone()));
        let availability = Arc::new(Availability::new(
            settings.clone(),
            vitals.clone(),
            notices.clone(),
            engine.clone(),
        ));
        let budgets = Arc::new(Budgets::open(
            state.clone(),
            settings.clone(),
            vitals.clone(),
            desks.clone(),
            notices.clone(),
        ));
        let plan = Plan::open(state.clone(), settings.clone(), vitals.clone(), notices.clone());
        let plan = Arc::new(plan);
        let history = Arc::new(History::open(
            state.clone(),
            settings.clone(),
            memory.clone(),
            notices.clone(),
            budgets.clone(),
        ));
        let routing = Arc::new(Routing::open(
            state.clone(),
            settings.clone(),
            vitals.clone(),
            desks.clone(),
            history.clone(),
        ));
        let sessions = Arc::new(Sessions::new(queue.clone(), memory.clone()));
        let turns = Arc::new(Turns::new(desks.clone()));
        let slots = Arc::new(Slots::new());
        let skills = Arc::new(Skills::new(state.clone(), engine.users().as_ref().map(Users::all)));
        let servers = Arc::new(Servers::new(state.clone(), settings.clone()));
        let clock = Clock {
            state: state.clone(),
            settings: settings.clone(),
            vitals: vitals.clone(),
            queue: queue.clone(),
            engine: engine.clone(),
            memory: memory.clone(),
            desks: desks.clone(),
            notices: notices.clone(),
            availability: availability.clone(),
            budgets: budgets.clone(),
            plan: plan.clone(),
            history: history.clone(),
            routing: routing.clone(),
            slots: slots.clone(),
        };
        let worker = Worker {
            commands: Commands {
                settings: settings.clone(),
                queue: queue.clone(),
                engine: engine.clone(),
                desks: desks.clone(),
                sessions: sessions.clone(),
                availability: availability.clone(),
                budgets: budgets.clone(),
                servers: servers.clone(),
                skills: skills.clone(),
                #[cfg(feature = "devboxes")]
                fleet: ground.fleet.clone(),
            },
            servers,
            skills,
            tools: Tools {
                state: state.clone(),
                settings: settings.clone(),
                memory: memory.clone(),
                engine: engine.clone(),
                desks: desks.clone(),
                notices: notices.clone(),
                fleet: ground.fleet.clone(),
            },
            prompts: Prompts {
                state: state.clone(),
                settings: settings.clone(),
                memory: memory.clone(),
                desks: desks.clone(),
                engine: engine.clone(),
            },
            control: Arc::new(Control {
                queue: queue.clone(),
                turns: turns.clone(),
                history: history.clone(),
            }),
            state,
            settings,
            vitals,
            queue,
            engine,
            memory,
            desks,
            sessions,
            notices,
            availability,
            budgets,
            plan,
            history,
            routing,
            turns,
            slots,
            progresses,
        };
        Ok(Service { ground, worker: Arc::new(worker), clock })
    }

    /// Works until the shutdown, and leaves nothing half done: what has no answer yet is put back with its checkpoint,
    /// and Claude's processes are ended.
    async fn run(self) -> anyhow::Result<()> {
        let Service { ground, worker, clock } = self;
        worker.availability.note_confinement(&Place::Here).await;
        end_what_nobody_waits_for(&ground).await;
        settle::settle(&worker.desks).await;
        let later = worker.clone();
        let background = tokio::spawn(async move { background::run(&later).await });
        let clock = tokio::spawn(clock.run());
        let orders = worker.control.clone();
        let control = tokio::spawn(async move { orders.run().await });
        worker.notices.back_again(&worker.engine);
        ground.vitals.started();
        tracing::info!(state = %ground.state.root().display(), "processor is up");
        claims::run(&worker, &ground.shutdown).await;
        control.abort();
        clock.abort();
        background.abort();
        ground.engine.close().await;
        on_disk(|| {
            tinyclaw_ledger::health::write(&ground.state, "processor", &ground.vitals.snapshot())
        })
        .context("cannot write how the processor is")?;
        Ok(())
    }
}

/// Of the Claudes that a processor before this one left, those stay that have a turn of a message without an answer.
async fn end_what_nobody_waits_for(ground: &Ground) {
    let unanswered = || -> Result<Vec<String>, LookError> {
        let view = ground.queue.view();
        let mut turns = Vec::new();
        for folder in [Folder::Processing, Folder::Incoming] {
            let messages = view.read_all(folder, None, usize::MAX)?;
            let unanswered = messages.into_iter().filter(|it| it.1.reply.is_none());
            turns.extend(unanswered.filter_map(|it| Some(it.1.checkpoint?.turn_uuid)));
        }
        Ok(turns)
    };
    match on_disk(unanswered) {
        Ok(turns) => ground.engine.end_all_but(&turns).await,
        Err(err) => {
            tracing::warn!("what an earlier processor left is not ended before its time: {err}");
        }
    }
}
