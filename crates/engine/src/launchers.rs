//! Who starts Claude where: one launcher for this machine, one for all devboxes, one for all environments.

use std::sync::Arc;

use tinyclaw_domain::Place;

use crate::launch::Launcher;
use crate::look::OutOfReach;

/// A launcher for each kind of place. A place of a kind without one is out of reach.
#[derive(Debug, Clone)]
pub struct Launchers {
    here: Arc<dyn Launcher>,
    devboxes: Option<Arc<dyn Launcher>>,
    envs: Option<Arc<dyn Launcher>>,
}

impl Launchers {
    /// Of this machine alone.
    pub fn here(launcher: Arc<dyn Launcher>) -> Launchers {
        Launchers { here: launcher, devboxes: None, envs: None }
    }

    /// And of devboxes.
    pub fn with_devboxes(self, launcher: Arc<dyn Launcher>) -> Launchers {
        Launchers { devboxes: Some(launcher), ..self }
    }

    /// And of environments.
    pub fn with_envs(self, launcher: Arc<dyn Launcher>) -> Launchers {
        Launchers { envs: Some(launcher), ..self }
    }

    pub(crate) fn devboxes(&self) -> Option<Arc<dyn Launcher>> {
        self.devboxes.clone()
    }

    pub(crate) fn of(&self, place: &Place) -> Result<&Arc<dyn Launcher>, OutOfReach> {
        let (launcher, kind) = match place {
            Place::Here => return Ok(&self.here),
            Place::Devbox(_) => (&self.devboxes, "devboxes"),
            Place::Env(_) => (&self.envs, "environments"),
        };
        let none = || OutOfReach {
            place: place.clone(),
            why: format!("this version of TinyClaw reaches no {kind}"),
            is_held: false,
        };
        launcher.as_ref().ok_or_else(none)
    }
}
