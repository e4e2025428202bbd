//! Words of politeness at either end of an order: "please", "bitte", "请". They say nothing of what is to be done, so they are
//! taken out of what is scored. In the middle of an order a word stays, and so does one that is all that was said. What makes
//! a question of an order ("could you …") is no business of this.

use crate::fold::Folder;
use crate::zones::{Kind, Zone};

/// As they are written at an end of an order.
const WORDS: [&str; 37] = [
    "please",
    "pls",
    "plz",
    "kindly",
    "bitte",
    "s'il te plaît",
    "s'il te plait",
    "s'il vous plaît",
    "s'il vous plait",
    "stp",
    "svp",
    "por favor",
    "porfa",
    "per favore",
    "per piacere",
    "alsjeblieft",
    "alstublieft",
    "aub",
    "snälla",
    "vær så snill",
    "proszę",
    "prosím",
    "пожалуйста",
    "пожалуста",
    "будь ласка",
    "моля",
    "lütfen",
    "làm ơn",
    "tolong",
    "mohon",
    "請",
    "请",
    "麻烦你",
    "お願いします",
    "제발",
    "من فضلك",
    "בבקשה",
];
/// What stands between such a word and the order.
const BETWEEN: [char; 8] = [' ', '\n', ',', ':', '，', '、', '،', '-'];
/// What may stand behind one that ends an order.
const STOPS: [char; 7] = [' ', '\n', '.', '!', '。', '！', '…'];
const MARKS: [char; 3] = ['?', '？', '؟'];

/// The words, folded as messages are.
#[derive(Debug, Clone)]
pub(super) struct Politeness(Vec<String>);

impl Politeness {
    pub(super) fn new(folder: &Folder) -> Politeness {
        let mut words: Vec<String> = WORDS.iter().map(|it| folder.phrase(it)).collect();
        // The longest first: of two that fit, the whole one is meant.
        words.sort_by_key(|it| std::cmp::Reverse(it.len()));
        Politeness(words)
    }

    /// Makes envelopes of the polite words at both ends of the order that these zones of the folded `text` hold.
    pub(super) fn peel(&self, text: &str, zones: Vec<Zone>) -> Vec<Zone> {
        let says = |it: &&Zone| {
            it.kind == Kind::Instruction && text[it.start..it.end].contains(char::is_alphanumeric)
        };
        let Some((first, last)) = zones.iter().find(says).zip(zones.iter().rfind(says)) else {
            return zones;
        };
        let start = self.begin(text, *first);
        let (end, resumed) = self.finish(text, *last);
        let is_whole = start == first.start && end == last.end;
        let nothing_left =
            first == last && (start >= end || !text[start..end].contains(char::is_alphanumeric));
        if is_whole || nothing_left {
            return zones;
        }
        let (first, last) = (*first, *last);
        let mut out = Vec::with_capacity(zones.len() + 4);
        for zone in zones {
            let from = if zone == first { start } else { zone.start };
            let (to, again) = if zone == last { (end, resumed) } else { (zone.end, zone.end) };
            let pieces = [
                (Kind::Envelope, zone.start, from),
                (zone.kind, from, to),
                (Kind::Envelope, to, again),
                (zone.kind, again, zone.end),
            ];
            let pieces = pieces.into_iter().filter(|(_, start, end)| start < end);
            out.extend(pieces.map(|(kind, start, end)| Zone { kind, start, end }));
        }
        out
    }

    /// Where the order begins behind the polite words.
    fn begin(&self, text: &str, zone: Zone) -> usize {
        let mut at = zone.start;
        loop {
            let rest = &text[at..zone.end];
            let said = rest.trim_start_matches(BETWEEN);
            let Some(after) = self.0.iter().find_map(|it| said.strip_prefix(it.as_str())) else {
                return at;
            };
            let is_word = said.len() == after.len()
                || !joins(
                    said[..said.len() - after.len()].chars().next_back(),
                    after.chars().next(),
                );
            if !is_word {
                return at;
            }
            at = zone.end - after.trim_start_matches(BETWEEN).len();
        }
    }

    /// Where the order ends before the polite words, and where it goes on behind them: a question keeps its mark.
    fn finish(&self, text: &str, zone: Zone) -> (usize, usize) {
        let (mut end, mut resumed) = (zone.end, zone.end);
        loop {
            let rest = &text[zone.start..end];
            let said = rest.trim_end_matches(STOPS);
            let bare = said.trim_end_matches(|it| MARKS.contains(&it) || STOPS.contains(&it));
            let Some(before) = self.0.iter().find_map(|it| bare.strip_suffix(it.as_str())) else {
                return (end, resumed);
            };
            if joins(before.chars().next_back(), bare[before.len()..].chars().next()) {
                return (end, resumed);
            }
            if bare.len() < said.len() && resumed == zone.end {
                resumed = zone.start + bare.len();
            }
            end = zone.start + before.trim_end_matches(BETWEEN).len();
        }
    }
}

/// Whether two characters belong to one word. Where words are not spaced, none does.
fn joins(left: Option<char>, right: Option<char>) -> bool {
    let is_spaced = |it: char| it.is_alphanumeric() && !crate::fold::is_unspaced(it);
    left.is_some_and(is_spaced) && right.is_some_and(is_spaced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::Folded;
    use crate::zones::split;

    fn left(text: &str) -> String {
        let (folder, mut folded) = (Folder::new(), Folded::default());
        folder.append(&mut folded, text, 0, text.len());
        let zones = Politeness::new(&folder).peel(&folded.text, split(&folded.text));
        let mut at = 0;
        for zone in &zones {
            assert!(at <= zone.start && zone.start < zone.end, "{zones:?} of {text:?}");
            at = zone.end;
        }
        let said = zones.iter().filter(|it| it.kind == Kind::Instruction);
        said.map(|it| &folded.text[it.start..it.end]).collect()
    }

    #[test]
    fn politeness_at_an_end_is_no_part_of_the_order() {
        for (text, order) in [
            ("please add dark mode", "add dark mode"),
            ("Add dark mode, please.", "add dark mode"),
            ("pls please, add dark mode pls!", "add dark mode"),
            ("which branch is it, please?", "which branch is it?"),
            ("bitte auf Produktion ausrollen", "auf produktion ausrollen"),
            ("请部署到生产环境", "部署到生产环境"),
            // A word in the middle, a word that only begins alike, and one that is all.
            ("say please to the user", "say please to the user"),
            ("pleased with it", "pleased with it"),
            ("fix the pls", "fix the"),
            ("please", "please"),
            ("pls pls!", "pls pls!"),
            ("", ""),
        ] {
            assert_eq!(left(text), order, "{text:?}");
        }
    }
}
