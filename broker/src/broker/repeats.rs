//! Repeats: one token handed to one caller again and again is one line and a number.
//!
//! A warm token costs its caller nothing, and a line each would let anybody wash the audit log
//! away. So the first time is written down before the answer; the times after it are counted, and
//! the number is written every ten minutes and at the end. Only a kill loses a number, and never
//! who had which token. Nothing is counted while the log is in trouble: then each is a line, or
//! no answer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use super::{Broker, lock};
use crate::audit::Event;
use crate::policy::Caller;

/// The numbers are written this often.
const COUNTED_FOR_SECONDS: i64 = 600;
/// Bounds for memory. What is beyond them is a line each time.
const TOKENS_MAX: usize = 20_000;
const CALLERS_MAX: usize = 64;

/// Who was handed which token, by the token's SHA-256.
#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<HashMap<String, Vec<Repeat>>>);

#[derive(Debug)]
struct Repeat {
    payer: Arc<str>,
    client: String,
    thread: Option<String>,
    run: Option<String>,
    peer: IpAddr,
    rule: String,
    since: i64,
    count: u64,
}

impl Repeat {
    fn is(&self, caller: &Caller, rule: &str, peer: IpAddr) -> bool {
        let capability = caller.capability.as_deref();
        self.client == *caller.client
            && self.thread.as_deref() == capability.map(|it| it.thread.as_str())
            && self.run.as_deref() == capability.and_then(|it| it.run.as_deref())
            && self.peer == peer
            && self.rule == rule
    }

    fn line<'a>(&'a self, token: &'a str) -> Event<'a> {
        Event {
            event: "token",
            decision: Some("granted"),
            client: Some(&self.client),
            thread: self.thread.as_deref(),
            run: self.run.as_deref(),
            peer: Some(self.peer),
            rule: Some(&self.rule),
            cause: Some("again"),
            token_sha256: Some(token),
            count: Some(self.count),
            ..Event::default()
        }
    }
}

impl Repeats {
    /// Counts once more, if this was written down for this caller before.
    fn again(&self, token: &str, caller: &Caller, rule: &str, peer: IpAddr) -> bool {
        let mut tokens = lock(&self.0);
        let callers = tokens.get_mut(token).into_iter().flatten();
        let Some(repeat) = { callers }.find(|it| it.is(caller, rule, peer)) else { return false };
        repeat.count += 1;
        true
    }

    /// From now on it is counted.
    fn remember(&self, token: &str, caller: &Caller, rule: &str, peer: IpAddr, now: i64) {
        let mut tokens = lock(&self.0);
        if tokens.len() >= TOKENS_MAX && !tokens.contains_key(token) {
            return;
        }
        let callers = tokens.entry(token.to_owned()).or_default();
        if callers.len() < CALLERS_MAX && !callers.iter().any(|it| it.is(caller, rule, peer)) {
            let capability = caller.capability.as_deref();
            callers.push(Repeat {
                payer: caller.payer(),
                client: caller.client.to_string(),
                thread: capability.map(|it| it.thread.clone()),
                run: capability.and_then(|it| it.run.clone()),
                peer,
                rule: rule.to_owned(),
                since: now,
                count: 0,
            });
        }
    }
}

impl Broker {
    /// Whether this hand-out is on record already and was counted.
    pub(super) fn is_counted(
        &self,
        token: &str,
        caller: &Caller,
        rule: &str,
        peer: IpAddr,
    ) -> bool {
        !self.audit.is_in_trouble() && self.repeats.again(token, caller, rule, peer)
    }

    /// A line for this hand-out was written: the next ones are counted.
    pub(super) fn count_from_here(&self, token: &str, caller: &Caller, rule: &str, peer: IpAddr) {
        self.repeats.remember(token, caller, rule, peer, self.clock.now());
    }

    /// Writes the numbers that are due, or all of them. Called now and then, and at the end.
    pub fn write_repeats(&self, all: bool) {
        let now = self.clock.now();
        let mut tokens = lock(&self.repeats.0);
        tokens.retain(|token, callers| {
            callers.retain_mut(|it| {
                if !all && now - it.since < COUNTED_FOR_SECONDS {
                    return true;
                }
                if it.count == 0 {
                    // Whoever did not come back is a stranger the next time.
                    return false;
                }
                if let Ok(bytes) = self.audit.write(self.clock.wall_ms(), &it.line(token)) {
                    let _ = self.check_room(&it.payer, bytes as f64);
                    it.count = 0;
                    it.since = now;
                }
                true
            });
            !callers.is_empty()
        });
    }
}
