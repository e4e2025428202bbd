//! What only root sees of a machine whose office systemd runs: gathered by `deploy/deb/admin`, a fact a line, words with tabs
//! between, and judged here. Without such facts nothing is said: other offices have other machines.

use std::time::Duration;

use tinyclaw_service::words::span;

use super::Finding;

/// A clock that is further away is refused by Telegram's, GitHub's and Anthropic's certificates and tokens sooner or later.
const CLOCK_MAX: i64 = 30;
/// The timer is nightly; one night may be missed.
const BACKUP_MAX: Duration = Duration::from_secs(50 * 60 * 60);
/// Where clouds tell a machine about itself. Some have their name server there, too.
const METADATA: &str = "169.254.169.254";

/// The facts, as they were printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MachineFacts(Vec<Vec<String>>);

impl MachineFacts {
    pub(crate) fn parse(text: &str) -> MachineFacts {
        MachineFacts(text.lines().map(|it| it.split('\t').map(str::to_owned).collect()).collect())
    }

    /// The words behind a name, of each fact of that name.
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Vec<&'a str>> {
        let told = self.0.iter().filter(move |it| it.first().is_some_and(|it| it == name));
        told.map(|it| it.iter().skip(1).map(String::as_str).collect())
    }

    fn one<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()?.first().copied()
    }

    /// Everything that these facts say, in the order in which one thing needs another.
    pub(super) fn look(&self) -> Vec<Finding> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let lines = [
            Some(self.units()),
            self.volume(),
            Some(self.credentials()),
            self.users(),
            self.landlock(),
            self.metadata(),
            self.name_server(),
            self.clock(),
            self.firewall(),
            self.tailnet(),
            Some(self.backup()),
        ];
        lines.into_iter().flatten().collect()
    }

    fn units(&self) -> Finding {
        const NAME: &str = "units";
        let bad: Vec<String> = self
            .all("unit")
            .filter_map(|it| match it[..] {
                [_, "active"] => None,
                [unit, state] => Some(format!("{unit} is {state}")),
                _ => None,
            })
            .collect();
        let first = self.all("unit").find(|it| it.get(1) != Some(&"active"));
        match first.and_then(|it| it.first().copied().map(str::to_owned)) {
            None => Finding::ok(NAME, "every service of tinyclaw.target is active"),
            Some(_) if self.all("unit").all(|it| it.get(1) == Some(&"inactive")) => {
                Finding::warning(
                    NAME,
                    "no service of tinyclaw.target runs",
                    "sudo systemctl enable --now tinyclaw.target",
                )
            }
            Some(unit) => Finding::broken(
                NAME,
                bad.join(", "),
                format!("sudo systemctl status {unit}; sudo journalctl -u {unit}"),
            ),
        }
    }

    /// Where the office's folders lie on a disk that may be away. `None`: they do not.
    fn volume(&self) -> Option<Finding> {
        const NAME: &str = "volume";
        let words = self.all("volume").next()?;
        let (place, state) = (words.first()?, words.get(1)?);
        Some(match *state {
            "mounted" => Finding::ok(NAME, format!("{place} is mounted")),
            _ => Finding::broken(
                NAME,
                format!("{place} is not mounted: services wait for it and write nothing"),
                format!(
                    "attach the volume; then sudo systemctl start tinyclaw.target. findmnt {place}"
                ),
            ),
        })
    }

    fn credentials(&self) -> Finding {
        const NAME: &str = "credentials";
        for it in self.all("credential") {
            let [name, owner, mode, place] = it[..] else { continue };
            if place == "plain" {
                return Finding::broken(
                    NAME,
                    format!(
                        "{name} lies in /etc/credstore in the clear, and keeps its units from starting"
                    ),
                    format!("sudo tinyclaw secrets set {name} - </etc/credstore/{name}"),
                );
            }
            if owner != "root" || mode != "600" {
                return Finding::broken(
                    NAME,
                    format!("{name} is {owner}'s, mode {mode}; it must be root's alone"),
                    format!(
                        "sudo chown root: /etc/credstore.encrypted/{name}; sudo chmod 600 /etc/credstore.encrypted/{name}"
                    ),
                );
            }
            if place == "unreadable" {
                return Finding::broken(
                    NAME,
                    format!(
                        "{name} was encrypted by another machine, or by this one before it lost its key"
                    ),
                    format!(
                        "sudo tinyclaw secrets set {name} - <FILE; each of sudo tinyclaw secrets ls, one after the other"
                    ),
                );
            }
        }
        let count = self.all("credential").count();
        Finding::ok(NAME, format!("{count} encrypted, root's alone"))
    }

    /// Whether somebody of this machine has a number that is for desks.
    fn users(&self) -> Option<Finding> {
        let all: Vec<String> = self
            .all("user")
            .filter_map(|it| Some(format!("{} ({})", it.first()?, it.get(1)?)))
            .collect();
        (!all.is_empty()).then(|| {
            Finding::broken(
                "users",
                format!("the numbers 20001 to 39999 are for desks, and this machine knows {}: an agent of that number would be them", all.join(", ")),
                "give them other numbers (usermod --uid, groupmod --gid), or make all desks one user: TINYCLAW_ENGINE_USERS=false in /etc/tinyclaw/tinyclaw.env",
            )
        })
    }

    /// Whether the unit lets a leash confine Claude. systemd 252's own lists do not.
    fn landlock(&self) -> Option<Finding> {
        const NAME: &str = "landlock";
        (self.one("landlock")? == "filtered").then(|| {
            Finding::broken(
                NAME,
                "the processor's unit filters Landlock's calls away: no turn can run",
                "sudo systemctl revert tinyclaw-processor.service, or name landlock_create_ruleset landlock_add_rule landlock_restrict_self in its SystemCallFilter",
            )
        })
    }

    fn metadata(&self) -> Option<Finding> {
        (self.one("metadata")? == "open").then(|| {
            Finding::warning(
                "metadata",
                format!("the processor's unit does not shut {METADATA}: an agent can ask this machine's cloud for its rights"),
                "sudo systemctl revert tinyclaw-processor.service",
            )
        })
    }

    /// A name server at the metadata's address is shut with it.
    fn name_server(&self) -> Option<Finding> {
        (self.one("nameserver")? == METADATA).then(|| {
            Finding::broken(
                "name server",
                format!("it is {METADATA}, which the processor's unit shuts: Claude finds nobody"),
                "sudo apt-get install systemd-resolved, which is asked in its place; or IPAddressAllow=169.254.169.254 in a drop-in, and the metadata is open with it",
            )
        })
    }

    /// Against the time that a server of others told.
    fn clock(&self) -> Option<Finding> {
        let away: i64 = self.one("clock")?.parse().ok()?;
        (away.abs() > CLOCK_MAX).then(|| {
            let which = if away > 0 { "behind" } else { "ahead" };
            let by = span(away.unsigned_abs().saturating_mul(1000));
            Finding::broken(
                "clock",
                format!("it is {by} {which} what others tell"),
                "sudo timedatectl set-ntp true",
            )
        })
    }

    fn firewall(&self) -> Option<Finding> {
        (self.one("ufw")? == "inactive").then(|| {
            Finding::warning(
                "firewall",
                "ufw is installed and off",
                "sudo ufw allow 22/tcp && sudo ufw enable",
            )
        })
    }

    fn tailnet(&self) -> Option<Finding> {
        (self.one("tailscale")? == "down").then(|| {
            Finding::warning(
                "tailnet",
                "Tailscale is installed and this machine is in no tailnet",
                "sudo tailscale up --ssh",
            )
        })
    }

    fn backup(&self) -> Finding {
        const NAME: &str = "backup";
        let timer = "sudo systemctl enable --now tinyclaw-backup.timer";
        let age = self.one("backup").and_then(|it| it.parse().ok()).map(Duration::from_secs);
        let told = age.map(|it| format!("the last is {} old", span(it.as_millis() as u64)));
        let is_timed = self.one("timer") == Some("active");
        match (told, age) {
            (Some(told), Some(age)) if age <= BACKUP_MAX && is_timed => Finding::ok(NAME, told),
            (Some(told), _) if is_timed => {
                Finding::warning(NAME, told, "sudo journalctl -u tinyclaw-backup")
            }
            (Some(told), _) => {
                Finding::warning(NAME, format!("{told}, and none is made by itself"), timer)
            }
            (None, _) if is_timed => {
                Finding::warning(NAME, "there is none yet", "sudo tinyclaw backup")
            }
            (None, _) => Finding::warning(NAME, "there is none, and none is made by itself", timer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    const WELL: &str = "unit\ttinyclaw-processor.service\tactive\ncredential\ttelegram-bot-token\troot\t600\tencrypted\n\
        landlock\tallowed\nmetadata\tshut\nnameserver\t127.0.0.53\nclock\t1\nufw\tactive\ntailscale\tpai-prod\nbackup\t3600\ntimer\tactive\n";

    #[track_caller]
    fn says(more: &str, part: &str, state: State, why: &str) {
        // What comes first counts.
        let found = MachineFacts::parse(&format!("{more}\n{WELL}")).look();
        let fits = |it: &&Finding| it.part == part && it.state == state && it.why.contains(why);
        assert!(found.iter().any(|it| fits(&it)), "{more:?}: {found:#?}");
        let has_arrow = |it: &Finding| it.state == State::Ok || it.way_out.is_some();
        assert!(found.iter().all(has_arrow), "{found:#?}");
    }

    #[test]
    fn a_machine_that_is_well_has_three_lines() {
        let found = MachineFacts::parse(WELL).look();
        assert!(found.iter().all(|it| it.state == State::Ok), "{found:#?}");
        let parts: Vec<&str> = found.iter().map(|it| it.part).collect();
        assert_eq!(parts, ["units", "credentials", "backup"]);
        assert!(MachineFacts::default().look().is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_machine_is_told_with_its_way_out() {
        let broken = State::Broken;
        says(
            "unit\ttinyclaw-broker.service\tfailed",
            "units",
            broken,
            "tinyclaw-broker.service is failed",
        );
        says("volume\t/mnt/pai-data\taway", "volume", broken, "not mounted");
        says("credential\tapi-token\troot\t644\tencrypted", "credentials", broken, "mode 644");
        says("credential\tapi-token\tada\t600\tencrypted", "credentials", broken, "ada's");
        says("credential\tapi-token\troot\t600\tplain", "credentials", broken, "in the clear");
        says(
            "credential\tapi-token\troot\t600\tunreadable",
            "credentials",
            broken,
            "another machine",
        );
        says("user\tada\t20007", "users", broken, "ada (20007)");
        says("landlock\tfiltered", "landlock", broken, "no turn can run");
        says("metadata\topen", "metadata", State::Warning, "169.254.169.254");
        says("nameserver\t169.254.169.254", "name server", broken, "finds nobody");
        says("clock\t-400", "clock", broken, "ahead");
        says("clock\t400", "clock", broken, "behind");
        says("ufw\tinactive", "firewall", State::Warning, "off");
        says("tailscale\tdown", "tailnet", State::Warning, "no tailnet");
        says("backup\t999999", "backup", State::Warning, "old");
        says("timer\tinactive", "backup", State::Warning, "by itself");
    }
}
