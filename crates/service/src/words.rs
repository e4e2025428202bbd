//! Numbers as people say them, in one place: which one in a row, sizes, and lengths of time.

/// `1st`, `2nd`, `3rd`, `4th`, `11th`.
pub fn ordinal(number: u64) -> String {
    let ending = match (number % 10, number % 100) {
        (1, it) if it != 11 => "st",
        (2, it) if it != 12 => "nd",
        (3, it) if it != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// A size in megabytes or gigabytes of a thousand each: `0.5 MB`, `12.0 GB`.
pub fn bytes(count: u64) -> String {
    match count {
        it if it >= 1_000_000_000 => format!("{:.1} GB", it as f64 / 1e9),
        it => format!("{:.1} MB", it as f64 / 1e6),
    }
}

/// A length of time in one unit, days from the second on: `12 s`, `3 min`, `47 h`, `2 d`.
pub fn span(ms: u64) -> String {
    match ms / 1_000 {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3_600 => format!("{} min", s / 60),
        s @ 3_600..172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

/// How long ago something was: `now`, or a length of time in one unit.
pub fn ago(ms: u64) -> String {
    if ms < 1_000 { "now".to_owned() } else { span(ms) }
}

/// A length of time to the minute, while somebody waits for its end: `90 s`, `4 min`, `2 h 5 min`.
pub fn lasted(ms: u64) -> String {
    let seconds = ms / 1_000;
    match (seconds / 3_600, seconds / 60 % 60) {
        (0, 0 | 1) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_read_well() {
        let all: Vec<String> =
            [1, 2, 3, 4, 11, 12, 13, 21, 22, 111].into_iter().map(ordinal).collect();
        assert_eq!(
            all,
            ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "111th"]
        );
    }

    #[test]
    fn lengths_of_time_have_their_unit() {
        let spans = [0, 59_999, 60_000, 3_600_000, 172_799_000, 172_800_000].map(span);
        assert_eq!(spans, ["0 s", "59 s", "1 min", "1 h", "47 h", "2 d"]);
        assert_eq!([ago(999), ago(1_000)], ["now", "1 s"]);
        let lasted = [90_000, 240_000, 7_500_000, 7_200_000].map(lasted);
        assert_eq!(lasted, ["90 s", "4 min", "2 h 5 min", "2 h"]);
        assert_eq!([bytes(500_000), bytes(12_000_000_000)], ["0.5 MB", "12.0 GB"]);
    }
}
