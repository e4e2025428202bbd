//! The numbers an office is judged by, measured where it runs, each beside its goal. What cannot be measured here says why;
//! nothing is guessed, and nothing is asserted.

mod memory;
mod trial;

use serde::Serialize;
use tinyclaw_domain::DevboxViews;
use tinyclaw_engine::find_helper;
use tinyclaw_ledger::load;

use self::memory::Memory;
use self::trial::Trial;
use super::Patient;
use crate::terminal::{Style, Table};

/// What was measured; none where it was not.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Numbers {
    broker_image_mb: Option<f64>,
    dashboard_image_mb: Option<f64>,
    bot_own_mb: Option<f64>,
    idle_mb: Option<f64>,
    start_to_healthy_s: Option<f64>,
    stop_s: Option<f64>,
    first_answer_s: Option<f64>,
    helper_bytes: Option<u64>,
    cold_connect_ms: Option<f64>,
    /// How each was measured, or why not, by its name.
    how: How,
}

/// The same names, in words.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct How {
    images: String,
    bot_own_mb: String,
    idle_mb: String,
    times: String,
    helper_bytes: String,
    cold_connect_ms: String,
}

/// Measures everything that can be measured from here. Takes some seconds.
pub(crate) fn measure(patient: &Patient) -> anyhow::Result<Numbers> {
    let facts = &patient.facts;
    let mut numbers = Numbers::default();
    let image = |name: &str| facts.images.iter().find(|it| it.0 == name).map(|it| mb(it.1));
    numbers.broker_image_mb = image("broker");
    numbers.dashboard_image_mb = image("dashboard");
    let nobody = match facts.has_engine {
        false => "no container engine answers",
        true => "it is not built: ./tinyclaw.sh start",
    };
    let is_told = numbers.broker_image_mb.is_some() && numbers.dashboard_image_mb.is_some();
    numbers.how.images = if is_told { "docker image inspect" } else { nobody }.to_owned();
    match own_layers(&facts.layers) {
        Some((own, told)) => {
            numbers.bot_own_mb = Some(mb(own));
            numbers.how.bot_own_mb = told;
        }
        None => numbers.how.bot_own_mb = nobody.to_owned(),
    }
    let trial = Trial::run();
    let tried = trial.as_ref().ok();
    (numbers.idle_mb, numbers.how.idle_mb) = memory::idle(patient, tried.map(|it| &it.memory));
    match trial {
        Ok(trial) => {
            numbers.start_to_healthy_s = Some(trial.start_s);
            numbers.stop_s = Some(trial.stop_s);
            numbers.first_answer_s = Some(trial.first_answer_s);
            let build = if cfg!(debug_assertions) { ", a debug build" } else { "" };
            numbers.how.times = format!("a fresh office of {}{build}", trial.services.join(", "));
        }
        Err(err) => numbers.how.times = format!("no office could be tried: {err:#}"),
    }
    match find_helper().and_then(|it| Some((it.metadata().ok()?.len(), it))) {
        Some((bytes, path)) => {
            numbers.helper_bytes = Some(bytes);
            numbers.how.helper_bytes = path.display().to_string();
        }
        None => numbers.how.helper_bytes = "it is not beside this program".to_owned(),
    }
    (numbers.cold_connect_ms, numbers.how.cold_connect_ms) = connect(patient);
    Ok(numbers)
}

impl Numbers {
    /// A row each: what, how much, the goal, and how it was measured.
    pub(crate) fn draw(&self, style: Style) -> String {
        let how = &self.how;
        let helper_mb = self.helper_bytes.map(mb);
        let mut table = Table::new(&["number", "measured", "goal", "how"]);
        for (name, value, unit, goal, how) in [
            ("broker's image", self.broker_image_mb, "MB", 15.0, &how.images),
            ("dashboard's image", self.dashboard_image_mb, "MB", 15.0, &how.images),
            ("bot's own layers", self.bot_own_mb, "MB", 40.0, &how.bot_own_mb),
            ("memory, idle", self.idle_mb, "MB", 40.0, &how.idle_mb),
            ("start to healthy", self.start_to_healthy_s, "s", 10.0, &how.times),
            ("start to first answer", self.first_answer_s, "s", 3.0, &how.times),
            ("stop", self.stop_s, "s", 5.0, &how.times),
            ("what a devbox is given", helper_mb, "MB", 2.5, &how.helper_bytes),
            ("connect to a devbox", self.cold_connect_ms, "ms", 800.0, &how.cold_connect_ms),
        ] {
            let digits = match unit {
                "s" => 2,
                "ms" => 0,
                _ => 1,
            };
            let measured = match value {
                None => "–".to_owned(),
                Some(it) => format!("{it:.digits$} {unit}"),
            };
            let goal_met = value.is_none_or(|it| it <= goal);
            let goal = format!("≤ {goal} {unit}{}", if goal_met { "" } else { ", missed" });
            let how = if value.is_none() { format!("not measured: {how}") } else { how.clone() };
            table.row(vec![name.to_owned(), measured, goal, how]);
        }
        table.draw(style)
    }
}

/// How long the slowest of the devboxes took to be connected to, when each was dialled last, and which that is. Nobody is
/// dialled for it.
fn connect(patient: &Patient) -> (Option<f64>, String) {
    let views = load::<DevboxViews>(&patient.state.devbox_views());
    let all = views.ok().flatten().unwrap_or_default().devboxes;
    let slowest = all.into_iter().filter_map(|it| Some((it.ping_ms?, it.name))).max();
    match slowest {
        Some((ms, name)) => {
            (Some(ms as f64), format!("{name}, the slowest, when it was dialled last"))
        }
        None => (None, "no devbox has answered yet".to_owned()),
    }
}

/// The bot's layers that are TinyClaw's own, and what lies beside them.
fn own_layers(layers: &[(u64, String)]) -> Option<(u64, String)> {
    let is_copy = |by: &str| by.contains("COPY");
    let is_own = |by: &str| is_copy(by) && by.contains("tinyclaw");
    let sum = |wanted: &dyn Fn(&str) -> bool| -> u64 {
        layers.iter().filter(|it| wanted(&it.1)).map(|it| it.0).sum()
    };
    let own = sum(&is_own);
    let claude = sum(&|by| is_copy(by) && !is_own(by) && by.contains("/claude"));
    let tools = sum(&|by| by.contains("apt-get install") && by.contains("git"));
    let base = layers.iter().map(|it| it.0).sum::<u64>() - own - claude - tools;
    let told = format!(
        "docker history; beside them base {:.0} MB, claude {:.0} MB, git and gh {:.0} MB",
        mb(base),
        mb(claude),
        mb(tools)
    );
    (own > 0).then_some((own, told))
}

/// Millions of bytes, to a tenth.
fn mb(bytes: u64) -> f64 {
    (bytes as f64 / 1e5).round() / 10.0
}

/// The memory of several processes, and what it is a sum of.
fn told(memory: &Memory) -> (Option<f64>, String) {
    let parts: Vec<String> =
        memory.parts.iter().map(|(name, bytes)| format!("{name} {:.1}", mb(*bytes))).collect();
    let sum = memory.parts.iter().map(|it| it.1).sum();
    (Some(mb(sum)), format!("{}: {}", memory.kind, parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_layers_are_told_from_the_base_claude_and_the_tools() {
        let layers: Vec<(u64, String)> = [
            (0, r#"CMD ["tinyclaw-bot"]"#),
            (9_000_000, "COPY /tinyclaw-bot /tinyclaw-processor /tinyclaw-telegram /tinyclaw /usr/local/bin/ # buildkit"),
            (4_000_000, "COPY /tinyclaw-leash /tinyclaw-demo-engine /usr/local/bin/ # buildkit"),
            (1_000_000, "COPY /git-credential-tinyclaw /usr/local/bin/git-credential-tinyclaw # buildkit"),
            (230_000_000, "COPY /claude /usr/local/bin/claude # buildkit"),
            (150_000_000, "RUN /bin/sh -c apt-get update && apt-get install --yes gh git && useradd tinyclaw"),
            (74_000_000, ""),
        ]
        .map(|(bytes, by)| (bytes, by.to_owned()))
        .to_vec();
        let (own, told) = own_layers(&layers).unwrap();
        assert_eq!(own, 14_000_000);
        assert!(told.ends_with("base 74 MB, claude 230 MB, git and gh 150 MB"), "{told}");
        assert_eq!(own_layers(&[]), None);
    }
}
