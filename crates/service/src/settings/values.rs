//! What a setting's value may look like: each kind reads text, says what it expects, and refuses the rest.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use secrecy::SecretString;

use super::read::Source;

/// A kind of value. `Out` is what the service gets.
pub trait Value {
    /// The type in the settings.
    type Out: Send + Sync + 'static;
    /// What a value looks like, as words that follow "expected".
    fn looks() -> &'static str;
    /// Whether it may come from a file and is never shown.
    const IS_SECRET: bool = false;
    /// The value, or `None` when `given` does not look like one.
    fn read(given: &Source) -> Option<Self::Out>;
    /// What it is when nothing was set, where that is allowed.
    fn absent() -> Option<Self::Out> {
        None
    }
}

/// A kind that reads one piece of text.
macro_rules! one {
    ($(#[$doc:meta])* $Name:ident $(<$(const $N:ident: u64),*>)? -> $Out:ty, $looks:expr, |$text:ident| $read:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $Name $(<$(const $N: u64),*>)?;
        impl $(<$(const $N: u64),*>)? Value for $Name $(<$($N),*>)? {
            type Out = $Out;
            fn looks() -> &'static str {
                $looks
            }
            fn read(given: &Source) -> Option<$Out> {
                let $text = given.one()?.trim();
                $read
            }
        }
    };
}

one!(
    /// Any text that is not empty.
    Text -> String, "text", |text| (!text.is_empty()).then(|| text.to_owned())
);
one!(
    /// Yes or no.
    Flag -> bool, "true or false", |text| match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
);
one!(
    /// A number of things.
    Whole<const MIN: u64, const MAX: u64> -> u64,
    leak(format!("a whole number from {MIN} to {MAX}")),
    |text| text.parse().ok().filter(|it| (MIN..=MAX).contains(it))
);
one!(
    /// An amount of US dollars.
    Number -> f64, "an amount in US dollars, such as 2.50",
    |text| text.trim_start_matches('$').parse().ok().filter(|it: &f64| it.is_finite() && *it >= 0.0)
);
one!(
    /// A Telegram id: of a user, or of a chat, where groups are negative.
    TelegramId -> i64, "a Telegram id, such as 123456789 or -1001234567890",
    |text| text.parse().ok().filter(|it| *it != 0)
);
one!(
    /// Where a file or folder is; `~/` is the home folder of whoever runs the service.
    PathTo -> PathBuf, "a path", |text| match text.strip_prefix("~/") {
        Some(rest) => std::env::home_dir().map(|it| it.join(rest)),
        None => (!text.is_empty()).then(|| PathBuf::from(text)),
    }
);
one!(
    /// The base of an HTTP address, without the slash at its end.
    Url -> String, "an address that begins with http:// or https://",
    |text| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        let is_host = rest.starts_with(|it: char| it.is_ascii_alphanumeric() || it == '[');
        let is_clean = !text.contains(|it: char| it.is_whitespace() || it.is_control());
        (is_host && is_clean).then(|| text.trim_end_matches('/').to_owned())
    }
);
one!(
    /// Where to listen.
    Address -> SocketAddr, "an address and port, such as 127.0.0.1:3100", |text| text.parse().ok()
);
one!(
    /// The office's time zone.
    OfficeZone -> TimeZone, "a time zone, such as Europe/Berlin or UTC",
    |text| TimeZone::get(text).ok()
);
one!(
    /// A time of day.
    TimeOfDay -> Time, "a time of day, such as 04:00", |text| time_of_day(text)
);
one!(
    /// How long, from `MIN` to `MAX` seconds. A plain number is seconds, as in the original.
    Span<const MIN: u64, const MAX: u64> -> Duration,
    leak(format!("a duration from {} to {}, such as 90s, 30m, 2h or 7d", spell_out(Duration::from_secs(MIN)), spell_out(Duration::from_secs(MAX)))),
    |text| span(text).filter(|it| (MIN..=MAX).contains(&it.as_secs()))
);
one!(
    /// How long something is kept; `None` is for ever.
    Keep -> Option<Duration>, "a duration such as 30d, or forever",
    |text| match text {
        "forever" => Some(None),
        text => span(text).filter(|it| it.as_secs() >= 60).map(Some),
    }
);
one!(
    /// The hours in which nobody wants to hear of anything.
    QuietHoursOf -> QuietHours, "two times of day, such as 22:00-07:00",
    |text| {
        let (from, to) = text.split_once(['-', '–'])?;
        Some(QuietHours { from: time_of_day(from.trim())?, to: time_of_day(to.trim())? })
    }
);
one!(
    /// How much is logged.
    LogLevel -> String, "error, warn, info, debug, trace, or a list such as info,tinyclaw_queue=debug",
    |text| crate::logs::check_level(text).ok().map(|()| text.to_owned())
);

/// A span of the day, across midnight when `from` is later than `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    /// The first quiet minute.
    pub from: Time,
    /// The first minute after it.
    pub to: Time,
}

impl QuietHours {
    /// Whether `time` is one of the quiet hours.
    pub fn contains(self, time: Time) -> bool {
        if self.from <= self.to {
            (self.from..self.to).contains(&time)
        } else {
            time >= self.from || time < self.to
        }
    }
}

/// A secret: never shown, and taken out of every log line from the moment it is read.
#[derive(Debug)]
pub struct Secret;
impl Value for Secret {
    type Out = SecretString;
    const IS_SECRET: bool = true;
    fn looks() -> &'static str {
        "a secret of one line"
    }
    fn read(given: &Source) -> Option<SecretString> {
        let text = given.one()?.trim();
        if text.is_empty() || text.contains(char::is_control) {
            return None;
        }
        crate::conceal_from_now_on(text);
        Some(SecretString::from(text))
    }
}

/// A value that may be missing.
#[derive(Debug)]
pub struct Optional<V>(V);
impl<V: Value> Value for Optional<V> {
    type Out = Option<V::Out>;
    const IS_SECRET: bool = V::IS_SECRET;
    fn looks() -> &'static str {
        V::looks()
    }
    fn read(given: &Source) -> Option<Option<V::Out>> {
        V::read(given).map(Some)
    }
    fn absent() -> Option<Option<V::Out>> {
        Some(None)
    }
}

/// Several values: a JSON array, or text with commas between them, each quoted or plain.
#[derive(Debug)]
pub struct List<V>(V);
impl<V: Value> Value for List<V> {
    type Out = Vec<V::Out>;
    fn looks() -> &'static str {
        leak(format!("a list, with commas between, of: {}", V::looks()))
    }
    fn read(given: &Source) -> Option<Vec<V::Out>> {
        let parts: Vec<String> = match given {
            Source::One(text) => {
                let text = text.trim();
                let inner = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
                let parts = inner.unwrap_or(text).split([',', '\n']);
                parts.map(|it| it.trim().trim_matches(['"', '\'']).trim().to_owned()).collect()
            }
            Source::Many(parts) => parts.clone(),
            Source::Map(_) | Source::Nested(_) => return None,
        };
        let parts = parts.into_iter().filter(|it| !it.is_empty());
        parts.map(|it| V::read(&Source::One(it))).collect()
    }
    fn absent() -> Option<Vec<V::Out>> {
        Some(Vec::new())
    }
}

/// Values by name: a JSON object, or `7=2h, u12=off` as text.
#[derive(Debug)]
pub struct MapOf<V>(V);
impl<V: Value> Value for MapOf<V> {
    type Out = BTreeMap<String, V::Out>;
    fn looks() -> &'static str {
        leak(format!("an object, or text such as name=value,name=value, of: {}", V::looks()))
    }
    fn read(given: &Source) -> Option<Self::Out> {
        let pair = |it: &str| {
            let (name, value) = it.split_once('=')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        let pairs: Vec<(String, String)> = match given {
            Source::Map(map) => map.clone().into_iter().collect(),
            Source::One(text) => {
                let parts = text.split(',').filter(|it| !it.trim().is_empty());
                parts.map(pair).collect::<Option<_>>()?
            }
            Source::Many(_) | Source::Nested(_) => return None,
        };
        pairs.into_iter().map(|(name, text)| Some((name, V::read(&Source::One(text))?))).collect()
    }
    fn absent() -> Option<Self::Out> {
        Some(BTreeMap::new())
    }
}

/// Objects by name, whose shape somebody else knows.
#[derive(Debug)]
pub struct Objects;
impl Value for Objects {
    type Out = BTreeMap<String, serde_json::Value>;
    fn looks() -> &'static str {
        "an object of objects, as JSON"
    }
    fn read(given: &Source) -> Option<Self::Out> {
        let objects = match given {
            Source::Nested(map) => map.clone(),
            Source::Map(map) if map.is_empty() => serde_json::Map::new(),
            Source::One(text) => serde_json::from_str(text).ok()?,
            Source::Map(_) | Source::Many(_) => return None,
        };
        objects.into_iter().map(|(name, it)| it.is_object().then_some((name, it))).collect()
    }
    fn absent() -> Option<Self::Out> {
        Some(BTreeMap::new())
    }
}

/// A value for each tier of messages: an object or `SIMPLE=…,MEDIUM=…,COMPLEX=…`, of which some may be missing, or one value for all.
#[derive(Debug)]
pub struct ByTier<V>(V);
impl<V: Value> Value for ByTier<V> {
    type Out = BTreeMap<String, V::Out>;
    fn looks() -> &'static str {
        leak(format!("for each of SIMPLE, MEDIUM and COMPLEX, or one for all: {}", V::looks()))
    }
    fn read(given: &Source) -> Option<Self::Out> {
        if let Source::One(text) = given
            && !text.contains('=')
        {
            return TIERS.iter().map(|it| Some(((*it).to_owned(), V::read(given)?))).collect();
        }
        let all = MapOf::<V>::read(given)?;
        all.keys().all(|it| TIERS.contains(&it.as_str())).then_some(all)
    }
    fn absent() -> Option<Self::Out> {
        Some(BTreeMap::new())
    }
}

/// The tiers of messages, as they are written.
const TIERS: [&str; 3] = ["SIMPLE", "MEDIUM", "COMPLEX"];

/// A value, or `off`, which is `None`.
#[derive(Debug)]
pub struct OrOff<V>(V);
impl<V: Value> Value for OrOff<V> {
    type Out = Option<V::Out>;
    fn looks() -> &'static str {
        leak(format!("off, or {}", V::looks()))
    }
    fn read(given: &Source) -> Option<Option<V::Out>> {
        match given.one()?.trim() {
            "off" | "false" => Some(None),
            _ => V::read(given).map(Some),
        }
    }
}

/// One of a few words.
#[derive(Debug)]
pub struct OneOf<W>(W);

/// A type whose values are words.
pub trait Words: Copy + Send + Sync + 'static {
    /// All of them, with how each is written.
    const ALL: &'static [(&'static str, Self)];
}

impl<W: Words> Value for OneOf<W> {
    type Out = W;
    fn looks() -> &'static str {
        let words: Vec<&str> = W::ALL.iter().map(|(word, _)| *word).collect();
        leak(words.join(" or "))
    }
    fn read(given: &Source) -> Option<W> {
        let text = given.one()?.trim();
        W::ALL.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, it)| *it)
    }
}

macro_rules! words {
    ($(#[doc = $doc:literal])* $Name:ident { $(#[doc = $about:literal] $Word:ident = $text:literal),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $Name { $(#[doc = $about] $Word),* }
        impl Words for $Name {
            const ALL: &'static [(&'static str, $Name)] = &[$(($text, $Name::$Word)),*];
        }
        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $($Name::$Word => $text),* })
            }
        }
    };
}

words! {
    /// Who answers.
    EngineKind {
        /// The `claude` CLI.
        Claude = "claude",
        /// The demo engine: it needs no account and says plainly that it is a demo.
        Demo = "demo",
    }
}
words! {
    /// How Claude's processes are kept.
    EngineMode {
        /// One process a thread, kept between messages.
        Warm = "warm",
        /// One process a message.
        Spawn = "spawn",
    }
}
words! {
    /// What Claude may do in a new thread without asking.
    Permission {
        /// Ask for whatever changes something.
        Ask = "ask",
        /// Edit files below the thread's directory without asking.
        AcceptEdits = "acceptEdits",
        /// Never ask.
        Bypass = "bypass",
    }
}
words! {
    /// Whether Claude is confined to what it needs, by the kernel.
    Landlock {
        /// Where the kernel can.
        Auto = "auto",
        /// Always: where the kernel cannot, Claude does not start.
        On = "on",
        /// Not at all.
        Off = "off",
    }
}
words! {
    /// One of the places that Claude's own settings come from.
    SettingSource {
        /// Its home.
        User = "user",
        /// The repository it works in.
        Project = "project",
        /// The same, where git does not look.
        Local = "local",
    }
}
words! {
    /// How hard Claude thinks.
    Effort {
        /// Hardly.
        Low = "low",
        /// Somewhat.
        Medium = "medium",
        /// As hard as most work wants.
        High = "high",
        /// Harder.
        XHigh = "xhigh",
        /// As hard as it can.
        Max = "max",
    }
}
words! {
    /// How long the API keeps what it has read of a conversation.
    PromptCache {
        /// Five minutes.
        FiveMinutes = "5m",
        /// An hour, for a dearer write.
        OneHour = "1h",
    }
}
words! {
    /// When an answer shows what it cost.
    CostLine {
        /// Under every answer.
        Always = "always",
        /// When it cost more than `telegram.costOver`.
        Over = "over",
        /// Never; `/cost` tells.
        Never = "never",
    }
}

/// `HH:MM`, and nothing looser.
fn time_of_day(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let is_number =
        |it: &str| (1..=2).contains(&it.len()) && it.bytes().all(|it| it.is_ascii_digit());
    if !is_number(hour) || !is_number(minute) || minute.len() != 2 {
        return None;
    }
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

fn span(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(|it| it.is_ascii_digit()).count();
    let (number, unit) = text.split_at(digits);
    let seconds = match unit.trim() {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
}

/// A duration as a setting would say it: `90s`, `30m`, `2h`, `7d`.
pub fn spell_out(it: Duration) -> String {
    match it.as_secs() {
        0 => "0s".to_owned(),
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// What a kind expects is said from the table, which lives as long as the process; each kind's words are made once.
fn leak(text: String) -> &'static str {
    use std::sync::{Mutex, PoisonError};
    static MADE: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = made.iter().find(|it| **it == text) {
        return known;
    }
    let text: &'static str = Box::leak(text.into_boxed_str());
    made.push(text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<V: Value>(text: &str) -> Option<V::Out> {
        V::read(&Source::One(text.to_owned()))
    }

    #[test]
    fn durations_say_their_unit_or_are_seconds() {
        for (text, secs) in
            [("300", 300), ("90s", 90), ("30m", 1800), ("2h", 7200), ("7d", 604_800)]
        {
            let it = read::<Span<0, 1_000_000>>(text).unwrap();
            assert_eq!(it.as_secs(), secs);
            assert_eq!(read::<Span<0, 1_000_000>>(&spell_out(it)), Some(it));
        }
        for text in ["", "m", "-5", "1.5h", "5 weeks", "99999999999999999999d"] {
            assert_eq!(read::<Span<0, 1_000_000>>(text), None, "{text}");
        }
    }

    #[test]
    fn allowed_users_are_read_quoted_and_plain() {
        for text in [
            "\"123456789\", \"987654321\"",
            "123456789,987654321",
            "[\"123456789\",987654321]",
            "123456789\n987654321\n",
        ] {
            assert_eq!(
                read::<List<TelegramId>>(text),
                Some(vec![123_456_789, 987_654_321]),
                "{text}"
            );
        }
        assert_eq!(read::<List<TelegramId>>("Ada"), None);
        assert_eq!(read::<List<TelegramId>>(""), Some(vec![]));
    }

    #[test]
    fn quiet_hours_cross_midnight() {
        let night = read::<QuietHoursOf>("22:00-07:00").unwrap();
        let at = |hour| Time::constant(hour, 0, 0, 0);
        assert!(night.contains(at(22)) && night.contains(at(3)) && !night.contains(at(7)));
        assert_eq!(read::<QuietHoursOf>("25:00-07:00"), None);
    }

    #[test]
    fn the_same_time_twice_is_no_quiet_hour() {
        let none = read::<QuietHoursOf>("00:00-00:00").unwrap();
        assert!((0..24).all(|hour| !none.contains(Time::constant(hour, 0, 0, 0))));
    }

    #[test]
    fn addresses_lose_their_last_slash_and_need_a_host() {
        assert_eq!(read::<Url>("http://broker:3000/").as_deref(), Some("http://broker:3000"));
        for text in ["broker:3000", "http://", "ftp://x", "http://a b"] {
            assert_eq!(read::<Url>(text), None, "{text}");
        }
    }
}
