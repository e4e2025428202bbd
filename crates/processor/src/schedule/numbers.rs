//! The service's numbers, as `/metrics` and `health/` tell them, and what of them an operator must know.

use tinyclaw_domain::{Place, ThreadId};

use crate::blocking::on_disk;
use crate::config::cache_ttl;
use crate::schedule::clock::Clock;
use crate::work::claims::trouble;

/// So many waiting messages are a backlog worth a word.
const BACKLOG: usize = 100;

/// Tells how much is going on, and the operator when it is too much.
pub(super) fn tell(clock: &Clock) {
    let (waiting, _) = clock.queue.waiting_in(&ThreadId::master());
    clock.vitals.set("waiting", waiting);
    clock.vitals.set("running", clock.slots.taken());
    clock.vitals.set("claudeProcesses", clock.engine.processes());
    let spent = clock.budgets.of_office();
    clock.vitals.set("costTodayUsd", spent.usd);
    clock.vitals.set("promptCache", cache_ttl(&clock.settings.current()).as_str());
    // How many desks are users of their own; null where all are one user.
    clock.vitals.set("deskUsers", clock.engine.users().map(|it| it.count()));
    let claude = clock.engine.version(&Place::Here);
    if let Some(version) = claude.seen {
        clock.vitals.set("claudeVersion", version);
        clock.vitals.set("claudeTested", claude.pinned);
        clock.vitals.set("claudeInstalledAt", serde_json::json!(claude.installed_at));
    }
    if !claude.unknown.is_empty() {
        clock.vitals.set("claudeUnknownLines", serde_json::json!(claude.unknown));
    }
    let backlog = waiting >= BACKLOG;
    clock
        .notices
        .concern("backlog", backlog.then(|| format!("{waiting} messages wait for Claude.")));
    clock.notices.concern("queue", trouble(&clock.queue));
    let Ok(depth) = on_disk(|| clock.queue.view().depth()) else { return };
    if depth.dead == 0 {
        clock.notices.concern("dead", None);
    }
    let odd = match depth.quarantine {
        0 => None,
        1 => Some("A file that is no message lies in quarantine/ with the reason.".to_owned()),
        many => {
            Some(format!("{many} files that are no messages lie in quarantine/ with the reasons."))
        }
    };
    clock.notices.concern("quarantine", odd);
}
