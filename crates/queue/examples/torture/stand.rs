//! What the tortured queue stands on: folders, or a private server that is disturbed as well.

use std::fs;
use std::path::{Path, PathBuf};

use rand::Rng as _;
use tinyclaw_postgres::testing::Cluster;
use tinyclaw_postgres::{Database, Tls};
use tinyclaw_queue::Where;

/// What is asked for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) kills: u64,
    is_server: bool,
    terminate: u64,
    restart: u64,
    /// Where the notes are to stay.
    pub(crate) notes: Option<PathBuf>,
}

impl Wanted {
    /// `None` when it cannot be understood.
    pub(crate) fn of(args: &[String]) -> Option<Wanted> {
        let mut wanted = Wanted::default();
        let mut args = args.iter().map(String::as_str);
        while let Some(name) = args.next() {
            let value = args.next()?;
            match name {
                "--kills" => wanted.kills = value.parse().ok()?,
                "--engine" => {
                    wanted.is_server = value == "postgres";
                    if !wanted.is_server && value != "folders" {
                        return None;
                    }
                }
                "--terminate" => wanted.terminate = value.parse().ok()?,
                "--notes" => wanted.notes = Some(value.into()),
                "--restart" => wanted.restart = value.parse().ok()?,
                _ => return None,
            }
        }
        // Folders have no sessions, and no server to crash.
        let is_possible = wanted.is_server || wanted.terminate + wanted.restart == 0;
        (wanted.kills > 0 && is_possible).then_some(wanted)
    }
}

/// What the queue stands on, and what was done to it.
pub(crate) struct Stand {
    cluster: Option<Cluster>,
    kills: u64,
    terminate: u64,
    restart: u64,
    terminated: u64,
    restarted: u64,
}

/// The file that tells the crew where the server is.
const SERVER: &str = "server";

impl Stand {
    /// `None` where there is no server to be had.
    pub(crate) fn begin(wanted: &Wanted, dir: &Path) -> Option<Stand> {
        let cluster = if wanted.is_server {
            let cluster = Cluster::start(&[])?;
            #[expect(clippy::disallowed_methods, reason = "a note to its own processes")]
            fs::write(dir.join(SERVER), cluster.dir().display().to_string()).expect("server");
            Some(cluster)
        } else {
            None
        };
        let Wanted { kills, terminate, restart, .. } = *wanted;
        Some(Stand { cluster, kills, terminate, restart, terminated: 0, restarted: 0 })
    }

    pub(crate) fn is_server(&self) -> bool {
        self.cluster.is_some()
    }

    /// Does to the server what is due by now.
    pub(crate) fn disturb(&mut self, kill: u64) {
        let Some(cluster) = &mut self.cluster else { return };
        let due = |all: u64| all * (kill + 1) / self.kills;
        if self.restarted < due(self.restart) {
            cluster.crash().expect("crash");
            cluster.up().expect("up");
            self.restarted += 1;
        } else if self.terminated < due(self.terminate) {
            let any = rand::rng().random_range(0..1_000);
            let one = format!(
                "select count(pg_terminate_backend(pid)) from (select pid from pg_stat_activity \
                 where application_name = 'tinyclaw' order by (pid * 7919 + {any}) % 1000 limit 1) as it"
            );
            let count = cluster.ask(&one).expect("terminate");
            self.terminated += count.parse::<u64>().unwrap_or(0);
        }
    }

    /// The keys of what is done, where a server says so.
    pub(crate) fn done(&self) -> Option<Vec<String>> {
        let cluster = self.cluster.as_ref()?;
        let done = "select key from tinyclaw.message where place = 5";
        Some(cluster.ask(done).expect("done").lines().map(str::to_owned).collect())
    }

    /// Lanes whose row does not say what is there, once all is done.
    pub(crate) fn dirty(&self) -> usize {
        let Some(cluster) = &self.cluster else { return 0 };
        let wrong = "select count(*) from tinyclaw.lane l where held is not null or hand is not null \
            or ready is not null or waiting <> 0";
        cluster.ask(wrong).expect("lanes").parse().expect("a number")
    }

    /// What the report says besides.
    pub(crate) fn fields(&self, dirty: usize) -> String {
        if !self.is_server() {
            return String::new();
        }
        let Stand { terminated, restarted, .. } = self;
        format!(
            ",\"engine\":\"postgres\",\"terminated\":{terminated},\"restarts\":{restarted},\"lanesDirty\":{dirty}"
        )
    }
}

/// Whether the queue stands in a server.
pub(crate) fn is_server(dir: &Path) -> bool {
    dir.join(SERVER).exists()
}

/// Where the queue is, for one of the crew.
pub(crate) fn place(dir: &Path, service: &str) -> Where {
    match fs::read_to_string(dir.join(SERVER)) {
        Ok(socket) => {
            let url = format!("host={socket} user=tinyclaw dbname=postgres").into();
            Database::new(&url, &Tls::Off, "torture", "here", service).expect("a database").into()
        }
        Err(_) => Where::from(&dir.join("state")),
    }
}
