//! A checksum in a JSON object: a field over all the others, added by whoever saves the object and checked by whoever
//! reads it.
//!
//! It finds what a disk or a cable changed, not what somebody changed on purpose: whoever can write the file can write
//! its checksum too. An object without one is as welcome as before; people write such files by hand.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The field.
pub const CHECKSUM: &str = "checksum";
/// So many bytes of the digest are written. 64 bits are plenty against chance.
const DIGEST_BYTES: usize = 8;

/// What the checksum of an object says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// It is what was saved.
    Whole,
    /// It has none: an earlier version, a script or a person wrote it.
    Unmarked,
    /// It is not what was saved.
    Damaged,
}

/// Adds the checksum to an object that is about to be written, in place of any that it has. `subject` is what the object
/// stands for and does not say itself, such as its key in a larger one; empty when there is nothing of the kind.
pub fn add(subject: &str, object: &mut Map<String, Value>) {
    object.shift_remove(CHECKSUM);
    let text = digest(subject, &reread(object));
    object.insert(CHECKSUM.to_owned(), text.into());
}

/// Takes the checksum out of an object as it was read from a file, and says whether it fits the rest.
pub fn take(subject: &str, object: &mut Map<String, Value>) -> Checked {
    match object.shift_remove(CHECKSUM) {
        None => Checked::Unmarked,
        Some(Value::String(it)) if it == digest(subject, object) => Checked::Whole,
        Some(_) => Checked::Damaged,
    }
}

/// A value as a line of a log, with its checksum. One that is no object is written as it is.
pub fn to_line<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut value = serde_json::to_value(value)?;
    if let Value::Object(object) = &mut value {
        add("", object);
    }
    serde_json::to_vec(&value)
}

/// The value of a line; `None` when the line is torn, damaged, or of another shape.
pub fn of_line<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let mut object: Map<String, Value> = serde_json::from_slice(line).ok()?;
    if take("", &mut object) == Checked::Damaged {
        return None;
    }
    serde_json::from_value(Value::Object(object)).ok()
}

/// The object as whoever reads the file will see it: a number may lose its last digit on the way.
fn reread(object: &Map<String, Value>) -> Cow<'_, Map<String, Value>> {
    if !object.values().any(has_fraction) {
        return Cow::Borrowed(object);
    }
    serde_json::from_str(&text_of(object)).map_or(Cow::Borrowed(object), Cow::Owned)
}

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(all) => all.iter().any(has_fraction),
        Value::Object(fields) => fields.values().any(has_fraction),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

fn digest(subject: &str, object: &Map<String, Value>) -> String {
    let mut digest = Sha256::new();
    digest.update(subject);
    digest.update([0]);
    digest.update(text_of(object));
    digest.finalize().iter().take(DIGEST_BYTES).map(|it| format!("{it:02x}")).collect()
}

fn text_of(object: &Map<String, Value>) -> String {
    // An object whose keys are strings can always be written.
    serde_json::to_string(object).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_was_saved_is_whole_and_what_has_no_checksum_is_welcome() {
        let plain =
            object(r#"{"name": "calendar", "sums": [0.1, 1e300, -0.0, 123456789.123456789]}"#);
        let mut saved = plain.clone();
        add("7", &mut saved);
        for text in [serde_json::to_string(&saved), serde_json::to_string_pretty(&saved)] {
            let mut read = object(&text.unwrap());
            assert_eq!(take("7", &mut read), Checked::Whole);
            assert!(!read.contains_key(CHECKSUM));
        }
        assert_eq!(take("8", &mut saved.clone()), Checked::Damaged, "it stood for another");
        assert_eq!(take("7", &mut plain.clone()), Checked::Unmarked);
        // Added twice it is the same.
        let mut again = saved.clone();
        add("7", &mut again);
        assert_eq!(again, saved);
    }

    #[test]
    fn no_flipped_bit_changes_what_is_read_and_stays_whole() {
        let mut saved =
            object(r#"{"threadId": 42, "text": "Grüße", "at": 1771234567890, "cost": 0.25}"#);
        let plain = saved.clone();
        add("", &mut saved);
        let bytes = serde_json::to_vec(&saved).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(mut read) = serde_json::from_slice::<Map<String, Value>>(&flipped) else {
                continue;
            };
            match take("", &mut read) {
                Checked::Whole => assert_eq!(read, plain, "bit {bit}"),
                // Only the field's own name can have suffered.
                Checked::Unmarked => {
                    assert!(plain.iter().all(|(name, it)| read.get(name) == Some(it)))
                }
                Checked::Damaged => {}
            }
        }
    }

    proptest! {
        #[test]
        fn any_number_survives_being_written(number in any::<f64>(), whole in any::<i64>()) {
            let mut saved = Map::new();
            saved.insert("a".to_owned(), number.into());
            saved.insert("b".to_owned(), whole.into());
            add("", &mut saved);
            let mut read = object(&serde_json::to_string(&saved).unwrap());
            prop_assert_eq!(take("", &mut read), Checked::Whole);
        }
    }
}
