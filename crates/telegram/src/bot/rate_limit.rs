//! The rate limit of each chat: how many requests Telegram takes from us, and who of those who wait goes next.
//!
//! Sends, edits and topic calls share 18 requests in any 60 seconds of a group (Telegram takes about 20) and stand at
//! least 1.05 s apart; all chats together share 28 a second. Whoever wants to send waits for a [`Permit`]. The more
//! urgent goes first, and among equals the topic that was served longest ago. Nothing is composed before its permit is
//! there, so a preview that waited shows the latest state, and previews never queue up behind each other. The more topics
//! are at work, the more of the minute is kept for their answers; in a forum that wakes up, statuses are spread out, so that
//! the answers of topics that nobody knows of yet find room. What a person stops may use the two requests that are spare.
//!
//! `retry_after` freezes the chat; reactions have a pace and a rest of their own. Both are on disk before a request goes
//! out, and outlive the process. Nothing here sends anything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tinyclaw_service::now_ms;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::bot::pace::{ChatPace, Pace, Rest};

/// The window of the per-minute limit.
const MINUTE: Duration = Duration::from_secs(60);
/// The window of the overall limit.
const SECOND: Duration = Duration::from_secs(1);
/// A request that takes longer no longer holds up the next: an upload may take minutes.
const FLIGHT_MAX: Duration = Duration::from_secs(3);
/// Requests of a group's minute that previews leave to everything else.
const RESERVE: usize = 8;
/// Of all that a group takes in a minute, one in so many may be spent on looks at running turns within [`LOOKS_WINDOW`]. What a
/// look takes is missing for a whole minute, and when a forum wakes up nobody knows yet how many topics will have answers.
const LOOKS_SHARE: usize = 4;
/// The time in which looks take no more than their share.
const LOOKS_WINDOW: Duration = Duration::from_secs(20);
/// Requests of a group's minute that are kept for whoever stops something.
const URGENT_SPARE: usize = 2;
/// More topics than this at work at once are a crowd: the group's minute is for answers then.
const CROWD: usize = 4;
/// The first previews of a turn may come quickly: most turns are short.
const BURST: u32 = 3;

/// What is more urgent goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A newer look at a running turn.
    Preview,
    /// Something went wrong.
    Error,
    /// The first status of a turn.
    FirstStatus,
    /// An answer.
    Final,
    /// What a person waits for who has just pressed a button.
    Urgent,
}

impl Priority {
    /// Whether it shows how a turn is going: nice to have, while an answer is not there yet.
    fn is_look(self) -> bool {
        matches!(self, Priority::Preview | Priority::FirstStatus)
    }
}

/// The limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Limits {
    /// Requests to one group in a minute. Telegram takes about 20; two are spare.
    pub group_per_minute: usize,
    /// The least time between two requests to one chat.
    pub gap_ms: u64,
    /// Requests to all chats in a second. Telegram takes about 30.
    pub overall_per_second: usize,
    /// The least time between two previews of one topic.
    pub preview_gap_ms: u64,
    /// Reactions to messages of one chat in a second.
    pub reactions_per_second: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            group_per_minute: 18,
            gap_ms: 1050,
            overall_per_second: 28,
            preview_gap_ms: 2000,
            reactions_per_second: 5,
        }
    }
}

/// The rate limits of all chats.
#[derive(Debug, Clone)]
pub struct RateLimit {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: Limits,
    /// Where the pace is kept.
    path: Option<PathBuf>,
    /// Guards what was spent and who waits. The pace is written under it, so that it is on disk before a request goes out.
    state: Mutex<State>,
    /// Something changed that may let somebody go.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    chats: BTreeMap<i64, Chat>,
    overall: VecDeque<Instant>,
    next_id: u64,
    last_flood: Option<(Instant, Duration)>,
}

#[derive(Debug, Default)]
struct Chat {
    sent: VecDeque<Instant>,
    /// First statuses and previews.
    looks: VecDeque<Instant>,
    waiting: Vec<Waiter>,
    topics: BTreeMap<i64, Topic>,
    in_flight: Option<(u64, Instant)>,
    free_at: Option<Instant>,
    frozen_until: Option<Instant>,
    /// Topics that are at work.
    busy: BTreeSet<i64>,
    reactions: VecDeque<Instant>,
    reactions_frozen_until: Option<Instant>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    priority: Priority,
    topic: i64,
    cost: usize,
}

#[derive(Debug, Default)]
struct Topic {
    served: Option<Instant>,
    previewed: Option<Instant>,
    previews: u32,
}

/// The right to make one request now. Dropping it after the request lets the next one go.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
    chat: i64,
    id: u64,
}

impl RateLimit {
    /// With nothing spent.
    pub fn new(limits: Limits) -> RateLimit {
        RateLimit::at(limits, None)
    }

    /// Kept in a file, with what an earlier process spent.
    pub fn kept(limits: Limits, path: PathBuf) -> RateLimit {
        let pace = Pace::read(&path);
        let limit = RateLimit::at(limits, Some(path));
        let (now, now_ms) = (Instant::now(), now_ms());
        let mut state = limit.inner.state();
        for (id, kept) in pace.chats {
            let chat = state.chats.entry(id).or_default();
            let age = |it: &u64| Duration::from_millis(now_ms.saturating_sub(*it));
            chat.sent = kept.spent.iter().filter_map(|it| now.checked_sub(age(it))).collect();
            chat.sent.make_contiguous().sort_unstable();
            // When the last request arrived only the earlier process knew: perhaps as it died.
            let lately = chat.sent.back().is_some_and(|it| now - *it < MINUTE);
            chat.free_at = lately.then(|| now + Duration::from_millis(limits.gap_ms));
            let until = |it: Option<Rest>| Some(now + it?.left(now_ms));
            chat.frozen_until = until(kept.frozen);
            chat.reactions_frozen_until = until(kept.reactions);
        }
        drop(state);
        limit
    }

    fn at(limits: Limits, path: Option<PathBuf>) -> RateLimit {
        let state = Mutex::new(State::default());
        RateLimit { inner: Arc::new(Inner { limits, path, state, changed: Notify::new() }) }
    }

    /// Waits until a request of `cost` messages to `chat` may be made. Dropping the future gives the place up.
    pub async fn permit(&self, chat: i64, topic: i64, priority: Priority, cost: usize) -> Permit {
        let place = {
            let mut state = self.inner.state();
            let id = state.next_id;
            state.next_id += 1;
            let waiting = &mut state.chats.entry(chat).or_default().waiting;
            waiting.push(Waiter { id, priority, topic, cost });
            Place { inner: &self.inner, chat, id }
        };
        self.inner.changed.notify_waiters();
        loop {
            let changed = self.inner.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let wake = match self.inner.try_grant(chat, place.id) {
                Ok(()) => {
                    self.inner.changed.notify_waiters();
                    return Permit { inner: Arc::clone(&self.inner), chat, id: place.id };
                }
                Err(wake) => wake,
            };
            match wake {
                Some(at) => drop(tokio::time::timeout_at(at, changed).await),
                None => changed.await,
            }
        }
    }

    /// Telegram said how long to leave this chat alone.
    pub fn freeze(&self, chat: i64, wait: Duration) {
        let now = Instant::now();
        let mut state = self.inner.state();
        state.last_flood = Some((now, wait));
        let chat = state.chats.entry(chat).or_default();
        chat.frozen_until = chat.frozen_until.max(Some(now + wait));
        self.inner.keep(&state, now);
        drop(state);
        self.inner.changed.notify_waiters();
    }

    /// Telegram said how long to leave this chat's reactions alone. Messages go on.
    pub fn freeze_reactions(&self, chat: i64, wait: Duration) {
        let now = Instant::now();
        let mut state = self.inner.state();
        let chat = state.chats.entry(chat).or_default();
        chat.reactions_frozen_until = chat.reactions_frozen_until.max(Some(now + wait));
        self.inner.keep(&state, now);
    }

    /// Takes the right to put one reaction, or says when it is worth asking again.
    pub fn try_reaction(&self, chat: i64) -> Result<(), Instant> {
        let now = Instant::now();
        let mut state = self.inner.state();
        let State { chats, overall, .. } = &mut *state;
        let (limits, there) = (&self.inner.limits, chats.entry(chat).or_default());
        drop_older(&mut there.reactions, now, SECOND);
        drop_older(overall, now, SECOND);
        let full = |it: &VecDeque<Instant>, most| over(it, most, 1).map(|it| it + SECOND);
        let ready = there.frozen_until.max(there.reactions_frozen_until);
        let ready = ready.max(full(&there.reactions, limits.reactions_per_second));
        let ready = ready.max(full(overall, limits.overall_per_second));
        if let Some(at) = ready.filter(|it| *it > now) {
            return Err(at);
        }
        there.reactions.push_back(now);
        overall.push_back(now);
        Ok(())
    }

    /// Which topics of a chat are at work now.
    pub fn set_busy(&self, chat: i64, topics: BTreeSet<i64>) {
        self.inner.state().chats.entry(chat).or_default().busy = topics;
    }

    /// Whether so many topics are at work that a look at each of them would cost their answers.
    pub fn is_crowded(&self, chat: i64) -> bool {
        chat < 0 && self.inner.state().chats.get(&chat).is_some_and(|it| it.busy.len() > CROWD)
    }

    /// Whether Telegram wants this chat left alone now.
    pub fn is_frozen(&self, chat: i64) -> bool {
        let until = self.inner.state().chats.get(&chat).and_then(|it| it.frozen_until);
        until.is_some_and(|it| it > Instant::now())
    }

    /// Whether Telegram wants this chat or its reactions left alone now.
    pub fn is_hushed(&self, chat: i64) -> bool {
        let state = self.inner.state();
        let until =
            state.chats.get(&chat).and_then(|it| it.frozen_until.max(it.reactions_frozen_until));
        until.is_some_and(|it| it > Instant::now())
    }

    /// Requests that a chat would still take in this minute. None for a private chat, which has no such limit.
    pub fn left(&self, chat: i64) -> Option<usize> {
        let mut state = self.inner.state();
        let there = state.chats.entry(chat).or_default();
        drop_older(&mut there.sent, Instant::now(), MINUTE);
        (chat < 0).then(|| self.inner.limits.group_per_minute.saturating_sub(there.sent.len()))
    }

    /// When Telegram last refused for haste, and how long it wanted to be left alone.
    pub fn last_flood(&self) -> Option<(Instant, Duration)> {
        self.inner.state().last_flood
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|it| it.into_inner())
    }

    /// Puts the pace on disk: a request that is about to go out is to be remembered whatever happens to this process.
    fn keep(&self, state: &State, now: Instant) {
        let Some(path) = &self.path else { return };
        let now_ms = now_ms();
        let rest = |until: Option<Instant>| {
            let left = until?.checked_duration_since(now)?;
            Some(Rest::new(left, now_ms))
        };
        let pace = |it: &Chat| {
            let ages = it.sent.iter().map(|at| now.saturating_duration_since(*at));
            let ages = ages.filter(|it| *it < MINUTE);
            ChatPace {
                spent: ages.map(|it| now_ms.saturating_sub(it.as_millis() as u64)).collect(),
                frozen: rest(it.frozen_until),
                reactions: rest(it.reactions_frozen_until),
            }
        };
        let chats = state.chats.iter().map(|(id, it)| (*id, pace(it)));
        let pace = Pace::new(chats.filter(|(_, it)| !it.is_empty()).collect());
        if let Err(err) = pace.write(path) {
            tracing::warn!("the pace cannot be kept over a restart: {err}");
        }
    }

    /// Gives the waiter its permit, or says when it is worth asking again (none: when something changes).
    fn try_grant(&self, chat_id: i64, id: u64) -> Result<(), Option<Instant>> {
        let now = Instant::now();
        let mut state = self.state();
        let State { chats, overall, .. } = &mut *state;
        drop_older(overall, now, SECOND);
        let Some(chat) = chats.get_mut(&chat_id) else { return Err(None) };
        drop_older(&mut chat.sent, now, MINUTE);
        drop_older(&mut chat.looks, now, LOOKS_WINDOW);
        let Some(at) = chat.waiting.iter().position(|it| it.id == id) else { return Err(None) };
        let mine = chat.ready_at(&self.limits, chat_id, &chat.waiting[at], overall, now);
        if mine > now {
            return Err(Some(mine));
        }
        // Somebody more urgent who could go just as well goes first; they are awake and will take it.
        let rank = |it: &Waiter| {
            let served = chat.topics.get(&it.topic).and_then(|it| it.served);
            (it.priority, std::cmp::Reverse(served), std::cmp::Reverse(it.id))
        };
        let best = chat
            .waiting
            .iter()
            .filter(|it| chat.ready_at(&self.limits, chat_id, it, overall, now) <= now)
            .max_by_key(|it| rank(it));
        if best.is_none_or(|it| it.id != id) {
            return Err(Some(now + SECOND));
        }
        let waiter = chat.waiting.swap_remove(at);
        for _ in 0..waiter.cost {
            chat.sent.push_back(now);
            overall.push_back(now);
        }
        chat.in_flight = Some((id, now));
        let topic = chat.topics.entry(waiter.topic).or_default();
        topic.served = Some(now);
        if waiter.priority.is_look() {
            chat.looks.push_back(now);
        }
        if waiter.priority == Priority::Preview {
            let fresh = topic.previewed.is_none_or(|it| now - it > MINUTE);
            topic.previews = if fresh { 1 } else { topic.previews + 1 };
            topic.previewed = Some(now);
        }
        self.keep(&state, now);
        Ok(())
    }
}

impl Chat {
    /// When a waiter could go, as far as limits are concerned.
    fn ready_at(
        &self,
        limits: &Limits,
        chat: i64,
        waiter: &Waiter,
        overall: &VecDeque<Instant>,
        now: Instant,
    ) -> Instant {
        let mut ready = now;
        let mut not_before = |it: Option<Instant>| ready = ready.max(it.unwrap_or(now));
        not_before(self.frozen_until);
        not_before(self.free_at);
        not_before(self.in_flight.map(|(_, since)| since + FLIGHT_MAX));
        not_before(over(overall, limits.overall_per_second, waiter.cost).map(|it| it + SECOND));
        let is_group = chat < 0;
        let preview = waiter.priority == Priority::Preview;
        if is_group {
            let most = self.most(limits, waiter.priority, now);
            not_before(over(&self.sent, most, waiter.cost).map(|it| it + MINUTE));
            if waiter.priority.is_look() {
                let most = limits.group_per_minute.div_ceil(LOOKS_SHARE);
                not_before(over(&self.looks, most, waiter.cost).map(|it| it + LOOKS_WINDOW));
            }
        }
        if preview && let Some(topic) = self.topics.get(&waiter.topic) {
            let gap = self.preview_gap(limits, is_group, topic, now);
            not_before(topic.previewed.map(|it| it + gap));
        }
        ready
    }

    /// Requests of a group's minute that one of this urgency may make: each leaves room for what is more urgent. Of the
    /// topics that were at work in the last minute three in four may want to answer within the next one.
    fn most(&self, limits: &Limits, priority: Priority, now: Instant) -> usize {
        let lately = |it: &Topic| it.served.is_some_and(|it| now - it < MINUTE);
        let lately = self.topics.iter().filter(|(_, it)| lately(it)).map(|(id, _)| *id);
        let answers =
            self.busy.iter().copied().chain(lately).collect::<BTreeSet<_>>().len() * 3 / 4;
        let all = limits.group_per_minute;
        match priority {
            Priority::Preview => all.saturating_sub(RESERVE.max(answers)).max(1),
            Priority::FirstStatus => all.saturating_sub(answers).max(1),
            Priority::Error | Priority::Final => all,
            Priority::Urgent => all + URGENT_SPARE,
        }
    }

    /// How long a topic waits between two previews: two seconds at first, then its share of what previews may have.
    fn preview_gap(
        &self,
        limits: &Limits,
        is_group: bool,
        topic: &Topic,
        now: Instant,
    ) -> Duration {
        let least = Duration::from_millis(limits.preview_gap_ms);
        if !is_group || topic.previews < BURST {
            return least;
        }
        let lately = |it: &&Topic| it.previewed.is_some_and(|it| now - it < MINUTE);
        let active = self.topics.values().filter(lately).count().max(1) as u32;
        let share = limits.group_per_minute.saturating_sub(RESERVE).max(1) as u32;
        least.max(MINUTE * active / share)
    }
}

/// When `cost` more would fit below `most`: the time of the entry that has to leave the window first, if any has to.
fn over(times: &VecDeque<Instant>, most: usize, cost: usize) -> Option<Instant> {
    let surplus = (times.len() + cost).saturating_sub(most.max(cost));
    surplus.checked_sub(1).and_then(|it| times.get(it).copied())
}

fn drop_older(times: &mut VecDeque<Instant>, now: Instant, age: Duration) {
    while times.front().is_some_and(|it| now - *it >= age) {
        times.pop_front();
    }
}

/// A place in the queue, given up when dropped without a permit.
struct Place<'a> {
    inner: &'a Inner,
    chat: i64,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        let Some(chat) = state.chats.get_mut(&self.chat) else { return };
        let before = chat.waiting.len();
        chat.waiting.retain(|it| it.id != self.id);
        let gone = chat.waiting.len() != before;
        drop(state);
        if gone {
            self.inner.changed.notify_waiters();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let gap = Duration::from_millis(self.inner.limits.gap_ms);
        let mut state = self.inner.state();
        if let Some(chat) = state.chats.get_mut(&self.chat) {
            // The gap is counted from the end of the request, so that no network can squeeze two together.
            chat.free_at = chat.free_at.max(Some(Instant::now() + gap));
            if chat.in_flight.is_some_and(|(id, _)| id == self.id) {
                chat.in_flight = None;
            }
        }
        drop(state);
        self.inner.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const FORUM: i64 = -1;
    const PERSON: i64 = 7;

    type Log = Arc<Mutex<Vec<(String, u64)>>>;

    /// Lets `name` ask for a permit and notes when it got it.
    fn ask(
        limit: &RateLimit,
        log: &Log,
        start: Instant,
        name: &str,
        topic: i64,
        priority: Priority,
    ) {
        let (limit, log, name) = (limit.clone(), Arc::clone(log), name.to_owned());
        tokio::spawn(async move {
            let _permit = limit.permit(FORUM, topic, priority, 1).await;
            log.lock().unwrap().push((name, start.elapsed().as_millis() as u64));
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_of_a_group_has_18_requests_at_least_a_second_apart() {
        let limit = RateLimit::new(Limits::default());
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..40 {
            drop(limit.permit(FORUM, 1, Priority::Final, 1).await);
            times.push(start.elapsed());
        }
        for pair in times.windows(2) {
            assert!(pair[1] - pair[0] >= Duration::from_millis(1050));
        }
        for window in times.windows(19) {
            assert!(window[18] - window[0] >= MINUTE, "{:?}", window[18] - window[0]);
        }
        assert_eq!(limit.left(FORUM), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_more_urgent_goes_first() {
        let (limit, log, start) =
            (RateLimit::new(Limits::default()), Log::default(), Instant::now());
        let held = limit.permit(FORUM, 9, Priority::Final, 1).await;
        for (name, priority) in [
            ("preview", Priority::Preview),
            ("error", Priority::Error),
            ("status", Priority::FirstStatus),
            ("answer", Priority::Final),
            ("stop", Priority::Urgent),
        ] {
            ask(&limit, &log, start, name, 1, priority);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(held);
        tokio::time::sleep(MINUTE).await;
        let names: Vec<String> = log.lock().unwrap().iter().map(|it| it.0.clone()).collect();
        assert_eq!(names, ["stop", "answer", "status", "error", "preview"]);
    }

    #[tokio::test(start_paused = true)]
    async fn topics_of_equal_urgency_take_turns() {
        let (limit, log, start) =
            (RateLimit::new(Limits::default()), Log::default(), Instant::now());
        for n in 0..3 {
            ask(&limit, &log, start, &format!("a{n}"), 1, Priority::Final);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        ask(&limit, &log, start, "b", 2, Priority::Final);
        tokio::time::sleep(MINUTE).await;
        let names: Vec<String> = log.lock().unwrap().iter().map(|it| it.0.clone()).collect();
        assert_eq!(names, ["a0", "b", "a1", "a2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn previews_leave_room_for_answers() {
        let limit = RateLimit::new(Limits::default());
        let start = Instant::now();
        for topic in 0..10 {
            let limit = limit.clone();
            tokio::spawn(async move {
                loop {
                    drop(limit.permit(FORUM, topic, Priority::Preview, 1).await);
                }
            });
        }
        tokio::time::sleep(Duration::from_secs(40)).await;
        let asked = Instant::now();
        for n in 1..=8 {
            drop(limit.permit(FORUM, n, Priority::Final, 1).await);
        }
        assert!(asked.elapsed() < Duration::from_secs(12), "{:?}", asked.elapsed());
        assert!(start.elapsed() < MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_freezes_the_chat_and_no_other() {
        let limit = RateLimit::new(Limits::default());
        let start = Instant::now();
        limit.freeze(FORUM, Duration::from_secs(33));
        drop(limit.permit(PERSON, 0, Priority::Final, 1).await);
        assert_eq!(start.elapsed(), Duration::ZERO);
        drop(limit.permit(FORUM, 0, Priority::Urgent, 1).await);
        assert_eq!(start.elapsed(), Duration::from_secs(33));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_holds_nobody_up() {
        let limit = RateLimit::new(Limits::default());
        let held = limit.permit(FORUM, 1, Priority::Final, 1).await;
        let impatient = limit.permit(FORUM, 1, Priority::Urgent, 1);
        assert!(tokio::time::timeout(Duration::from_millis(10), impatient).await.is_err());
        drop(held);
        drop(limit.permit(FORUM, 1, Priority::Preview, 1).await);
    }

    /// A limit that is kept in `dir`, as a process that was just started has it.
    fn kept(dir: &tempfile::TempDir) -> RateLimit {
        RateLimit::kept(Limits::default(), dir.path().join("pace.json"))
    }

    #[tokio::test]
    async fn a_killed_process_forgets_nothing_that_was_spent() {
        let dir = tempfile::tempdir().unwrap();
        // The request is about to go out, and that is the last that happens.
        let begun = Instant::now();
        let permit = kept(&dir).permit(FORUM, 1, Priority::Final, 1).await;
        std::mem::forget(permit);
        let next = kept(&dir);
        assert_eq!(next.left(FORUM), Some(17));
        drop(next.permit(FORUM, 1, Priority::Urgent, 1).await);
        assert!(begun.elapsed() >= Duration::from_millis(1000), "{:?}", begun.elapsed());
        assert_eq!(kept(&dir).left(FORUM), Some(16));
    }

    #[tokio::test]
    async fn a_killed_process_forgets_no_freeze() {
        let dir = tempfile::tempdir().unwrap();
        let first = kept(&dir);
        first.freeze(FORUM, Duration::from_secs(13_938));
        first.freeze_reactions(PERSON, Duration::from_secs(300));
        let next = kept(&dir);
        assert!(next.is_frozen(FORUM) && !next.is_frozen(PERSON));
        let soon = Instant::now() + Duration::from_secs(13_900);
        assert!(next.try_reaction(FORUM).is_err_and(|it| it > soon));
        assert!(next.try_reaction(PERSON).is_err());
        drop(next.permit(PERSON, 0, Priority::Final, 1).await);
    }

    #[tokio::test(start_paused = true)]
    async fn reactions_have_a_pace_and_a_rest_of_their_own() {
        let limit = RateLimit::new(Limits::default());
        for _ in 0..5 {
            assert_eq!(limit.try_reaction(FORUM), Ok(()));
        }
        assert_eq!(limit.try_reaction(FORUM), Err(Instant::now() + SECOND));
        limit.freeze_reactions(FORUM, Duration::from_secs(25));
        let start = Instant::now();
        drop(limit.permit(FORUM, 1, Priority::Final, 1).await);
        assert_eq!(start.elapsed(), Duration::ZERO);
        limit.freeze(FORUM, Duration::from_secs(40));
        assert_eq!(limit.try_reaction(FORUM), Err(start + Duration::from_secs(40)));
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_crowd_statuses_leave_room_for_answers_and_a_stop_finds_room_always() {
        let limit = RateLimit::new(Limits::default());
        limit.set_busy(FORUM, (1..=12).collect());
        assert!(limit.is_crowded(FORUM));
        let start = Instant::now();
        for topic in 1..=9 {
            drop(limit.permit(FORUM, topic, Priority::FirstStatus, 1).await);
        }
        // Five at once, and four in the next 20 s.
        assert!(start.elapsed() < LOOKS_WINDOW * 3 / 2, "{:?}", start.elapsed());
        // Nine are left for answers; the next status has to wait for the window.
        let one_more = limit.permit(FORUM, 10, Priority::FirstStatus, 1);
        assert!(tokio::time::timeout(LOOKS_WINDOW, one_more).await.is_err());
        for topic in 1..=9 {
            drop(limit.permit(FORUM, topic, Priority::Final, 1).await);
        }
        assert!(start.elapsed() < MINUTE, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_spent_minute_has_room_for_a_stop() {
        let limit = RateLimit::new(Limits::default());
        let start = Instant::now();
        for _ in 0..18 {
            drop(limit.permit(FORUM, 1, Priority::Final, 1).await);
        }
        drop(limit.permit(FORUM, 1, Priority::Urgent, 1).await);
        assert!(start.elapsed() < MINUTE / 2, "{:?}", start.elapsed());
    }
}
