//! Settings: one table of everything that can be set, read from the environment and `settings.json` together.
//!
//! The environment wins over the file, the file over the default. A secret may also come from a file: the
//! one that `NAME_FILE` names, or where systemd or Kubernetes hands secrets over, its own in `$CREDENTIALS_DIRECTORY`.
//! Every mistake is named with its key, all at once; a key that nobody knows is one of them. Nothing is written here.

mod read;
mod store;
mod suggest;
mod table;
mod values;
mod version;

pub use read::{Environment, Mistake, Mistakes, Origin, Reader, Source, edited};
pub use store::{Refreshed, SETTINGS_FILE, Store, state_dir};
pub use suggest::did_you_mean;
pub use table::*;
pub use values::{
    Address, ByTier, CostLine, Effort, EngineKind, EngineMode, Flag, Keep, Landlock, List,
    LogLevel, MapOf, Number, Objects, OfficeZone, OneOf, Optional, OrOff, PathTo, Permission,
    PromptCache, QuietHours, QuietHoursOf, Secret, SettingSource, Span, TelegramId, Text,
    TimeOfDay, Url, Value, Whole, Words, spell_out,
};

/// One row of the table: a setting.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its name in `settings.json`; `a.b` is `{"a": {"b": …}}`.
    pub key: &'static str,
    /// Names of the TypeScript original that mean the same.
    pub aliases: &'static [&'static str],
    /// The environment variables, the first one preferred. With none, it is `TINYCLAW_` and the key.
    pub variables: &'static [&'static str],
    /// The value when nothing is set, as it would be written; empty when there is none.
    pub default: &'static str,
    /// What a value looks like.
    pub looks: &'static str,
    /// Whether it may also come from a file, and is never shown.
    pub is_secret: bool,
    /// What it is for, line by line.
    pub about: &'static [&'static str],
}

impl Row {
    /// The environment variables it is read from, the preferred one first.
    pub fn variables(&self) -> Vec<String> {
        if !self.variables.is_empty() {
            return self.variables.iter().map(|it| (*it).to_owned()).collect();
        }
        let mut name = "TINYCLAW_".to_owned();
        for it in self.key.chars() {
            match it {
                '.' => name.push('_'),
                it if it.is_ascii_uppercase() => name.extend(['_', it]),
                it => name.push(it.to_ascii_uppercase()),
            }
        }
        vec![name]
    }

    /// What a secret is called in `$CREDENTIALS_DIRECTORY`: `telegram-bot-token`. `None` for what is no secret.
    pub fn credential(&self) -> Option<String> {
        self.is_secret.then(|| self.variables()[0].to_lowercase().replace('_', "-"))
    }
}

/// A part of the settings that is read as one: a group of the table, several of them, or all.
///
/// A service reads the sections it needs. The file's keys are always held against the whole table.
pub trait Section: Sized + Send + Sync + 'static {
    /// Its rows.
    fn rows() -> Vec<Row>;
    /// Reads it. `None` when there was a mistake, which `from` has kept.
    fn read(from: &mut Reader<'_>) -> Option<Self>;
}

macro_rules! sections {
    ($($Name:ident),*) => {
        impl<$($Name: Section),*> Section for ($($Name,)*) {
            fn rows() -> Vec<Row> {
                [$($Name::rows()),*].concat()
            }

            #[expect(non_snake_case, reason = "each value is named like its type")]
            fn read(from: &mut Reader<'_>) -> Option<Self> {
                $(let $Name = $Name::read(from);)*
                Some(($($Name?,)*))
            }
        }
    };
}
sections!(A, B);
sections!(A, B, C);
sections!(A, B, C, D);
sections!(A, B, C, D, E);
sections!(A, B, C, D, E, F);
sections!(A, B, C, D, E, F, G);
sections!(A, B, C, D, E, F, G, H);

/// The table as `docs/SETTINGS.md` shows it, group by group.
pub fn markdown() -> String {
    let mut text = String::new();
    for group in groups() {
        let about: Vec<&str> = group.about.iter().map(|it| it.trim()).collect();
        let about = about.join(" ");
        let title = about.split(['.', ',', ':']).next().unwrap_or_default();
        text += &format!("### {title}\n\n");
        if about.trim_end_matches('.') != title {
            text += &format!("{about}\n\n");
        }
        text += "| in `settings.json` | variable | default | what it is for |\n|---|---|---|---|\n";
        for row in &group.rows {
            let variables: Vec<String> = row
                .variables()
                .iter()
                .map(|it| format!("`{it}`"))
                .chain(row.is_secret.then(|| format!("`{}_FILE`", row.variables()[0])))
                .collect();
            let default = match row.default {
                "" => "–".to_owned(),
                it => format!("`{it}`"),
            };
            let about: Vec<&str> = row.about.iter().map(|it| it.trim()).collect();
            let mut about = about.join(" ");
            about += &format!(" *{}*", row.looks);
            if !row.aliases.is_empty() {
                about += &format!("; also `{}`", row.aliases.join("`, `"));
            }
            let variables = variables.join(", ");
            text += &format!("| `{}` | {variables} | {default} | {about} |\n", row.key);
        }
        text.push('\n');
    }
    text
}
