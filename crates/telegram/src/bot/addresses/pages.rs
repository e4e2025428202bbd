//! The shape of `telegram.json`, and how it is read and written.
//!
//! What a later version put there is kept as it is, at every depth: fields that are not known, threads, keys and models
//! whose names make no sense here. A file that is not what was written is refused, never taken for an empty one.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use tinyclaw_domain::checksum::{self, Checked};
use tinyclaw_domain::{Key, Model, ThreadId};

use super::Address;

/// The version that this program writes, unless the file is of a later one.
pub(super) const VERSION: u32 = 1;

/// Why `telegram.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// The disk does not give it.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not JSON, or has another shape.
    #[error("{} cannot be understood", path.display())]
    Shape {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Its checksum does not fit.
    #[error("{} is damaged: its checksum does not fit", .0.display())]
    Damaged(PathBuf),
}

/// What stands in the file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Pages {
    pub(super) v: u32,
    pub(super) offset: Option<i64>,
    pub(super) offset_at: u64,
    /// Threads that do not live where their name says, and what their topics are called.
    pub(super) threads: Known<ThreadId, ThreadEntry>,
    /// Groups that became supergroups.
    pub(super) migrated: Known<i64, i64>,
    /// People's messages.
    pub(super) heard: VecDeque<Kept<Heard>>,
    /// Our answers.
    pub(super) said: VecDeque<Kept<Sent>>,
    /// Topics whose creation was begun and not seen to end.
    pub(super) creating: Known<Key, String>,
    /// The commands that were registered last.
    pub(super) commands: String,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ThreadEntry {
    #[serde(flatten)]
    pub(super) address: Address,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(flatten)]
    pub(super) extra: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Heard {
    pub(super) chat: i64,
    pub(super) id: i32,
    pub(super) key: Key,
    #[serde(flatten)]
    pub(super) extra: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Sent {
    pub(super) chat: i64,
    pub(super) id: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<Kept<Model>>,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Kept<Key>>,
    #[serde(flatten)]
    pub(super) extra: Map<String, Value>,
}

/// A value that we know, or one of a later version.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Kept<T> {
    Known(T),
    Unknown(Value),
}

impl<T> Kept<T> {
    pub(super) fn known(&self) -> Option<&T> {
        match self {
            Kept::Known(it) => Some(it),
            Kept::Unknown(_) => None,
        }
    }
}

/// A map of what we know, beside entries of a later version.
#[derive(Debug, Clone)]
pub(super) struct Known<K, V> {
    known: BTreeMap<K, V>,
    unknown: Map<String, Value>,
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Known<K, V> {
        Known { known: BTreeMap::new(), unknown: Map::new() }
    }
}

impl<K, V> Deref for Known<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        &self.known
    }
}

impl<K, V> DerefMut for Known<K, V> {
    fn deref_mut(&mut self) -> &mut BTreeMap<K, V> {
        &mut self.known
    }
}

impl<K: Display + Ord, V: Serialize> Serialize for Known<K, V> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = Map::new();
        for (key, value) in &self.known {
            let value = serde_json::to_value(value).map_err(serde::ser::Error::custom)?;
            map.insert(key.to_string(), value);
        }
        for (key, value) in &self.unknown {
            map.entry(key).or_insert_with(|| value.clone());
        }
        map.serialize(to)
    }
}

impl<'de, K: FromStr + Ord, V: DeserializeOwned> Deserialize<'de> for Known<K, V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Known<K, V>, D::Error> {
        let mut it = Known::default();
        for (key, value) in Map::<String, Value>::deserialize(from)? {
            match (key.parse(), V::deserialize(&value)) {
                (Ok(known), Ok(value)) => {
                    it.known.insert(known, value);
                }
                _ => {
                    it.unknown.insert(key, value);
                }
            }
        }
        Ok(it)
    }
}

impl Pages {
    /// Reads a file; `None` when there is none. Beside it whether its checksum vouches for it.
    pub(super) fn read(path: &Path) -> Result<Option<(Pages, Checked)>, PagesError> {
        let bytes = match tinyclaw_disk::read(path) {
            Ok(bytes) => bytes,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(PagesError::Read { path: path.to_owned(), source }),
        };
        let shape = |source| PagesError::Shape { path: path.to_owned(), source };
        let mut fields: Map<String, Value> = serde_json::from_slice(&bytes).map_err(shape)?;
        let checked = checksum::take("", &mut fields);
        if checked == Checked::Damaged {
            return Err(PagesError::Damaged(path.to_owned()));
        }
        let mut pages: Pages = serde_json::from_value(Value::Object(fields)).map_err(shape)?;
        pages.v = pages.v.max(VERSION);
        Ok(Some((pages, checked)))
    }

    /// The bytes of the file.
    pub(super) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut value = serde_json::to_value(self)?;
        if let Value::Object(fields) = &mut value {
            checksum::add("", fields);
        }
        Ok(serde_json::to_vec(&value)?)
    }
}
