//! What Docker knows: gathered by `scripts/docker-facts.sh`, by this program where there is a Docker, or by `tinyclaw.sh`
//! on behalf of the program in the container, where there is none. A fact a line, words with tabs between.

use std::process::Command;
use std::time::Duration;

use super::tools::said;

/// The script, so that both ask the same.
const SCRIPT: &str = include_str!("../../../../scripts/docker-facts.sh");
/// A Docker that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Whether an engine answered.
    pub(crate) has_engine: bool,
    /// Sizes of images in bytes: `broker`, `dashboard`, `bot`.
    pub(crate) images: Vec<(String, u64)>,
    /// The bot's layers: bytes, and what made them.
    pub(crate) layers: Vec<(u64, String)>,
    /// How containers are: `healthy`, `unhealthy`, `running`, `exited`.
    pub(crate) containers: Vec<(String, String)>,
    /// What containers take, in bytes.
    pub(crate) memory: Vec<(String, u64)>,
}

impl Facts {
    /// Asks Docker here, also for sizes and memory, which takes some seconds. None when it does not answer.
    pub(crate) fn ask() -> Facts {
        #[expect(clippy::disallowed_methods, reason = "Docker is asked by its own client")]
        let mut script = Command::new("sh");
        script.args(["-c", SCRIPT, "docker-facts", "numbers"]);
        said(script, PATIENCE).map(|it| Facts::parse(&it.text)).unwrap_or_default()
    }

    /// Reads what the script printed. A line that is no fact is none of ours.
    pub(crate) fn parse(text: &str) -> Facts {
        let mut facts = Facts::default();
        for line in text.lines() {
            let words: Vec<&str> = line.splitn(3, '\t').collect();
            let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            match words[..] {
                ["engine", ..] => facts.has_engine = true,
                ["image", name, bytes] => {
                    facts.images.extend(bytes.parse().ok().map(|it| (name.to_owned(), it)));
                }
                ["layer", bytes, by] => {
                    facts.layers.extend(bytes.parse().ok().map(|it| (it, by.to_owned())));
                }
                ["container", name, health] => facts.containers.push(pair(name, health)),
                ["memory", name, used] => {
                    facts.memory.extend(size(used).map(|it| (name.to_owned(), it)));
                }
                _ => {}
            }
        }
        facts
    }

    /// How a container is.
    pub(crate) fn container(&self, name: &str) -> Option<&str> {
        self.containers.iter().find(|it| it.0 == name).map(|it| it.1.as_str())
    }
}

/// Bytes of what `docker stats` prints: `5.1MiB / 128MiB`.
fn size(text: &str) -> Option<u64> {
    let used = text.split('/').next()?.trim();
    let at = used.find(|it: char| it.is_ascii_alphabetic())?;
    let number: f64 = used[..at].trim().parse().ok()?;
    let unit = match &used[at..] {
        "B" => 1.0,
        "kB" => 1e3,
        "KiB" => 1_024.0,
        "MB" => 1e6,
        "MiB" => 1_048_576.0,
        "GB" => 1e9,
        "GiB" => 1_073_741_824.0,
        _ => return None,
    };
    Some((number * unit) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_and_other_lines_are_passed_over() {
        let facts = Facts::parse(
            "engine\t28.2\nimage\tbroker\t12000000\nimage\tbot\tmany\nlayer\t4000\tCOPY /tinyclaw /usr/local/bin/ # x\ty\n\
             container\tdashboard\thealthy\nmemory\tbroker\t5.5MiB / 128MiB\nwhatever\n",
        );
        assert!(facts.has_engine);
        assert_eq!(facts.images, [("broker".to_owned(), 12_000_000)]);
        assert_eq!(facts.layers[0].1, "COPY /tinyclaw /usr/local/bin/ # x\ty");
        assert_eq!(facts.container("dashboard"), Some("healthy"));
        assert_eq!(facts.memory, [("broker".to_owned(), 5_767_168)]);
    }
}
