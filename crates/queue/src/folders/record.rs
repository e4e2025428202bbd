//! The text of a message file: a line for each state that was kept, the last of which counts, each with its checksum.
//!
//! A message is published as one line of JSON. What is kept while it is worked on is added as another line with one write
//! and one flush, because the file's name does not change; when that would make the file long, the file is replaced by
//! one line again. A power cut may tear the line that was being added: it has no newline at its end, or the bytes of it
//! never reached the disk and read as zeros. Nobody was told of that state, so the line before it counts. Whoever takes up
//! what a dead owner wrote flushes it before telling anybody of it.
//!
//! Everything else that does not fit its checksum was changed by something, and is no message: it is never guessed at.
//! A file without a checksum was written by hand, by a script or by an earlier version: it is as welcome as before, and
//! marked with `"unchecked": true` from then on.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tinyclaw_domain::Message;

use crate::work::SEAL_BYTES_MAX;

/// The field of the checksum, always the last one of a line that we write.
const FIELD: &str = "checksum";
/// The field that marks a message whose file had no checksum.
const UNCHECKED: &str = "unchecked";
/// So many bytes of the digest are written: against chance, not against somebody who means it.
const DIGEST_BYTES: usize = 8;
const BEFORE: &[u8] = b",\"checksum\":\"";
const AFTER: &[u8] = b"\"}";
/// What the checksum adds to the JSON of a message: as many bytes with the newline as are taken off without the brace.
const OVERHEAD: usize = BEFORE.len() + 2 * DIGEST_BYTES + AFTER.len();
const _: () = assert!(OVERHEAD <= SEAL_BYTES_MAX);

/// A message as it was read.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) message: Message,
    /// The bytes of the file up to the end of the line that counts. A torn line lies behind it.
    pub(super) length: usize,
    /// Whether that is a line of ours, behind which another may be added.
    pub(super) is_ours: bool,
}

/// The message that a file of the queue holds, and whether a checksum vouches for it; or what is wrong with the file. For
/// whoever checks files without working on them: the queue itself does so whenever it takes a message up.
pub fn message_in(bytes: &[u8]) -> Result<(Message, bool), String> {
    let message = read(bytes)?.message;
    let is_checked = !message.extra.contains_key(UNCHECKED);
    Ok((message, is_checked))
}

/// The line of a message, with its checksum and its newline.
pub(super) fn line_of(message: &Message) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(message).map(sealed)
}

/// The line of a message's JSON.
pub(super) fn sealed(json: Vec<u8>) -> Vec<u8> {
    let mut line = json;
    let digest = digest(&line);
    line.pop();
    line.extend_from_slice(BEFORE);
    line.extend_from_slice(digest.as_bytes());
    line.extend_from_slice(AFTER);
    line.push(b'\n');
    line
}

/// The message in a file's bytes, or what is wrong with them.
pub(super) fn read(bytes: &[u8]) -> Result<Record, String> {
    let (whole, tail) = match bytes.iter().rposition(|it| *it == b'\n') {
        Some(end) => bytes.split_at(end + 1),
        None => (&bytes[..0], bytes),
    };
    // Its newline alone may be what was torn off or changed: then the line is whole.
    let ends = [bytes.len(), bytes.len().saturating_sub(1)];
    let is_line = |end: &usize| *end >= whole.len() && is_whole(&bytes[whole.len()..*end]);
    if !tail.is_empty()
        && let Some(end) = ends.into_iter().find(is_line)
    {
        return Ok(Record { is_ours: false, ..record(&bytes[whole.len()..end], bytes.len())? });
    }
    let mut kept = whole;
    loop {
        let last = last_line(kept);
        if is_whole(last) {
            return record(last, kept.len());
        }
        if last.len() + 1 >= kept.len() || !is_torn(last) {
            break;
        }
        kept = &kept[..kept.len() - last.len() - 1];
    }
    if kept.len() < whole.len() {
        return Err(damaged());
    }
    by_hand(bytes)
}

/// Whether bytes of a line never reached the disk: they read as zeros, which JSON has none of. One alone may be a changed
/// byte, except the first: no bit makes a zero of a brace.
fn is_torn(line: &[u8]) -> bool {
    line.first() == Some(&0) || line.iter().filter(|it| **it == 0).count() > 1
}

/// The last line of bytes that end in a newline, without it.
fn last_line(lines: &[u8]) -> &[u8] {
    let lines = lines.strip_suffix(b"\n").unwrap_or(lines);
    let begin = lines.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
    &lines[begin..]
}

/// Whether a line carries a checksum that fits the rest of it.
fn is_whole(line: &[u8]) -> bool {
    split(line).is_some_and(|(rest, told)| digest(&rest) == told)
}

/// The JSON of a line without its checksum, and the checksum.
fn split(line: &[u8]) -> Option<(Vec<u8>, String)> {
    let (rest, end) = line.split_at_checked(line.len().checked_sub(OVERHEAD)?)?;
    let told = end.strip_prefix(BEFORE)?.strip_suffix(AFTER)?;
    let mut rest = rest.to_vec();
    rest.push(b'}');
    Some((rest, String::from_utf8(told.to_vec()).ok()?))
}

fn record(line: &[u8], length: usize) -> Result<Record, String> {
    let (rest, _) = split(line).ok_or_else(damaged)?;
    let message = serde_json::from_slice(&rest).map_err(|err| not_one(&err))?;
    Ok(Record { message, length, is_ours: true })
}

/// One JSON object in whatever layout, as a person or a script writes it.
fn by_hand(bytes: &[u8]) -> Result<Record, String> {
    let object: Result<Map<String, Value>, _> = serde_json::from_slice(bytes);
    let mut object = object.map_err(|err| not_one(&err))?;
    check_object(&mut object)?;
    let message = serde_json::from_value(Value::Object(object)).map_err(|err| not_one(&err))?;
    Ok(Record { message, length: bytes.len(), is_ours: false })
}

/// Takes the checksum out of an object. One that has none is marked, and one that does not fit it is refused.
pub(super) fn check_object(object: &mut Map<String, Value>) -> Result<(), String> {
    match object.shift_remove(FIELD) {
        None => {
            object.insert(UNCHECKED.to_owned(), true.into());
            Ok(())
        }
        Some(told) => {
            let rest = serde_json::to_vec(object).map_err(|err| not_one(&err))?;
            if told == digest(&rest).as_str() { Ok(()) } else { Err(damaged()) }
        }
    }
}

fn digest(json: &[u8]) -> String {
    let mut digest = Sha256::new();
    // What the object stands for and does not say itself: nothing. The same sum as every other file of ours has.
    digest.update([0]);
    digest.update(json);
    digest.finalize().iter().take(DIGEST_BYTES).map(|it| format!("{it:02x}")).collect()
}

fn not_one(err: &serde_json::Error) -> String {
    format!("it is not a message: {err}")
}

fn damaged() -> String {
    "its checksum does not fit, so something changed it; whoever changed it by hand takes out its \"checksum\""
        .to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tinyclaw_domain::{Channel, Checkpoint, Delivery, Reply};

    use super::*;

    /// A message's file at every stage of its life: each state a line behind the ones before.
    fn life() -> Vec<(Message, Vec<u8>)> {
        let (key, thread) = ("tg-812345678".parse().unwrap(), "42".parse().unwrap());
        let mut message =
            Message::new(key, Channel::Telegram, thread, "Grüße, \"Bob\"\n", 1_771_234_567_890);
        let mut stages = Vec::new();
        let mut file = Vec::new();
        let mut keep = |message: &Message| {
            file.extend(line_of(message).unwrap());
            stages.push((message.clone(), file.clone()));
        };
        keep(&message);
        message.checkpoint = Some(Checkpoint {
            session_id: "0b8f6f0e-5a3c-4c86-9f0e-1d2c3b4a5968".parse().unwrap(),
            turn_uuid: "u".to_owned(),
            used_tools: true,
            follow_ups: vec![],
            files: vec![],
            calls: Default::default(),
        });
        keep(&message);
        message.reply = Some(Reply { text: "hi".to_owned(), cost_usd: 0.25, ..Reply::default() });
        keep(&message);
        let part = Delivery { part: 1, intent: 5, telegram_message_id: Some(78), marked: false };
        message.delivery.push(part);
        keep(&message);
        stages
    }

    #[test]
    fn the_last_state_counts_and_is_read_as_it_was_kept() {
        for (message, file) in life() {
            let read = read(&file).unwrap();
            assert_eq!((read.message, read.length), (message, file.len()));
        }
    }

    /// A third of all flipped bits went unseen: another text, another answer, another topic, a checkpoint forgotten.
    #[test]
    fn no_flipped_bit_of_a_message_file_is_taken_for_another_message() {
        let mut refused = 0;
        let mut accepted = 0;
        for (message, file) in life() {
            for bit in 0..file.len() * 8 {
                let mut flipped = file.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                match read(&flipped) {
                    Err(_) => refused += 1,
                    Ok(mut it) => {
                        accepted += 1;
                        // Only a state that does not count any more, the last newline, or the name of the checksum.
                        let is_marked = it.message.extra.shift_remove(UNCHECKED).is_some();
                        it.message.extra.retain(|_, value| {
                            !(is_marked && value.as_str().is_some_and(|it| it.len() == 16))
                        });
                        assert_eq!(it.message, message, "bit {bit} of {}", file.len());
                    }
                }
            }
        }
        assert!(refused > 10_000 && accepted > 1_000, "{refused} refused, {accepted} harmless");
    }

    #[test]
    fn a_line_that_a_power_cut_tore_leaves_the_state_before_it() {
        let stages = life();
        for pair in stages.windows(2) {
            let ((before, old), (after, new)) = (&pair[0], &pair[1]);
            for length in old.len()..new.len() {
                let torn = read(&new[..length]).unwrap();
                // Without its newline alone the line is whole already.
                let wanted = if length + 1 == new.len() { after } else { before };
                assert_eq!(&torn.message, wanted, "{length} of {}", new.len());
                let mut zeros = new[..length].to_vec();
                zeros.resize(new.len(), 0);
                if length + 2 < new.len() {
                    let torn = read(&zeros).unwrap();
                    assert_eq!((&torn.message, torn.length), (before, old.len()), "{length}");
                }
            }
        }
    }

    /// A disk writes the pieces of a file in any order, and a piece may begin at any byte of a line.
    #[test]
    fn a_line_whose_beginning_never_reached_the_disk_leaves_the_state_before_it() {
        let stages = life();
        for pair in stages.windows(2) {
            let ((before, old), (_, new)) = (&pair[0], &pair[1]);
            for lost in 1..new.len() - old.len() {
                let mut torn = new.clone();
                torn[old.len()..old.len() + lost].fill(0);
                let read = read(&torn).unwrap_or_else(|why| panic!("{lost} bytes: {why}"));
                assert_eq!((&read.message, read.length), (before, old.len()), "{lost}");
            }
        }
    }

    /// Its owner died before the flush, and the power failed at the next owner's.
    #[test]
    fn two_lines_that_never_reached_the_disk_leave_the_state_before_both() {
        let stages = life();
        let (kept, first, second) = (&stages[1], stages[2].1.len(), &stages[3].1);
        let mut torn = second.clone();
        torn[kept.1.len() + 10..first - 1].fill(0);
        torn[first + 10..second.len() - 1].fill(0);
        let read = read(&torn).unwrap();
        assert_eq!((&read.message, read.length), (&kept.0, kept.1.len()));
    }

    #[test]
    fn what_a_person_wrote_is_welcome_and_marked_and_what_was_changed_is_not() {
        let (message, line) = life().remove(0);
        let plain = serde_json::to_string_pretty(&message).unwrap();
        let read_plain = read(plain.as_bytes()).unwrap().message;
        assert_eq!(read_plain.extra[UNCHECKED], true);
        assert_eq!(read_plain.message, message.message);
        // Laid out anew, a sum still fits; changed, it does not, and the way out is told.
        let object: Map<String, Value> = serde_json::from_slice(&line).unwrap();
        let pretty = serde_json::to_string_pretty(&object).unwrap();
        assert_eq!(read(pretty.as_bytes()).unwrap().message, message);
        let why = read(pretty.replace("Bob", "Eve").as_bytes()).unwrap_err();
        assert!(why.contains("takes out its \"checksum\""), "{why}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_a_message_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes);
        }

        /// A few bytes of a real file changed, cut out or put in: what is read is one of its states, or nothing.
        #[test]
        fn a_mangled_file_is_never_another_message(
            stage in 0..4_usize,
            at in any::<prop::sample::Index>(),
            gone in 0..40_usize,
            put in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let stages = life();
            let mut file = stages[stage].1.clone();
            let at = at.index(file.len());
            let gone = gone.min(file.len() - at);
            file.splice(at..at + gone, put);
            if let Ok(it) = read(&file)
                && !it.message.extra.contains_key(UNCHECKED)
            {
                prop_assert!(stages.iter().any(|(known, _)| *known == it.message));
            }
        }
    }
}
