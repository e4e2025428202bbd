//! What quality costs: each task of a folder is asked of each tier's model, in an office made for it, and its test says
//! whether it was done. From that come the points of always the same model, of this router's choice, and of somebody who knows
//! before which model is enough. It spends real money, except with the demo engine, which shows the mechanics and nothing else.

mod task;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::json;
use tinyclaw_client::Ending;
use tinyclaw_domain::{CacheTtl, DeskKind, Key, Model, ThreadId};
use tinyclaw_engine::{Confined, Engine, EngineConfig};
use tinyclaw_ledger::{StateDir, health};
use tinyclaw_router::{Input, Router, Tokens};
use tinyclaw_service::now_ms;

use self::task::Task;
use crate::client;
use crate::demo::{Services, own};
use crate::place;
use crate::verbs::sibling;

/// The reference solution, where the demo engine finds it.
const SOLUTION: &str = ".solution.sh";
/// A processor that has not come up by now will not.
const UP: Duration = Duration::from_secs(30);
/// A turn may take so long.
const TURN: Duration = Duration::from_secs(30 * 60);
/// A test may take so long.
const TEST: Duration = Duration::from_secs(120);
/// What the demo engine charges for a task, at list prices: so many tokens.
const DEMO: Tokens = Tokens { plain: 20_000, read: 0, written: 0, output: 600 };

/// What became of a task with one model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tried {
    done: bool,
    usd: f64,
}

/// A task, what each model made of it, and which one the router would have asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    task: String,
    routed: Model,
    models: BTreeMap<String, Tried>,
}

/// One point of the curve: who chose, how many tasks were done, and for how much.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Point {
    who: String,
    done: usize,
    of: usize,
    usd: f64,
}

/// Runs every task of a folder with every tier's model, and prints what came of it.
pub(crate) fn run(dir: &Path, with_demo: bool, json: bool) -> anyhow::Result<()> {
    let tasks = Task::all(dir)?;
    let router =
        Router::new(place::router_config()?).with_catalogue(place::catalogue(&place::state()?)?);
    let tiers = router.catalogue().tiers();
    let models = [tiers.simple, tiers.medium, tiers.complex];
    let root =
        std::env::temp_dir().join(format!("tinyclaw-tasks-{}", uuid::Uuid::new_v4().simple()));
    let asked = Office::lay_out(&root, tasks, &models, with_demo, &router).and_then(|office| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(office.run())
    });
    // Nothing in it is anybody's: it was made for this.
    let removed = std::fs::remove_dir_all(&root);
    let outcomes = asked?;
    removed.with_context(|| format!("cannot remove {}", root.display()))?;
    let curve = curve(&outcomes, &models);
    let mut out = std::io::stdout().lock();
    match json {
        true => {
            let engine = if with_demo { "demo" } else { "claude" };
            writeln!(out, "{}", json!({ "engine": engine, "tasks": outcomes, "curve": curve }))?;
        }
        false => out.write_all(draw(&curve, &outcomes, &models, with_demo).as_bytes())?,
    }
    Ok(())
}

/// An office that is there for the tasks alone.
struct Office {
    root: PathBuf,
    state: StateDir,
    with_demo: bool,
    asked: Vec<Asked>,
}

/// A task at one desk, asked of one model.
struct Asked {
    task: Task,
    model: Model,
    routed: Model,
    thread: ThreadId,
    /// What the demo engine charges.
    demo_usd: f64,
}

impl Office {
    /// Makes the office and a repository for each task and model. Nobody works in it yet.
    fn lay_out(
        root: &Path,
        tasks: Vec<Task>,
        models: &[Model],
        with_demo: bool,
        router: &Router,
    ) -> anyhow::Result<Office> {
        let state = StateDir::new(root.join("state"));
        tinyclaw_ledger::create_folders(&state).context("cannot make the office")?;
        let mut asked: Vec<Asked> = Vec::new();
        for task in tasks {
            let input = Input { desk: Some(DeskKind::Repo), ..Input::new(&task.request) };
            let routed = router.decide(&input).model;
            for model in models {
                let thread = ThreadId::topic(asked.len() as u32 + 2);
                let demo_usd = router.prices().cost(*model, DEMO, CacheTtl::FiveMinutes);
                asked.push(Asked { task: task.clone(), model: *model, routed, thread, demo_usd });
            }
        }
        let office = Office { root: root.to_owned(), state, with_demo, asked };
        let mut threads = serde_json::Map::new();
        for asked in &office.asked {
            let repo = office.repo(asked);
            asked.task.lay_out(&repo)?;
            if with_demo {
                // The demo engine has no wits of its own: it finds the solution, and follows it when it plays the model that
                // is enough by the guess of whoever wrote the task.
                put(&repo.join(SOLUTION), &asked.task.solution)?;
            } else {
                commit(&repo)?;
            }
            let thread = json!({
                "name": asked.task.name, "cwd": repo, "permissionMode": "bypass", "status": "idle", "lastActive": 0,
            });
            threads.insert(asked.thread.to_string(), thread);
        }
        put(&office.state.threads(), &serde_json::Value::Object(threads).to_string())?;
        // Always the same model is the question, so no turn is raised to another.
        put(&office.state.settings(), &json!({ "engine": { "escalate": false } }).to_string())?;
        Ok(office)
    }

    fn repo(&self, asked: &Asked) -> PathBuf {
        self.root.join("state-work").join(format!("{}-{}", asked.task.name, asked.model))
    }

    /// Asks everything, and judges it once nobody works there any more.
    async fn run(self) -> anyhow::Result<Vec<Outcome>> {
        let own = own(self.state.root(), !self.with_demo)?;
        let mut services = Services::new(&self.state, own, !self.with_demo);
        let answered = async {
            services.start("processor", &sibling("tinyclaw-processor")?)?;
            self.up(&mut services).await?;
            self.ask().await
        };
        let answered = answered.await;
        services.stop().await;
        let spent = answered?;
        let judge = Engine::new(EngineConfig::new(
            "sh",
            sibling("tinyclaw-leash")?,
            self.state.root(),
            self.root.join("judge"),
        ));
        let mut outcomes: Vec<Outcome> = Vec::new();
        for (asked, usd) in self.asked.iter().zip(spent) {
            let result = Tried { done: self.is_done(&judge, asked).await?, usd };
            match outcomes.last_mut().filter(|it| it.task == asked.task.name) {
                Some(outcome) => {
                    outcome.models.insert(asked.model.to_string(), result);
                }
                None => outcomes.push(Outcome {
                    task: asked.task.name.clone(),
                    routed: asked.routed,
                    models: BTreeMap::from([(asked.model.to_string(), result)]),
                }),
            }
        }
        Ok(outcomes)
    }

    /// Waits until the processor is there to answer.
    async fn up(&self, services: &mut Services) -> anyhow::Result<()> {
        let is_ready = async {
            loop {
                services.check()?;
                let seen = health::read(&self.state, "processor", now_ms()).ok().flatten();
                if seen.is_some_and(|it| it.health.ready) {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(UP, is_ready).await;
        waited.unwrap_or_else(|_| bail!("the processor did not come up within {} s", UP.as_secs()))
    }

    /// What each of them cost, in their order.
    async fn ask(&self) -> anyhow::Result<Vec<f64>> {
        let client = client::open(&self.state)?;
        let mut keys: Vec<Key> = Vec::new();
        for asked in &self.asked {
            let mut text = client::hinted(Some(asked.model), &asked.task.request);
            if self.with_demo {
                let (least, usd) = (&asked.task.model, asked.demo_usd);
                let _ = write!(text, " [demo: cost {usd}] [demo: work {least} {SOLUTION}]");
            }
            keys.push(client::send(&client, client::message(&asked.thread, &text))?);
        }
        let mut spent = Vec::new();
        for (asked, key) in self.asked.iter().zip(keys) {
            let ending = tokio::time::timeout(TURN, client.wait(&key)).await;
            let who = format!("{} with {}", asked.task.name, asked.model);
            let ending = ending
                .with_context(|| format!("{who} was not answered within {} s", TURN.as_secs()))??;
            spent.push(match ending {
                Ending::Answered(message) => message.reply.map_or(0.0, |it| it.cost_usd),
                Ending::GivenUp(why) => bail!("{who} was given up: {why}"),
            });
            writeln!(std::io::stderr(), "{:>4} of {}  {who}", spent.len(), self.asked.len())?;
        }
        Ok(spent)
    }

    /// Runs the test in the repository that an agent has worked in, and so reaches no further than the agent did.
    async fn is_done(&self, judge: &Engine, asked: &Asked) -> anyhow::Result<bool> {
        let script = self.root.join("tests").join(format!("{}.sh", asked.task.name));
        put(&script, &asked.task.test)?;
        let order = Confined {
            thread: asked.thread.clone(),
            cwd: self.repo(asked),
            program: "sh".into(),
            args: vec![script.display().to_string()],
            readable: vec![script],
            input: None,
            time: TEST,
        };
        match judge.run_confined(order).await {
            Ok(said) => Ok(said.is_success()),
            Err(tinyclaw_engine::ConfinedError::Late { .. }) => Ok(false),
            Err(err) => {
                Err(err).with_context(|| format!("cannot run the test of {}", asked.task.name))
            }
        }
    }
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot make {}", parent.display()))?;
    }
    Ok(tinyclaw_disk::replace(path, text.as_bytes(), tinyclaw_disk::Flush::None)?)
}

/// Makes a git repository of the files. Nobody has worked in them yet.
fn commit(repo: &Path) -> anyhow::Result<()> {
    let who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
    for args in
        [&["init", "--quiet"][..], &["add", "--all"], &["commit", "--quiet", "--message=start"]]
    {
        #[expect(
            clippy::disallowed_methods,
            reason = "git makes a repository of files of ours, before any agent is there"
        )]
        let mut git = std::process::Command::new("git");
        git.current_dir(repo).args(who).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null");
        let done = git.output().context("cannot run git")?;
        if !done.status.success() {
            bail!("git {} failed: {}", args[0], String::from_utf8_lossy(&done.stderr).trim());
        }
    }
    Ok(())
}

/// The points of the curve, cheapest model first, then the router, then who knows before.
fn curve(outcomes: &[Outcome], models: &[Model]) -> Vec<Point> {
    let point = |who: String, of: &dyn Fn(&Outcome) -> Tried| {
        let results: Vec<Tried> = outcomes.iter().map(of).collect();
        Point {
            who,
            done: results.iter().filter(|it| it.done).count(),
            of: results.len(),
            usd: results.iter().map(|it| it.usd).sum(),
        }
    };
    let with = |outcome: &Outcome, model: &Model| {
        outcome.models.get(model.as_str()).copied().unwrap_or_default()
    };
    let mut curve: Vec<Point> = models
        .iter()
        .map(|model| point(format!("always {model}"), &|it| with(it, model)))
        .collect();
    curve.push(point("this router".to_owned(), &|it| with(it, &it.routed)));
    curve.push(point("oracle".to_owned(), &|it| {
        let cheapest = |only_done: bool| {
            let results = it.models.values().filter(move |it| it.done || !only_done);
            results.copied().min_by(|a, b| a.usd.total_cmp(&b.usd))
        };
        // What nobody does is not done more cheaply than by the cheapest.
        cheapest(true).or_else(|| cheapest(false)).unwrap_or_default()
    }));
    curve
}

fn draw(curve: &[Point], outcomes: &[Outcome], models: &[Model], with_demo: bool) -> String {
    let mut out = format!("{:<28}", "");
    for model in models {
        let _ = write!(out, "{:>10}", model.to_string());
    }
    let _ = writeln!(out, "{:>12}", "routed to");
    for it in outcomes {
        let _ = write!(out, "{:<28}", it.task);
        for model in models {
            let done = it.models.get(model.as_str()).is_some_and(|it| it.done);
            let _ = write!(out, "{:>10}", if done { "done" } else { "–" });
        }
        let _ = writeln!(out, "{:>12}", it.routed.to_string());
    }
    let _ = writeln!(out, "\n{:<28}{:>10}{:>10}{:>16}", "", "done", "dollars", "dollars a task");
    for it in curve {
        let each = it.usd / it.done.max(1) as f64;
        let done = format!("{}/{}", it.done, it.of);
        let _ = writeln!(out, "{:<28}{done:>10}{:>10.2}{each:>16.3}", it.who, it.usd);
    }
    if with_demo {
        let _ = writeln!(
            out,
            "\nThe demo engine played the models: it follows the reference solution when it plays one that is strong enough by the guess \
             in the task, and charges list prices for {} tokens. This says that the runner works, and nothing about a model.",
            DEMO.plain + DEMO.output
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oracle_takes_the_cheapest_model_that_does_it() {
        let outcome = |routed: Model, done: [bool; 3]| Outcome {
            task: "x".to_owned(),
            routed,
            models: [Model::HAIKU, Model::SONNET, Model::OPUS]
                .into_iter()
                .zip(done.into_iter().zip([1.0, 2.0, 4.0]))
                .map(|(model, (done, usd))| (model.to_string(), Tried { done, usd }))
                .collect(),
        };
        let outcomes = [
            outcome(Model::HAIKU, [true, true, true]),
            outcome(Model::HAIKU, [false, true, true]),
            outcome(Model::OPUS, [false, false, true]),
            outcome(Model::SONNET, [false, false, false]),
        ];
        let curve = curve(&outcomes, &[Model::HAIKU, Model::SONNET, Model::OPUS]);
        let points: Vec<_> = curve.iter().map(|it| (it.who.as_str(), it.done, it.usd)).collect();
        assert_eq!(
            points,
            [
                ("always haiku", 1, 4.0),
                ("always sonnet", 2, 8.0),
                ("always opus", 3, 16.0),
                ("this router", 2, 8.0),
                ("oracle", 3, 8.0),
            ]
        );
    }
}
