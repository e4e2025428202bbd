//! The published schema of the Bot API, and whether a request keeps to it.
//!
//! The schema is not ours and not in the repository: it ships in the source package of aiogram (MIT), which pip
//! fetches into the user's cache, pinned by hash. Where there is no pip there is no schema, and nothing is checked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The package that carries the schema.
const PACKAGE: &str = "aiogram==3.31.0";
const ARCHIVE: &str = "aiogram-3.31.0.tar.gz";
const ARCHIVE_SHA256: &str = "f2c5064fe52d88898c86af62261c405440a014216e45dd99b2c6555a5602ce30";
const INNER_PATH: &str = "aiogram-3.31.0/.butcher/schema/schema.json";

/// Methods and types of the Bot API.
pub struct Schema {
    version: String,
    entities: BTreeMap<String, Vec<Field>>,
    names: BTreeMap<String, String>,
}

struct Field {
    name: String,
    kind: String,
    required: bool,
    /// `(least, most, in bytes)`, where the prose gives them.
    length: Option<(usize, usize, bool)>,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({}, {} entities)", self.version, self.entities.len())
    }
}

impl Schema {
    /// The schema from the cache, fetched by pip the first time. `Err` says what is missing.
    pub fn fetch() -> Result<Arc<Schema>, String> {
        let dir = cache_dir()?;
        let archive = dir.join(ARCHIVE);
        if !archive.exists() {
            download(&dir)?;
        }
        let bytes = std::fs::read(&archive).map_err(|it| format!("{}: {it}", archive.display()))?;
        let sum: String = Sha256::digest(&bytes).iter().map(|it| format!("{it:02x}")).collect();
        if sum != ARCHIVE_SHA256 {
            return Err(format!(
                "{} is not the package it should be: remove it",
                archive.display()
            ));
        }
        let json = run("tar", &["-xzOf", &archive.to_string_lossy(), INNER_PATH], &dir)?;
        Schema::parse(&json).map(Arc::new)
    }

    /// The schema, when an earlier [`Schema::fetch`] left it in the cache.
    pub fn cached() -> Option<Arc<Schema>> {
        cache_dir().ok()?.join(ARCHIVE).exists().then(Schema::fetch)?.ok()
    }

    /// A schema from its JSON text.
    pub fn parse(json: &[u8]) -> Result<Schema, String> {
        #[derive(Deserialize)]
        struct Raw {
            api: Api,
            items: Vec<Group>,
        }
        #[derive(Deserialize)]
        struct Api {
            version: String,
        }
        #[derive(Deserialize)]
        struct Group {
            children: Vec<Entity>,
        }
        #[derive(Deserialize)]
        struct Entity {
            name: String,
            annotations: Vec<Annotation>,
        }
        #[derive(Deserialize)]
        struct Annotation {
            name: String,
            r#type: String,
            #[serde(default)]
            required: bool,
            #[serde(default)]
            description: String,
        }
        let raw: Raw = serde_json::from_slice(json).map_err(|it| format!("schema.json: {it}"))?;
        let mut entities = BTreeMap::new();
        for entity in raw.items.into_iter().flat_map(|it| it.children) {
            let fields = entity.annotations.into_iter().map(|it| Field {
                length: length_in(&it.description),
                name: it.name,
                kind: it.r#type,
                required: it.required,
            });
            entities.insert(entity.name, fields.collect());
        }
        let names = entities.keys().map(|it: &String| (it.to_ascii_lowercase(), it.clone()));
        Ok(Schema { version: raw.api.version, names: names.collect(), entities })
    }

    /// What is wrong with a request. `form` says that the values came as text and numbers are spelled out.
    pub fn check(&self, method: &str, params: &Map<String, Value>, form: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        match self.names.get(&method.to_ascii_lowercase()) {
            // Types begin with a capital letter, methods do not.
            Some(name) if name.starts_with(char::is_lowercase) => {
                self.object(name, name, params, form, &mut wrong);
            }
            _ => wrong.push(format!("{method}: there is no such method")),
        }
        wrong
    }

    fn object(
        &self,
        path: &str,
        name: &str,
        object: &Map<String, Value>,
        form: bool,
        wrong: &mut Vec<String>,
    ) {
        let Some(fields) = self.entities.get(name) else { return };
        for key in object.keys() {
            if !fields.iter().any(|it| it.name == *key) {
                wrong.push(format!("{path}.{key}: there is no such field"));
            }
        }
        for field in fields {
            let path = format!("{path}.{}", field.name);
            match object.get(&field.name) {
                None if field.required => wrong.push(format!("{path}: missing")),
                None => {}
                Some(value) => {
                    if !self.fits(&path, &field.kind, value, form, wrong) {
                        wrong.push(format!("{path}: is not {}", field.kind));
                    } else if let (Some((least, most, bytes)), Some(text)) =
                        (field.length, value.as_str())
                    {
                        // Texts with markup are measured after parsing, by the method itself.
                        let measured = matches!(field.name.as_str(), "text" | "caption")
                            && path.matches('.').count() == 1
                            && !path.starts_with("answer");
                        let length = if bytes { text.len() } else { text.chars().count() };
                        if !measured && !(least..=most).contains(&length) {
                            wrong.push(format!("{path}: {length} long, not {least} to {most}"));
                        }
                    }
                }
            }
        }
    }

    fn fits(
        &self,
        path: &str,
        kind: &str,
        value: &Value,
        form: bool,
        wrong: &mut Vec<String>,
    ) -> bool {
        if let Some(inner) = kind.strip_prefix("Array of ") {
            let Some(items) = value.as_array() else { return false };
            return items
                .iter()
                .enumerate()
                .all(|(at, it)| self.fits(&format!("{path}[{at}]"), inner, it, form, wrong));
        }
        if kind.contains(" or ") {
            let alternatives: Vec<&str> = kind.split(" or ").collect();
            // The alternative that complains least is the one that was meant.
            let mut best: Option<Vec<String>> = None;
            for kind in alternatives {
                let mut complaints = Vec::new();
                if self.fits(path, kind, value, form, &mut complaints)
                    && best.as_ref().is_none_or(|it| complaints.len() < it.len())
                {
                    best = Some(complaints);
                }
            }
            return match best {
                Some(complaints) => {
                    wrong.extend(complaints);
                    true
                }
                None => false,
            };
        }
        match kind {
            "String" => value.is_string(),
            "Integer" => value.is_i64() || value.is_u64() || (form && is_numeric(value)),
            "Float" => value.is_number() || (form && is_numeric(value)),
            "Boolean" | "True" => {
                value.is_boolean() || (form && matches!(value.as_str(), Some("true" | "false")))
            }
            // A file is a part of the form or a name for one.
            "InputFile" => value.is_string(),
            name => {
                let Some(object) = value.as_object() else { return false };
                let concrete = self.concrete(name, object);
                self.object(path, concrete.unwrap_or(name), object, form, wrong);
                true
            }
        }
    }

    /// The member of a family of types (`ReactionType`, `InputMedia`, `BotCommandScope`) that an object means.
    fn concrete(&self, family: &str, object: &Map<String, Value>) -> Option<&str> {
        if self.entities.get(family).is_some_and(|it| !it.is_empty()) {
            return None;
        }
        let wanted = format!("{family}{}", object.get("type")?.as_str()?.replace('_', ""));
        self.names.get(&wanted.to_ascii_lowercase()).map(String::as_str)
    }
}

fn is_numeric(value: &Value) -> bool {
    value.as_str().is_some_and(|it| it.parse::<f64>().is_ok())
}

/// `1-64 bytes`, `0-1024 characters after entities parsing`: the bounds in a sentence.
fn length_in(description: &str) -> Option<(usize, usize, bool)> {
    let at = ["characters", "bytes"]
        .iter()
        .filter_map(|unit| description.find(&format!(" {unit}")).map(|at| (at, *unit)))
        .min()?;
    let range = description[..at.0].rsplit(|it: char| it != '-' && !it.is_ascii_digit()).next()?;
    let (least, most) = range.split_once('-')?;
    Some((least.parse().ok()?, most.parse().ok()?, at.1 == "bytes"))
}

fn cache_dir() -> Result<PathBuf, String> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|it| Path::new(&it).join(".cache")))
        .ok_or("neither XDG_CACHE_HOME nor HOME is set")?;
    let dir = base.join("tinyclaw").join("bot-api");
    std::fs::create_dir_all(&dir).map_err(|it| format!("{}: {it}", dir.display()))?;
    Ok(dir)
}

fn download(dir: &Path) -> Result<(), String> {
    let target = dir.to_string_lossy();
    // The package is only unpacked, never built or installed.
    run(
        "pip",
        &["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", &target, PACKAGE],
        dir,
    )
    .map(drop)
}

fn run(program: &str, arguments: &[&str], dir: &Path) -> Result<Vec<u8>, String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test fetches the schema; no service runs this"
    )]
    let output = std::process::Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .output()
        .map_err(|it| format!("{program}: {it}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} failed: {}", said.lines().last().unwrap_or("it did not say why")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SMALL: &str = r#"{"api":{"version":"0.1"},"items":[{"children":[
        {"name":"sendMessage","annotations":[
            {"name":"chat_id","type":"Integer or String","required":true},
            {"name":"text","type":"String","required":true,"description":"Text, 1-4096 characters after"},
            {"name":"reaction","type":"Array of ReactionType"},
            {"name":"reply_markup","type":"Markup or ForceReply"}]},
        {"name":"ReactionType","annotations":[]},
        {"name":"ReactionTypeEmoji","annotations":[
            {"name":"type","type":"String","required":true},{"name":"emoji","type":"String","required":true}]},
        {"name":"ForceReply","annotations":[{"name":"force_reply","type":"True","required":true}]},
        {"name":"Markup","annotations":[
            {"name":"data","type":"String","description":"Data to be sent, 1-64 bytes"}]}]}]}"#;

    #[track_caller]
    fn check(params: Value, expected: &[&str]) {
        let schema = Schema::parse(SMALL.as_bytes()).unwrap();
        let params = params.as_object().unwrap();
        assert_eq!(schema.check("SendMessage", params, false), expected);
    }

    #[test]
    fn a_request_is_held_against_every_field() {
        check(json!({"chat_id": 1, "text": "x"}), &[]);
        check(
            json!({"chat_id": 1.5, "text": "x"}),
            &["sendMessage.chat_id: is not Integer or String"],
        );
        check(json!({"chat_id": "@a"}), &["sendMessage.text: missing"]);
        check(
            json!({"chat_id": 1, "text": "x", "parsemode": 1}),
            &["sendMessage.parsemode: there is no such field"],
        );
    }

    #[test]
    fn nested_objects_are_checked_by_the_kind_they_name() {
        check(
            json!({"chat_id": 1, "text": "x", "reaction": [{"type": "emoji"}]}),
            &["sendMessage.reaction[0].emoji: missing"],
        );
        check(
            json!({"chat_id": 1, "text": "x", "reply_markup": {"data": "x".repeat(65)}}),
            &["sendMessage.reply_markup.data: 65 long, not 1 to 64"],
        );
    }
}
