//! The services, by what they say of themselves, and the parts of the office that stand on them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tinyclaw_ledger::health::{self, HealthSeen};
use tinyclaw_service::healthcheck::{BROKER_IDLES, ProbeError, local_address, probe};
use tinyclaw_service::now_ms;
use tinyclaw_service::settings::Settings;
use tinyclaw_service::words;

use super::{Finding, Patient, State};
use crate::setup::standing::{PartStanding, Standing, standing};
use crate::terminal::{ago, one_line};

/// Services say every five seconds how they are. Who was silent for longer is not there.
pub(super) const IS_THERE: Duration = Duration::from_secs(15);
/// Who listens here answers at once.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// A service that ended by itself longer ago is no news.
const FALL_IS_NEW_MS: u64 = 24 * 60 * 60 * 1000;

/// The processor, the bot, the dashboard, the broker, and every part that `setup` knows.
pub(super) fn look(patient: &Patient, settings: Option<&Settings>) -> Vec<Finding> {
    let processor = seen(patient, "processor");
    let mut found = vec![self::processor(patient, processor.as_ref())];
    found.extend(processor.as_ref().and_then(users));
    found.extend(versions(&health::read_all(&patient.state, now_ms())));
    let broker = settings.map(|it| broker(patient, it));
    let is_broker_broken = broker.as_ref().is_some_and(|it| it.state == State::Broken);
    if let Some(settings) = settings {
        // With a mistake in the settings every part would only say the mistake again.
        for part in standing(&patient.state, &patient.environment) {
            let finding = match part.name {
                // Its two halves have lines of their own.
                "office" => continue,
                "claude" => claude(part, processor.as_ref()),
                "github" if part.standing == Standing::Broken && is_broker_broken => {
                    Finding::broken(part.name, "its broker does not work", patient.logs("broker"))
                }
                "telegram" => telegram(patient, part),
                _ => plain(part),
            };
            found.push(finding);
        }
        found.extend(bot(patient, settings));
        found.extend(broker);
        found.push(dashboard(patient, settings));
    }
    found
}

fn seen(patient: &Patient, service: &str) -> Option<HealthSeen> {
    health::read(&patient.state, service, now_ms()).ok().flatten()
}

fn concerns(seen: &HealthSeen) -> Vec<String> {
    let told = seen.health.numbers.get("concerns").and_then(Value::as_array);
    let told = told.into_iter().flatten().filter_map(Value::as_str);
    // The broker is asked here, and has a line of its own.
    told.filter(|it| !it.starts_with("The credential broker")).map(str::to_owned).collect()
}

/// Services that run another version than this program: after an update that was done by half.
fn versions(seen: &[HealthSeen]) -> Option<Finding> {
    let ours = env!("CARGO_PKG_VERSION");
    let others = seen.iter().filter(|it| it.age <= IS_THERE && it.health.version != ours);
    let told: Vec<String> = others
        .map(|it| format!("{} is {}", one_line(&it.health.service), one_line(&it.health.version)))
        .collect();
    let why = format!("{}; this program is {ours}", told.join(", "));
    let way_out =
        "start all of them again: ./tinyclaw.sh start, or sudo systemctl restart 'tinyclaw-*'";
    (!told.is_empty()).then(|| Finding::warning("versions", why, way_out))
}

/// Whether desks are kept apart as users are. `None`: the processor did not say.
fn users(seen: &HealthSeen) -> Option<Finding> {
    let why = match seen.health.numbers.get("deskUsers")?.as_u64() {
        None => "all desks are one user, and kept apart by Landlock alone; docs/SECURITY.md says what that leaves open".to_owned(),
        Some(0) => "every desk gets a user of its own; there is no desk yet".to_owned(),
        Some(1) => "the one desk is a user of its own".to_owned(),
        Some(some) => format!("each of {some} desks is a user of its own"),
    };
    Some(Finding::ok("users", why))
}

fn processor(patient: &Patient, seen: Option<&HealthSeen>) -> Finding {
    const NAME: &str = "processor";
    let start = "./tinyclaw.sh start, or tinyclaw demo to try it";
    let Some(seen) = seen else {
        return Finding::warning(NAME, "does not run, and never ran here", start);
    };
    let it = &seen.health;
    if seen.age > IS_THERE {
        let why = format!(
            "does not run; its last word is {} old",
            words::span(seen.age.as_millis() as u64)
        );
        return Finding::warning(NAME, why, start);
    }
    if !it.ready {
        let why = it.why.join("; ");
        return match why.as_str() {
            // Its last word when it leaves, and its first when it comes.
            "it is stopping" => Finding::warning(NAME, "has just stopped", start),
            "it is starting" => Finding::warning(NAME, why, "look again in a moment"),
            _ => Finding::broken(NAME, why, patient.logs("queue")),
        };
    }
    let told = concerns(seen);
    let up = ago(it.started_at);
    match told.is_empty() {
        true => Finding::ok(NAME, format!("{}, up for {up}", it.version)),
        false => Finding::warning(NAME, told.join("; "), patient.logs("queue")),
    }
}

/// What the bot says of a service.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceSeen {
    pid: Option<u32>,
    restarts: u32,
    ended_at: Option<u64>,
    ended: Option<String>,
}

/// The bot, and which of its services did not stay. `None`: none runs here, as in the demo.
fn bot(patient: &Patient, settings: &Settings) -> Option<Finding> {
    const NAME: &str = "bot";
    #[derive(Deserialize)]
    struct Health {
        services: BTreeMap<String, ServiceSeen>,
    }
    let address = local_address(settings.office.health_listen).to_string();
    let body = match probe(&address, "/health", PATIENCE) {
        Ok(body) | Err(ProbeError::Status { body, .. }) => body,
        Err(_) => return None,
    };
    // Somebody else may listen there.
    let health: Health = serde_json::from_str(&body).ok()?;
    let fell = |(service, it): &(&String, &ServiceSeen)| {
        let at = it.ended_at?;
        let is_new = now_ms().saturating_sub(at) < FALL_IS_NEW_MS;
        let how = one_line(it.ended.as_deref().unwrap_or_default());
        let back = match it.pid {
            Some(_) => format!("was started again {} times", it.restarts),
            None => "is being started again".to_owned(),
        };
        let why = format!("{} {back}; it ended {} ago: {how}", one_line(service), ago(at));
        is_new.then(|| ((*service).clone(), why))
    };
    let falls: Vec<(String, String)> = health.services.iter().filter_map(|it| fell(&it)).collect();
    let Some((service, _)) = falls.first() else {
        return Some(Finding::ok(NAME, "its services have stayed"));
    };
    let log = if service == "processor" { "queue" } else { "telegram" };
    let why: Vec<&str> = falls.iter().map(|it| it.1.as_str()).collect();
    Some(Finding::warning(NAME, why.join("; "), patient.logs(log)))
}

/// A part as `setup` sees it.
fn plain(part: PartStanding) -> Finding {
    let state = match part.standing {
        Standing::Broken => State::Broken,
        Standing::Demo | Standing::Real | Standing::Off => State::Ok,
    };
    let why = match part.standing {
        Standing::Off => format!("off: {}", part.why),
        Standing::Demo => format!("demo: {}", part.why),
        Standing::Real => format!("real: {}", part.why),
        Standing::Broken => part.why,
    };
    Finding { part: part.name, state, why, way_out: part.way_out }
}

/// A configured bot that nobody runs hears nothing.
fn telegram(patient: &Patient, part: PartStanding) -> Finding {
    let is_real = part.standing == Standing::Real;
    let mut finding = plain(part);
    let there = seen(patient, "telegram").filter(|it| it.age <= IS_THERE);
    let way_out = match there {
        None => Some("./tinyclaw.sh start".to_owned()),
        Some(seen) if concerns(&seen).is_empty() => None,
        Some(_) => Some(patient.logs("telegram")),
    };
    if is_real && way_out.is_some() {
        (finding.state, finding.way_out) = (State::Warning, way_out);
    }
    finding
}

/// What only the processor is to blame for stands in its own line.
fn claude(part: PartStanding, processor: Option<&HealthSeen>) -> Finding {
    let blamed = processor.map(|it| it.health.why.join("; ")).unwrap_or_default();
    let mut finding = plain(part);
    if let Some(rest) = finding.why.strip_suffix(&format!("; {blamed}"))
        && finding.state == State::Broken
        && !blamed.to_lowercase().contains("claude")
    {
        (finding.state, finding.why, finding.way_out) = (State::Ok, rest.to_owned(), None);
    }
    // So do its concerns, whatever they are about.
    let told = processor.and_then(|it| it.health.numbers.get("concerns")?.as_array());
    for it in told.into_iter().flatten().filter_map(Value::as_str) {
        finding.why = finding.why.replace(&format!("; {it}"), "");
    }
    finding
}

/// The broker, which may well wait for an App to be named to it.
fn broker(patient: &Patient, settings: &Settings) -> Finding {
    const NAME: &str = "broker";
    let Some(url) = &settings.github.broker_url else {
        return Finding::ok(NAME, "not used: CREDENTIAL_BROKER_URL is not set");
    };
    let Some(address) = url.trim_end_matches('/').strip_prefix("http://") else {
        let why = format!("{url} is not asked: this program speaks plain HTTP only");
        return Finding::warning(NAME, why, format!("curl {url}/ready"));
    };
    match probe(address, "/ready", PATIENCE) {
        Ok(_) if settings.github.capability_secret.is_none() => Finding::warning(
            NAME,
            format!("ready at {url}, where any thread may have any repository of the App"),
            "tinyclaw setup github, which gives each thread a capability for its own",
        ),
        Ok(_) => Finding::ok(NAME, format!("ready at {url}")),
        Err(err @ ProbeError::Status { .. }) => {
            let why = one_line(&err.why());
            if settings.github.app_id.is_none() && why.contains(BROKER_IDLES) {
                Finding::ok(NAME, format!("idle at {url}: no GitHub App is named to it"))
            } else {
                Finding::broken(NAME, format!("not ready: {why}"), patient.logs("broker"))
            }
        }
        Err(err) => Finding::broken(NAME, err.why(), patient.logs("broker")),
    }
}

fn dashboard(patient: &Patient, settings: &Settings) -> Finding {
    const NAME: &str = "dashboard";
    let container = patient.facts.container("dashboard").filter(|_| patient.in_container);
    if let Some(health) = container {
        return match health {
            "healthy" | "running" | "starting" => {
                Finding::ok(NAME, format!("its container is {health}"))
            }
            other => Finding::broken(
                NAME,
                format!("its container is {other}"),
                "./tinyclaw.sh logs dashboard",
            ),
        };
    }
    let address = local_address(settings.dashboard.listen).to_string();
    match probe(&address, "/health", PATIENCE) {
        Ok(body) if body.contains("\"dashboard\"") => {
            Finding::ok(NAME, format!("http://{address}"))
        }
        Ok(_) => Finding::broken(
            NAME,
            format!("something else answers at {address}"),
            "set dashboard.listen to a free port, then start again",
        ),
        Err(_) if patient.in_container => {
            let mut finding = Finding::ok(NAME, "not to be seen from inside this container");
            finding.way_out = Some("on the host: ./tinyclaw.sh status".to_owned());
            finding
        }
        Err(ProbeError::Reach { .. }) => {
            let why = format!("nobody answers at {address}");
            Finding::warning(
                NAME,
                why,
                "./tinyclaw.sh start, or set dashboard.listen to where it is",
            )
        }
        Err(err) => Finding::broken(
            NAME,
            err.to_string(),
            format!("who listens there: ss -ltnp sport = :{}", settings.dashboard.listen.port()),
        ),
    }
}
