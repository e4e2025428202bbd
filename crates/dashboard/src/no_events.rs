//! In place of the events that the gateway keeps, in a dashboard that was built without SQLite: says so, and how to see
//! them.

use std::ops::Range;
use std::path::Path;

use axum::http::StatusCode;
use serde::Serialize;
use serde::de::IgnoredAny;

use crate::answer::Refused;

/// Which events are asked for.
pub(crate) type Wanted = IgnoredAny;

/// A hook event of a turn. There is none.
#[derive(Debug, Clone, Serialize)]
pub(crate) enum Hook {}

/// Says why there are none.
pub(crate) fn events(_path: &Path, _wanted: &Wanted) -> Result<String, Refused> {
    let why = "this demo has no gateway, which keeps events; ./tinyclaw.sh demo --web in another terminal gives it \
        one, and this view comes alive";
    Err(Refused::new(StatusCode::NOT_IMPLEMENTED, why))
}

/// None.
pub(crate) fn hooks(
    _path: &Path,
    _tools: &[String],
    _session: Option<String>,
    _meanwhile: Range<u64>,
) -> Vec<Hook> {
    Vec::new()
}
