//! The devboxes: whether there may be any, whether the office's key to them is kept well, and how each was found last. Nobody is
//! dialled for it: `/devbox doctor NAME` does that.

use tinyclaw_devbox::KeyFile;
use tinyclaw_domain::{DevboxStatus, DevboxView, DevboxViews};
use tinyclaw_ledger::load;
use tinyclaw_service::settings::Settings;

use super::{Finding, Patient};
use crate::terminal::one_line;

const DEVBOXES: &str = "devboxes";

/// A line for the key, and a line for each devbox.
pub(super) fn look(patient: &Patient, settings: &Settings) -> Vec<Finding> {
    let path = patient.state.devbox_views();
    let known = match load::<DevboxViews>(&path) {
        Ok(known) => known.unwrap_or_default().devboxes,
        Err(err) => {
            let why = format!("{} cannot be read: {err}", path.display());
            let way_out = "it is written anew when the processor changes something of a devbox";
            return vec![Finding::warning(DEVBOXES, why, way_out)];
        }
    };
    if !settings.devbox.enabled {
        if known.is_empty() {
            return Vec::new();
        }
        let names: Vec<&str> = known.iter().map(|it| it.name.as_str()).collect();
        let why = format!("{} known, and devbox.enabled is off", names.join(", "));
        return vec![Finding::warning(DEVBOXES, why, "ENABLE_DEVBOX=true; docs/DEVBOX.md")];
    }
    let needs_key = known.is_empty() || known.iter().any(|it| it.at.contains('@'));
    let key = match &settings.devbox.ssh_key {
        _ if !needs_key => None,
        None => {
            let why = "devbox.sshKey is not set: no devbox is reached";
            let way_out = "ssh-keygen -t ed25519 -N '' -f FILE, and DEVBOX_SSH_KEY_PATH=FILE";
            Some(Finding::broken(DEVBOXES, why, way_out))
        }
        // In another container, or as another user, it is not to be seen from here.
        Some(path) if !patient.is_where_the_bot_is() => {
            Some(Finding::ok(DEVBOXES, format!("the key is {}", path.display())))
        }
        Some(path) => Some(match KeyFile::check(path) {
            Ok(()) => Finding::ok(DEVBOXES, format!("the key {} is kept well", path.display())),
            Err(fault) => {
                Finding::broken(DEVBOXES, fault.to_string(), "docs/DEVBOX.md says how it is kept")
            }
        }),
    };
    key.into_iter().chain(known.iter().map(line)).collect()
}

fn line(it: &DevboxView) -> Finding {
    let name = &it.name;
    let at = one_line(&format!("{name} at {}:{}", it.at, it.dir));
    let trouble =
        it.last_error.as_deref().map_or_else(String::new, |it| format!(": {}", one_line(it)));
    let ask = format!("tinyclaw devbox doctor {name}");
    match it.status {
        DevboxStatus::New if it.at.contains('@') => {
            Finding::warning(DEVBOXES, format!("{at} waits for a person to approve its key"), ask)
        }
        DevboxStatus::Unreachable => {
            Finding::warning(DEVBOXES, format!("{at} is out of reach{trouble}"), ask)
        }
        DevboxStatus::KeyChanged => Finding::broken(
            DEVBOXES,
            format!("{at} shows another key than the one that was approved: nothing runs there"),
            ask,
        ),
        DevboxStatus::New | DevboxStatus::Active | DevboxStatus::Removed => {
            let ping = it.ping_ms.map_or_else(String::new, |it| format!(", {it} ms"));
            let claude = it.claude.as_deref();
            let claude = claude.map_or_else(String::new, |it| format!(", claude {}", one_line(it)));
            Finding::ok(DEVBOXES, format!("{at}{ping}{claude}"))
        }
    }
}
