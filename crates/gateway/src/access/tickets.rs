//! Tickets: what a page shows where it cannot send a header. Good for a minute, for one address of ours, one page, and
//! whoever got it.
//!
//! A WebSocket uses its ticket up. An `EventSource` comes back to the same address by itself, so its ticket serves one
//! live stream, and again for a while to whoever says where it was.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Caller;

/// How long a ticket waits to be used.
pub const TICKET_TIME: Duration = Duration::from_secs(60);
/// How long after the end of its stream an `EventSource` may come back.
const RETURN_TIME: Duration = Duration::from_secs(120);
/// So many are open at once; the oldest go first.
const TICKETS_MAX: usize = 10_000;

/// What a ticket is for.
#[derive(Debug, Clone)]
struct Ticket {
    /// Whoever got it.
    caller: Caller,
    /// The path it is good for.
    path: String,
    /// The page it is good for, as its `Origin`.
    origin: Option<String>,
    until: Instant,
    /// A stream that it serves.
    live: Option<Arc<()>>,
    is_used: bool,
}

/// Why a ticket is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is none, is over, or is for something else.
    Unknown,
    /// It serves a stream already.
    Busy,
}

/// The tickets that are open.
#[derive(Debug, Default)]
pub struct Tickets {
    open: Mutex<HashMap<String, Ticket>>,
}

/// How a ticket is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Once.
    Once,
    /// For a stream that may come back; whether it says where it was.
    Stream {
        /// It sent a `Last-Event-ID`.
        is_return: bool,
    },
}

/// Held as long as the stream lives that a ticket serves.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "its count is what matters")] Arc<()>);

impl Tickets {
    /// Makes one.
    pub fn issue(&self, caller: Caller, path: String, origin: Option<String>) -> String {
        let chance: [u8; 24] = rand::random();
        let text: String = chance.iter().map(|it| format!("{it:02x}")).collect();
        let text = format!("tk_{text}");
        let until = Instant::now() + TICKET_TIME;
        let ticket = Ticket { caller, path, origin, until, live: None, is_used: false };
        let mut open = self.lock();
        open.retain(|_, it| it.is_open());
        if open.len() >= TICKETS_MAX
            && let Some(oldest) =
                open.iter().min_by_key(|(_, it)| it.until).map(|(it, _)| it.clone())
        {
            open.remove(&oldest);
        }
        open.insert(text.clone(), ticket);
        text
    }

    /// Takes one for a request to `path` from `origin`.
    pub fn take(
        &self,
        text: &str,
        path: &str,
        origin: Option<&str>,
        how: Use,
    ) -> Result<(Caller, Held), Refused> {
        let mut open = self.lock();
        let ticket = open.get_mut(text).filter(|it| it.is_open()).ok_or(Refused::Unknown)?;
        if ticket.path != path || ticket.origin.as_deref() != origin {
            return Err(Refused::Unknown);
        }
        let caller = ticket.caller.clone();
        let held = Arc::new(());
        match how {
            Use::Once => {
                open.remove(text);
            }
            Use::Stream { is_return } => {
                if ticket.is_live() {
                    return Err(Refused::Busy);
                }
                if ticket.is_used && !is_return {
                    return Err(Refused::Unknown);
                }
                ticket.is_used = true;
                ticket.live = Some(Arc::clone(&held));
                // Counted from now on; a stream that lives longer keeps it open, and gives it so much more at its end.
                ticket.until = Instant::now() + RETURN_TIME;
            }
        }
        Ok((caller, Held(held)))
    }

    /// The stream of this ticket ended: it may come back for a while.
    pub fn ended(&self, text: &str) {
        if let Some(ticket) = self.lock().get_mut(text) {
            ticket.live = None;
            ticket.until = Instant::now() + RETURN_TIME;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Ticket>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    fn is_live(&self) -> bool {
        self.live.as_ref().is_some_and(|it| Arc::strong_count(it) > 1)
    }

    fn is_open(&self) -> bool {
        self.is_live() || Instant::now() < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::super::Proof;
    use super::*;

    fn caller() -> Caller {
        let (name, proof) = ("ada".to_owned(), Proof::Signed);
        let (scopes, envs, origins, budget_per_day) = Default::default();
        Caller { name, scopes, envs, origins, budget_per_day, until: None, proof }
    }

    #[test]
    fn a_ticket_is_for_one_path_one_page_and_one_use() {
        let tickets = Tickets::default();
        let page = Some("https://app.example.org");
        let text = tickets.issue(caller(), "/ws".into(), page.map(str::to_owned));
        let take = |path, origin| tickets.take(&text, path, origin, Use::Once).map(|_| ());
        assert_eq!(take("/events", page), Err(Refused::Unknown));
        assert_eq!(take("/ws", None), Err(Refused::Unknown));
        assert_eq!(take("/ws", Some("https://evil.example.org")), Err(Refused::Unknown));
        assert_eq!(take("/ws", page), Ok(()));
        assert_eq!(take("/ws", page), Err(Refused::Unknown));
    }

    #[test]
    fn a_stream_comes_back_with_its_ticket_and_nobody_else_beside_it() {
        let tickets = Tickets::default();
        let text = tickets.issue(caller(), "/events".into(), None);
        let take = |is_return| tickets.take(&text, "/events", None, Use::Stream { is_return });
        let (_, held) = take(false).unwrap();
        assert_eq!(take(true).map(|_| ()), Err(Refused::Busy));
        drop(held);
        tickets.ended(&text);
        assert_eq!(take(false).map(|_| ()), Err(Refused::Unknown), "it says not where it was");
        assert!(take(true).is_ok());
    }
}
