//! A Claude at the far end of a link that is lost: patience with it stands still, and whoever waits for its turn is told.
//!
//! A cut that is mended within seconds is no news. A stop that cannot be heard there is said at once.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::ladder::Alarm;
use super::running::Running;
use super::{Actor, Wake};
use crate::look::LinkLost;
use crate::turn::TurnEvent;

/// As good as never.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// How the link is.
#[derive(Debug, Default)]
pub(super) struct Away {
    link: Option<watch::Receiver<Option<LinkLost>>>,
    /// Lost since then, and whether that was told.
    lost: Option<(Instant, bool)>,
}

impl Away {
    /// The link of this Claude, if it has one.
    pub(super) fn of(link: Option<watch::Receiver<Option<LinkLost>>>) -> Away {
        Away { link, lost: None }
    }

    /// Waits until it is lost or back. Never returns where there is none. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        let is_over = match &mut self.link {
            Some(link) => link.changed().await.is_err(),
            None => return pending().await,
        };
        if is_over {
            self.link = None;
            pending().await
        }
    }

    fn told_of(&self) -> Option<LinkLost> {
        self.link.as_ref()?.borrow().clone()
    }
}

impl Running {
    /// It could not be heard for so long: nothing that was to happen meanwhile is late.
    pub(super) fn put_off(&mut self, by: Duration) {
        self.last_line += by;
        self.over_at += by;
        let since = self.asks.values_mut().map(|it| &mut it.since);
        let since = since.chain(self.stopping.as_mut().map(|it| &mut it.since));
        since.chain(self.echoed.as_mut()).for_each(|it| *it += by);
    }
}

impl Actor {
    /// What to wake up for while nothing can be heard. `None`: everything can.
    pub(super) fn alarm_while_away(&self) -> Option<Wake> {
        let (since, is_told) = self.away.lost?;
        let is_news = !is_told && self.turn.is_some();
        Some(match is_news {
            true => Wake { at: since + self.setup.times.lost, what: Alarm::Lost },
            false => Wake { at: Instant::now() + LONG, what: Alarm::Never },
        })
    }

    /// The link is lost or back.
    pub(super) fn on_link(&mut self) {
        match (self.away.told_of().is_some(), self.away.lost) {
            (true, None) => self.away.lost = Some((Instant::now(), false)),
            (false, Some((since, is_told))) => {
                self.away.lost = None;
                let by = since.elapsed();
                self.started += by;
                if let Some(close_at) = &mut self.close_at {
                    *close_at += by;
                }
                let Some(turn) = &mut self.turn else { return };
                turn.put_off(by);
                if is_told {
                    turn.tell(TurnEvent::LinkBack);
                }
            }
            _ => {}
        }
    }

    /// Tells whoever waits that nothing is heard of the turn.
    pub(super) fn tell_lost(&mut self) {
        let Some(LinkLost { at, why }) = self.away.told_of() else { return };
        let (Some((_, is_told)), Some(turn)) = (&mut self.away.lost, &mut self.turn) else {
            return;
        };
        *is_told = true;
        turn.tell(TurnEvent::LinkLost { at, why, is_stopping: turn.stopping.is_some() });
    }
}
