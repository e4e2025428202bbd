//! `envs.json` as it stands at this moment: it is read anew for each request, for it is small and the operator's to change.

use std::path::{Path, PathBuf};

use tinyclaw_domain::{ContainerEnv, Env, EnvName, Envs};

/// A file of environments is smaller than this.
const BYTES_MAX: u64 = 1024 * 1024;

/// The operator's file.
#[derive(Debug, Clone)]
pub(crate) struct EnvsFile(PathBuf);

/// An environment of which no container can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoEnv {
    #[error("environment {0} is not in envs.json")]
    Unknown(EnvName),
    #[error("environment {0} is no container: its isolation in envs.json is none")]
    NoContainer(EnvName),
    #[error("{} cannot be read: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
}

impl EnvsFile {
    pub(crate) fn new(path: &Path) -> EnvsFile {
        EnvsFile(path.to_owned())
    }

    /// Every environment in it.
    pub(crate) async fn all(&self) -> Result<Envs, NoEnv> {
        let unreadable = |why: String| NoEnv::Unreadable { path: self.0.clone(), why };
        let about =
            tokio::fs::metadata(&self.0).await.map_err(|err| unreadable(err.to_string()))?;
        if !about.is_file() || about.len() > BYTES_MAX {
            return Err(unreadable("it is no small file".to_owned()));
        }
        let text = tokio::fs::read(&self.0).await.map_err(|err| unreadable(err.to_string()))?;
        serde_json::from_slice(&text).map_err(|err| unreadable(err.to_string()))
    }

    /// One that is a container.
    pub(crate) async fn container(&self, name: &EnvName) -> Result<ContainerEnv, NoEnv> {
        match self.all().await?.remove(name) {
            Some(Env::Container(it)) => Ok(it),
            Some(Env::None(_)) => Err(NoEnv::NoContainer(name.clone())),
            None => Err(NoEnv::Unknown(name.clone())),
        }
    }
}
