//! Who has containers made, started, woken, paused and stopped: one thing at a time for each environment.
//!
//! What there is is asked of Docker each time. Only what no daemon knows is kept here: how many links lead into a container, and
//! since when there is none. A porter that starts counts from its start, so nothing is paused too early.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tinyclaw_devbox::{Helper, HelperError, LoadedHelper};
use tinyclaw_domain::{ContainerEnv, ContainerStatus, EnvName};

use crate::container::{
    self, HELPER_DIR, HELPER_NAME, HOME_DIR, HOME_NAME, Recipe, USER, filler_name, network,
};
use crate::docker::{Docker, DockerError, Found};
use crate::envs::{EnvsFile, NoEnv};
use crate::tar::{Entry, archive};

/// What a link leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A container that is made, started or woken for it.
    Started,
    /// One that runs, or is paused: what ran in one that was stopped is gone.
    Running,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    NoEnv(#[from] NoEnv),
    #[error(transparent)]
    Docker(#[from] DockerError),
    #[error(
        "the image {image} of environment {env} is not on this machine: docker pull or build it"
    )]
    NoImage { env: EnvName, image: String },
    #[error(transparent)]
    Helper(#[from] HelperError),
    #[error(
        "the helper {0} needs libraries that an image may not have: set TINYCLAW_PORTER_HELPER to what scripts/helper.sh builds"
    )]
    NotStatic(String),
    #[error("the container of environment {0} was stopped, and all that ran in it with it")]
    Stopped(EnvName),
    #[error("{name} is not a container of ours, although it has its name; rename or remove it")]
    Taken { name: String },
}

/// Everything that is kept of one environment.
#[derive(Debug, Default)]
struct Seat {
    /// Held while something is done about its container.
    turn: tokio::sync::Mutex<()>,
    use_of_it: Mutex<Use>,
}

#[derive(Debug)]
struct Use {
    links: usize,
    last: Instant,
}

impl Default for Use {
    fn default() -> Use {
        Use { links: 0, last: Instant::now() }
    }
}

impl Seat {
    fn of_it<T>(&self, change: impl FnOnce(&mut Use) -> T) -> T {
        change(&mut self.use_of_it.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long it rests. `None`: it does not.
    fn rests(&self) -> Option<Duration> {
        self.of_it(|it| (it.links == 0).then(|| it.last.elapsed()))
    }
}

/// A link into a container: while there is one it does not rest.
#[derive(Debug)]
pub(crate) struct InUse(Arc<Seat>);

impl InUse {
    fn of(seat: &Arc<Seat>) -> InUse {
        seat.of_it(|it| it.links += 1);
        InUse(seat.clone())
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.of_it(|it| {
            it.links -= 1;
            it.last = Instant::now();
        });
    }
}

/// The keeper of all containers of ours.
#[derive(Debug)]
pub(crate) struct Keeper {
    docker: Docker,
    envs: EnvsFile,
    helper: Helper,
    seats: Mutex<HashMap<EnvName, Arc<Seat>>>,
}

impl Keeper {
    pub(crate) fn new(docker: Docker, envs: EnvsFile, helper: Helper) -> Keeper {
        Keeper { docker, envs, helper, seats: Mutex::default() }
    }

    fn seat(&self, env: &EnvName) -> Arc<Seat> {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.entry(env.clone()).or_default().clone()
    }

    /// How it is now.
    pub(crate) async fn status(&self, name: &EnvName) -> Result<ContainerStatus, Trouble> {
        self.envs.container(name).await?;
        let found = self.find(name).await?;
        Ok(self.told(name, found.as_ref()))
    }

    /// Sees to it that it runs.
    pub(crate) async fn start(&self, name: &EnvName) -> Result<ContainerStatus, Trouble> {
        let seat = self.seat(name);
        let _turn = seat.turn.lock().await;
        self.ensure(name, &seat).await?;
        // Who starts it means to use it.
        seat.of_it(|it| it.last = Instant::now());
        let found = self.find(name).await?;
        Ok(self.told(name, found.as_ref()))
    }

    /// Ends all that runs in it.
    pub(crate) async fn stop(&self, name: &EnvName) -> Result<ContainerStatus, Trouble> {
        self.envs.container(name).await?;
        let seat = self.seat(name);
        let _turn = seat.turn.lock().await;
        if let Some(found) = self.find(name).await? {
            self.end(&found).await?;
        }
        let found = self.find(name).await?;
        Ok(self.told(name, found.as_ref()))
    }

    /// A new hub in it. Nothing pauses it as long as the second part lives.
    pub(crate) async fn link(
        &self,
        name: &EnvName,
        wanted: Wanted,
    ) -> Result<(TokioIo<Upgraded>, InUse), Trouble> {
        let seat = self.seat(name);
        let _turn = seat.turn.lock().await;
        let in_use = InUse::of(&seat);
        let id = match wanted {
            Wanted::Started => self.ensure(name, &seat).await?,
            Wanted::Running => self.running(name).await?,
        };
        Ok((self.docker.exec(&id, &container::hub_body()).await?, in_use))
    }

    /// Pauses and stops what has rested for long enough, and removes what is in no `envs.json` any more. Nothing else of it
    /// is removed: volumes hold people's work.
    pub(crate) async fn look_after(&self) -> Result<(), Trouble> {
        let envs = self.envs.all().await?;
        for found in self.docker.containers(None).await? {
            let Ok(name) = found.env.parse::<EnvName>() else { continue };
            if found.name != container::name(&name) {
                continue;
            }
            let seat = self.seat(&name);
            // Something is being done about it: then it does not rest.
            let Ok(_turn) = seat.turn.try_lock() else { continue };
            let done = match (envs.get(&name), seat.rests()) {
                (Some(tinyclaw_domain::Env::Container(env)), Some(rests)) => {
                    self.rest(&found, env, rests).await
                }
                (Some(tinyclaw_domain::Env::Container(_)), None) => Ok(()),
                _ => {
                    tracing::info!("{} is removed: envs.json has no container {name}", found.name);
                    self.docker.remove(&found.id).await
                }
            };
            if let Err(err) = done {
                tracing::warn!("{}: {err}", found.name);
            }
        }
        Ok(())
    }

    async fn rest(
        &self,
        found: &Found,
        env: &ContainerEnv,
        rests: Duration,
    ) -> Result<(), DockerError> {
        if found.is_running && rests >= env.stop_after.time() {
            tracing::info!(
                "{} is stopped: nobody has used it for {} s",
                found.name,
                rests.as_secs()
            );
            return self.end(found).await;
        }
        if found.is_running && !found.is_paused && rests >= env.pause_after.time() {
            tracing::info!(
                "{} is paused: nobody has used it for {} s",
                found.name,
                rests.as_secs()
            );
            return self.docker.pause(&found.id).await;
        }
        Ok(())
    }

    async fn end(&self, found: &Found) -> Result<(), DockerError> {
        if found.is_paused {
            // What is paused hears no signal.
            self.docker.unpause(&found.id).await?;
        }
        if found.is_running {
            self.docker.stop(&found.id).await?;
        }
        Ok(())
    }

    fn told(&self, env: &EnvName, found: Option<&Found>) -> ContainerStatus {
        ContainerStatus {
            env: env.clone(),
            name: container::name(env),
            exists: found.is_some(),
            running: found.is_some_and(|it| it.is_running),
            paused: found.is_some_and(|it| it.is_paused),
            links: self.seat(env).of_it(|it| it.links),
        }
    }

    /// The environment's container, by its label and its exact name.
    async fn find(&self, env: &EnvName) -> Result<Option<Found>, DockerError> {
        let all = self.docker.containers(Some(env.as_str())).await?;
        Ok(all.into_iter().find(|it| it.name == container::name(env)))
    }

    /// The container that runs, woken if it was paused; its id. To be called with the environment's turn.
    async fn running(&self, name: &EnvName) -> Result<String, Trouble> {
        self.envs.container(name).await?;
        let found = self.find(name).await?.filter(|it| it.is_running);
        let found = found.ok_or_else(|| Trouble::Stopped(name.clone()))?;
        if found.is_paused {
            self.docker.unpause(&found.id).await?;
        }
        Ok(found.id)
    }

    /// Has the container run, as `envs.json` has it; its id. To be called with the environment's turn.
    async fn ensure(&self, name: &EnvName, seat: &Arc<Seat>) -> Result<String, Trouble> {
        let env = self.envs.container(name).await?;
        let helper = self.helper.load().await?;
        if !helper.is_static() {
            return Err(Trouble::NotStatic(self.helper.path().display().to_string()));
        }
        let image = self.docker.image(env.image.as_str()).await?;
        let found = self.find(name).await?;
        let Some(image_id) = image else {
            let image = env.image.as_str().to_owned();
            return Err(Trouble::NoImage { env: name.clone(), image });
        };
        let recipe = Recipe { name, env: &env, image_id: &image_id, helper: &helper.id };
        let found = match found {
            // Another link may work in one that was made of something else; it is made anew when it has rested.
            Some(it) if it.made_of == recipe.made_of() || seat.of_it(|it| it.links > 1) => it,
            Some(old) => {
                tracing::info!("{} is made anew", old.name);
                self.docker.remove(&old.id).await?;
                return self.make(&recipe, helper).await;
            }
            None => return self.make(&recipe, helper).await,
        };
        if found.is_paused {
            self.docker.unpause(&found.id).await?;
        } else if !found.is_running {
            self.docker.start(&found.id).await?;
        }
        Ok(found.id)
    }

    async fn make(&self, recipe: &Recipe<'_>, helper: &LoadedHelper) -> Result<String, Trouble> {
        let begun = Instant::now();
        let (name, egress) = (recipe.name, recipe.env.egress);
        self.docker.network(&network(name, egress), &container::network_body(name, egress)).await?;
        self.fill(recipe, helper).await?;
        let made = self.docker.create(&container::name(name), &recipe.body()).await;
        let id = made.map_err(|err| match err {
            DockerError::Refused { status: 409, .. } => {
                Trouble::Taken { name: container::name(name) }
            }
            other => other.into(),
        })?;
        self.docker.start(&id).await?;
        let ms = begun.elapsed().as_millis();
        tracing::info!(env = %name, ms, "{} is made and runs", container::name(name));
        Ok(id)
    }

    /// Puts the helper into its volume, and gives the other two to who works there.
    async fn fill(&self, recipe: &Recipe<'_>, helper: &LoadedHelper) -> Result<(), Trouble> {
        let filler = filler_name(recipe.name);
        // One that a porter left when it was killed.
        let left = self.docker.containers(Some(recipe.name.as_str())).await?;
        for it in left.iter().filter(|it| it.name == filler) {
            self.docker.remove(&it.id).await?;
        }
        let id = self.docker.create(&filler, &recipe.filler_body()).await?;
        let work = recipe.env.cwd.path();
        let (above, work) = (work.parent(), work.file_name());
        let above = above.unwrap_or_else(|| Path::new("/")).display().to_string();
        let work = work.unwrap_or_default().to_string_lossy();
        let filled = async {
            let bytes = Entry::File(&helper.bytes);
            self.docker.put(&id, HELPER_DIR, archive(HELPER_NAME, 0o755, 0, bytes)).await?;
            let home = archive(HOME_NAME, 0o700, USER, Entry::Folder);
            self.docker.put(&id, HOME_DIR, home).await?;
            self.docker.put(&id, &above, archive(&work, 0o755, USER, Entry::Folder)).await
        };
        let filled = filled.await;
        self.docker.remove(&id).await?;
        Ok(filled?)
    }
}
