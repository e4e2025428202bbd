//! A hub as a user of its own: started by the warden, since this process may not change users.
//!
//! The warden is told a number. Which program is Claude and how it is confined the hub hears from here, through the socket
//! that it gets: that is no more than the desk itself may do.

use std::error::Error as _;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as Socket;
use std::path::{Path, PathBuf};

use tinyclaw_domain::frame::encode;
use tinyclaw_warden::{Client, DeskNumber};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::carrier::{Carrier, CarrierFuture, Connection};
use super::hub::Claude;
use crate::config::{EngineConfig, Landlock};

/// A hub on this machine, as the user of one desk.
#[derive(Debug)]
pub struct WardenCarrier {
    warden: Client,
    desk: DeskNumber,
    program: PathBuf,
    landlock: Landlock,
    is_errand: bool,
}

impl WardenCarrier {
    /// A hub of this desk for the Claude that this configuration names.
    pub fn of(config: &EngineConfig, warden: Client, desk: DeskNumber) -> WardenCarrier {
        let (program, landlock) = (config.program.clone(), config.landlock);
        WardenCarrier { warden, desk, program, landlock, is_errand: false }
    }

    /// The same for another program than Claude, which takes any arguments: the office's own to choose, for it is the
    /// office that has the hub started.
    pub(crate) fn for_errands(self, program: &Path) -> WardenCarrier {
        WardenCarrier { program: program.to_owned(), is_errand: true, ..self }
    }

    async fn start(&self) -> Result<Connection, String> {
        let (warden, desk) = (self.warden.clone(), self.desk);
        // It answers when the hub is started, which takes a moment.
        let started = tokio::task::spawn_blocking(move || {
            let (ours, theirs) = Socket::pair().map_err(|err| err.to_string())?;
            ours.set_nonblocking(true).map_err(|err| err.to_string())?;
            let made = warden.make(desk).and_then(|()| warden.start_hub(desk, theirs.as_fd()));
            match made {
                Ok(()) => Ok(ours),
                Err(err) => {
                    Err(err.source().map_or_else(|| err.to_string(), |it| format!("{err}: {it}")))
                }
            }
        });
        let ours = started.await.map_err(|err| err.to_string())??;
        let stream = UnixStream::from_std(ours).map_err(|err| err.to_string())?;
        let (from, mut to) = stream.into_split();
        let claude = Claude {
            program: self.program.clone(),
            landlock: self.landlock,
            is_errand: self.is_errand,
        };
        to.write_all(&encode(&claude, b"")).await.map_err(|err| err.to_string())?;
        Ok(Connection { to: Box::new(to), from: Box::new(from), guard: Box::new(()) })
    }
}

impl Carrier for WardenCarrier {
    fn connect(&self) -> CarrierFuture<'_> {
        Box::pin(async move {
            let desk = self.desk;
            self.start().await.map_err(|why| format!("desk {desk} has no hub: {why}").into())
        })
    }
}
