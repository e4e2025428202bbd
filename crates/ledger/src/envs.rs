//! `envs.json`, which the operator writes and nobody else.

use tinyclaw_domain::Envs;

use crate::{JsonError, StateDir, load};

/// The environments there are. None, when there is no file.
pub fn read_envs(state: &StateDir) -> Result<Envs, JsonError> {
    Ok(load(&state.envs())?.unwrap_or_default())
}
