//! Reading: the file's keys and the environment's variables become one answer for each row of the table, or a mistake.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::values::Value;
use super::version::{Version, WRITTEN_BY};
use super::{Row, Section, did_you_mean, retired, rows};

/// Variables of ours that are no settings: where the state folder is, where those of desks are, and the way to the warden.
const OURS_BESIDES: [&str; 3] = ["TINYCLAW_DIR", "TINYCLAW_DESKS", "TINYCLAW_WARDEN"];
/// Where systemd, and our manifests for Kubernetes, put secrets: a folder with a file each.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Beyond this a settings file is not one.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// The environment, read once at the start; a test hands in its own.
pub type Environment = BTreeMap<String, String>;

/// What was given for a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A word, a number, true or false.
    One(String),
    /// A JSON array of those.
    Many(Vec<String>),
    /// A JSON object of those.
    Map(BTreeMap<String, String>),
    /// A JSON object that goes deeper.
    Nested(Map<String, Json>),
}

impl Source {
    /// The one value, unless it is several.
    pub fn one(&self) -> Option<&str> {
        match self {
            Source::One(text) => Some(text),
            Source::Many(_) | Source::Map(_) | Source::Nested(_) => None,
        }
    }

    fn of_json(value: &Json) -> Option<Source> {
        let one = |it: &Json| match it {
            Json::String(text) => Some(text.clone()),
            Json::Number(number) => Some(number.to_string()),
            Json::Bool(flag) => Some(flag.to_string()),
            _ => None,
        };
        match value {
            Json::Array(parts) => parts.iter().map(one).collect::<Option<_>>().map(Source::Many),
            Json::Object(map) => {
                let pairs = map.iter().map(|(key, it)| Some((key.clone(), one(it)?)));
                let flat = pairs.collect::<Option<_>>().map(Source::Map);
                flat.or_else(|| Some(Source::Nested(map.clone())))
            }
            it => one(it).map(Source::One),
        }
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A key of `settings.json`.
    Key(String),
    /// An environment variable.
    Variable(String),
    /// `settings.json` as a whole.
    File,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Key(key) => write!(f, "settings.json: {key}"),
            Origin::Variable(name) => write!(f, "{name}"),
            Origin::File => write!(f, "settings.json"),
        }
    }
}

/// One thing wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub origin: Origin,
    /// What, and the way out; never a secret's value.
    pub says: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.says)
    }
}

/// Everything wrong with the settings, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, it) in self.0.iter().enumerate() {
            write!(f, "{}{it}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Everything that was given, while sections are read from it.
#[derive(Debug)]
pub struct Reader<'a> {
    environment: &'a Environment,
    given: BTreeMap<String, Json>,
    /// The later version that the file was written by, if it was one.
    later: Option<Version>,
    mistakes: Vec<Mistake>,
    notes: Vec<String>,
}

impl<'a> Reader<'a> {
    /// From the text of `settings.json` (empty when there is none) and the environment.
    pub fn new(file: &str, environment: &'a Environment) -> Reader<'a> {
        let mut reader = Reader {
            environment,
            given: BTreeMap::new(),
            later: None,
            mistakes: Vec::new(),
            notes: Vec::new(),
        };
        reader.take_file(file);
        reader.note_unknown_variables();
        reader
    }

    /// Reads a section: its value, and what a person should be told about the settings though they work.
    pub fn finish<S: Section>(mut self) -> Result<(S, Vec<String>), Mistakes> {
        let section = S::read(&mut self);
        match section {
            Some(section) if self.mistakes.is_empty() => Ok((section, self.notes)),
            _ => Err(Mistakes(self.mistakes)),
        }
    }

    /// What was given for a row, and where, before anybody asks whether it will do: the variable, else the key.
    pub fn given(&mut self, row: &Row) -> Option<(Origin, Source)> {
        match self.variable(row) {
            Ok(None) => self.key(row).ok().flatten(),
            found => found.ok().flatten(),
        }
    }

    /// The value of one row. `None` after a mistake, which is kept.
    pub fn get<V: Value>(&mut self, row: &Row) -> Option<V::Out> {
        let (origin, given) = match self.variable(row) {
            Ok(Some(found)) => found,
            Ok(None) => match self.key(row) {
                Ok(Some(found)) => found,
                Ok(None) if row.default.is_empty() => {
                    let Some(absent) = V::absent() else { return self.missing(row) };
                    return Some(absent);
                }
                Ok(None) => {
                    let given = Source::One(row.default.to_owned());
                    return V::read(&given).or_else(|| self.missing(row));
                }
                Err(()) => return None,
            },
            Err(()) => return None,
        };
        let value = V::read(&given);
        if value.is_none() {
            let shown = match (row.is_secret, &given) {
                (true, _) => "this".to_owned(),
                (false, Source::One(text)) => format!("{text:?}"),
                (false, Source::Many(parts)) => format!("{parts:?}"),
                (false, Source::Map(map)) => format!("{map:?}"),
                (false, Source::Nested(_)) => "this object".to_owned(),
            };
            self.mistake(origin, format!("{shown} will not do; expected {}", V::looks()));
        }
        value
    }

    /// Whether the file gives a secret.
    pub(super) fn file_has_secret(&self) -> bool {
        rows().iter().any(|it| it.is_secret && self.given.contains_key(it.key))
    }

    /// Keeps something that a person should be told though the settings work.
    pub(super) fn note(&mut self, what: &str) {
        self.notes.push(what.to_owned());
    }

    /// Keeps a mistake that is about several rows at once.
    pub fn mistake(&mut self, origin: Origin, says: impl Into<String>) {
        self.mistakes.push(Mistake { origin, says: says.into() });
    }

    fn missing<T>(&mut self, row: &Row) -> Option<T> {
        let variable = &row.variables()[0];
        self.mistake(Origin::Key(row.key.to_owned()), format!("is needed; or set {variable}"));
        None
    }

    fn take_file(&mut self, file: &str) {
        if file.len() > FILE_BYTES_MAX {
            return self.mistake(Origin::File, "it is over 1 MiB, which no settings are");
        }
        if file.trim().is_empty() {
            return;
        }
        match serde_json::from_str::<Json>(file) {
            Ok(Json::Object(mut map)) => {
                match map.shift_remove(WRITTEN_BY).as_ref().map(Version::of) {
                    Some(Err(says)) => self.mistake(Origin::Key(WRITTEN_BY.to_owned()), says),
                    Some(Ok(version)) if version > Version::ours() => self.later = Some(version),
                    _ => {}
                }
                self.take_keys("", map);
            }
            Ok(_) => self.mistake(Origin::File, "expected an object: { … }"),
            Err(err) => self.mistake(Origin::File, format!("is not JSON: {err}")),
        }
    }

    /// Flattens `{"a": {"b": 1}}` to `a.b`, holding each key against the table.
    fn take_keys(&mut self, parent: &str, map: Map<String, Json>) {
        for (name, value) in map {
            let key = if parent.is_empty() { name } else { format!("{parent}.{name}") };
            let row = rows().iter().find(|it| it.key == key || it.aliases.contains(&&*key));
            match (row, value) {
                (_, Json::Null) => {}
                (Some(row), value) => {
                    if self.given.insert(row.key.to_owned(), value).is_some() {
                        self.mistake(Origin::Key(key), format!("is given twice, as {}", row.key));
                    }
                }
                (None, Json::Object(inner)) if is_group(&key) => self.take_keys(&key, inner),
                (None, _) => self.unknown(key),
            }
        }
    }

    fn unknown(&mut self, key: String) {
        if let Some((_, why)) = retired().iter().find(|(name, _)| *name == key) {
            return self.notes.push(format!("settings.json: {key} means nothing any more: {why}"));
        }
        if is_group(&key) {
            return self.mistake(Origin::Key(key), "is a group; expected an object: { … }");
        }
        if let Some(later) = &self.later {
            let ours = Version::ours();
            return self.notes.push(format!(
                "settings.json: {key} means nothing to this version ({ours}); the file was written by {later}"
            ));
        }
        let known = rows().iter().flat_map(|it| std::iter::once(it.key).chain(it.aliases.to_vec()));
        let says = match did_you_mean(&key, known) {
            Some(meant) => format!("there is no such setting; did you mean {meant}?"),
            None => "there is no such setting; docs/SETTINGS.md lists them all".to_owned(),
        };
        self.mistake(Origin::Key(key), says);
    }

    /// Other programs' variables are none of our business, so a wrong one of ours is a note and no mistake.
    fn note_unknown_variables(&mut self) {
        let known: Vec<String> = rows().iter().flat_map(Row::variables).collect();
        let known = || known.iter().map(String::as_str).chain(OURS_BESIDES);
        for name in self.environment.keys().filter(|it| it.starts_with("TINYCLAW_")) {
            let plain = name.strip_suffix("_FILE").unwrap_or(name);
            if known().any(|it| it == name || it == plain) {
                continue;
            }
            if let Some(meant) = did_you_mean(name, known()) {
                self.notes.push(format!("{name} is not a variable of ours; did you mean {meant}?"));
            }
        }
    }

    fn key(&mut self, row: &Row) -> Result<Option<(Origin, Source)>, ()> {
        let Some(value) = self.given.get(row.key) else { return Ok(None) };
        let origin = Origin::Key(row.key.to_owned());
        match Source::of_json(value) {
            Some(source) => Ok(Some((origin, source))),
            None => {
                self.mistake(origin, format!("expected {}", row.looks));
                Err(())
            }
        }
    }

    /// The variable, or the file it names. An empty one counts as not set: that is how compose passes what is not there.
    fn variable(&mut self, row: &Row) -> Result<Option<(Origin, Source)>, ()> {
        for name in row.variables() {
            let value = self.environment.get(&name).filter(|it| !it.trim().is_empty());
            let file_name = format!("{name}_FILE");
            let file = self.environment.get(&file_name).filter(|it| !it.trim().is_empty());
            match (value, file.filter(|_| row.is_secret)) {
                (Some(_), Some(_)) => {
                    let says = format!("{file_name} is set too; keep one of them");
                    self.mistake(Origin::Variable(name), says);
                    return Err(());
                }
                (Some(value), None) => {
                    return Ok(Some((Origin::Variable(name), Source::One(value.clone()))));
                }
                (None, Some(path)) => match read_secret(Path::new(path.trim())) {
                    Ok(text) => {
                        return Ok(Some((Origin::Variable(file_name), Source::One(text))));
                    }
                    Err(why) => {
                        let says = format!("cannot read {path}: {why}");
                        self.mistake(Origin::Variable(file_name), says);
                        return Err(());
                    }
                },
                (None, None) => {}
            }
        }
        self.credential(row)
    }

    /// The file in the folder of credentials. Who hands them over leaves out what there is not, so a file that is missing
    /// counts as not set.
    fn credential(&mut self, row: &Row) -> Result<Option<(Origin, Source)>, ()> {
        let (Some(name), Some(dir)) = (row.credential(), self.environment.get(CREDENTIALS)) else {
            return Ok(None);
        };
        let path = Path::new(dir).join(&name);
        if dir.is_empty() || !path.exists() {
            return Ok(None);
        }
        let origin = Origin::Variable(format!("the credential {name}"));
        match read_secret(&path) {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => Ok(Some((origin, Source::One(text)))),
            Err(why) => {
                self.mistake(origin, format!("cannot read {}: {why}", path.display()));
                Err(())
            }
        }
    }
}

fn read_secret(path: &Path) -> Result<String, String> {
    if path.is_dir() {
        // What Docker makes of a file to mount that was not there.
        return Err("it is a folder; was the file there when the container was made?".to_owned());
    }
    std::fs::read_to_string(path).map_err(|err| err.to_string())
}

fn is_group(key: &str) -> bool {
    let prefix = format!("{key}.");
    rows().iter().any(|it| it.key.starts_with(&prefix))
}

/// The text of `settings.json` with one setting changed, or removed when `value` is `None`. Keys in their order, and
/// everything else as it was, but for the version that wrote it last; refused when the result would have a mistake in that key.
pub fn edited(file: &str, key: &str, value: Option<Json>) -> Result<String, Mistakes> {
    let one = |origin, says: String| Mistakes(vec![Mistake { origin, says }]);
    let Some(row) = rows().iter().find(|it| it.key == key || it.aliases.contains(&key)) else {
        let empty = Environment::new();
        let mut reader = Reader::new("", &empty);
        reader.unknown(key.to_owned());
        return Err(Mistakes(reader.mistakes));
    };
    let mut root: Map<String, Json> = match file.trim() {
        "" => Map::new(),
        text => serde_json::from_str(text)
            .map_err(|err| one(Origin::File, format!("is not a JSON object: {err}")))?,
    };
    for name in row.aliases.iter().copied().chain([row.key]) {
        root.shift_remove(name);
    }
    put(&mut root, row.key, value);
    let by = root.get(WRITTEN_BY).map(Version::of).and_then(Result::ok);
    let by = by.map_or_else(Version::ours, |it| it.max(Version::ours()));
    root.insert(WRITTEN_BY.to_owned(), by.to_string().into());
    let text = serde_json::to_string_pretty(&Json::Object(root))
        .map_err(|err| one(Origin::File, err.to_string()))?;
    let empty = Environment::new();
    if let Err(Mistakes(all)) = Reader::new(&text, &empty).finish::<super::Settings>() {
        let of_key = |it: &Mistake| it.origin == Origin::Key(row.key.to_owned());
        let wrong: Vec<Mistake> = all.into_iter().filter(of_key).collect();
        if !wrong.is_empty() {
            return Err(Mistakes(wrong));
        }
    }
    Ok(text + "\n")
}

fn put(map: &mut Map<String, Json>, key: &str, value: Option<Json>) {
    let Some((group, rest)) = key.split_once('.') else {
        match value {
            Some(value) => map.insert(key.to_owned(), value),
            None => map.shift_remove(key),
        };
        return;
    };
    let inner = map.entry(group).or_insert_with(|| Json::Object(Map::new()));
    if !inner.is_object() {
        *inner = Json::Object(Map::new());
    }
    if let Json::Object(inner) = inner {
        put(inner, rest, value);
        if inner.is_empty() {
            map.shift_remove(group);
        }
    }
}
