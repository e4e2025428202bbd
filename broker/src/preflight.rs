//! `tinyclaw-broker check`: whether the App, its key and its installations are as they should be.
//!
//! What an installation may do stands in the installation, not in the App: new permissions reach
//! it only when its owner approves them. So each one is compared with the usual set by itself,
//! and `administration`, which no agent should have, is warned of wherever it shows up.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::broker::Broker;
use crate::github::{Installation, lacking};
use crate::permission::{Permission, Permissions};
use crate::policy::USUAL;
use crate::refusal::Refusal;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether tokens can be minted for at least one installation.
    pub ok: bool,
    /// `GITHUB_APP_ID`.
    pub app_id: Option<String>,
    /// The App's name in URLs, when GitHub accepted the key.
    pub app: Option<String>,
    /// The key's file.
    pub key: KeyReport,
    /// Where the App is installed.
    pub installations: Vec<InstallationReport>,
    /// What stands in the way.
    pub errors: Vec<Problem>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

/// About the key.
#[derive(Debug, Serialize)]
pub struct KeyReport {
    /// Where it is looked for.
    pub path: String,
    /// Whether it was read.
    pub ok: bool,
    /// Its length.
    pub bits: Option<usize>,
}

/// About one installation.
#[derive(Debug, Serialize)]
pub struct InstallationReport {
    /// Its number, for `installation_id`.
    pub id: u64,
    /// Whose it is.
    pub account: Option<String>,
    /// `all` or `selected`.
    pub repositories: Option<String>,
    /// Whether its owner suspended it.
    pub suspended: bool,
    /// What it was granted.
    pub permissions: BTreeMap<String, String>,
    /// What it lacks of the usual set.
    pub missing: Vec<String>,
    /// What no agent should have.
    pub dangerous: Vec<String>,
}

/// One thing in the way, and the way out.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// What is wrong.
    pub error: String,
    /// For programs.
    pub code: &'static str,
    /// The way out.
    pub hint: String,
}

impl From<Refusal> for Problem {
    fn from(it: Refusal) -> Problem {
        Problem { error: it.error.into_owned(), code: it.code, hint: it.hint.into_owned() }
    }
}

/// Looks at everything that minting depends on.
pub async fn check(broker: &Broker) -> Report {
    let app = &broker.app;
    let key = app.key();
    let mut report = Report {
        ok: false,
        app_id: app.id().map(str::to_owned),
        app: None,
        key: KeyReport {
            path: app.key_path().display().to_string(),
            ok: key.is_ok(),
            bits: key.as_ref().ok().map(|it| it.bits()),
        },
        installations: Vec::new(),
        errors: Vec::new(),
        warnings: Vec::new(),
    };
    if app.id().is_none() {
        report.errors.push(Problem {
            error: "GITHUB_APP_ID is not set".to_owned(),
            code: "app_id_missing",
            hint: "it is the number at the top of the App's settings page".to_owned(),
        });
    }
    if let Err(error) = key {
        report.errors.push(Problem {
            error,
            code: "key_unusable",
            hint: "the App's settings page, under Private keys, makes a new one".to_owned(),
        });
    }
    if let Err(refusal) = broker.check_files() {
        report.errors.push(refusal.into());
    }
    if !report.errors.is_empty() {
        return report;
    }
    match broker.github().app().await {
        Ok(it) => report.app = it.slug.or(it.name),
        Err(refusal) => {
            report.errors.push(refusal.into());
            return report;
        }
    }
    let installations = match broker.github().installations().await {
        Ok(it) => it,
        Err(refusal) => {
            report.errors.push(refusal.into());
            return report;
        }
    };
    if installations.is_empty() {
        report.errors.push(Problem {
            error: "the App is installed nowhere".to_owned(),
            code: "not_installed",
            hint: "install it into your account or organisation from its public page".to_owned(),
        });
    }
    report.installations = installations.into_iter().map(described).collect();
    for it in &report.installations {
        let who = it.account.as_deref().unwrap_or("somebody");
        if it.suspended {
            report.warnings.push(format!("installation {} ({who}) is suspended", it.id));
        }
        if !it.missing.is_empty() {
            let missing = it.missing.join(", ");
            report.warnings.push(format!(
                "installation {} ({who}) lacks {missing}: grant it to the App, then have it approved there",
                it.id
            ));
        }
        for name in &it.dangerous {
            report.warnings.push(format!(
                "installation {} ({who}) has {name}: no agent needs it; take it from the App",
                it.id
            ));
        }
    }
    report.ok = report.installations.iter().any(|it| !it.suspended);
    report
}

fn described(it: Installation) -> InstallationReport {
    let usual = Permissions::parse(USUAL).unwrap_or_default();
    let dangerous = |name: &String| name.parse::<Permission>().is_ok_and(Permission::is_sensitive);
    InstallationReport {
        id: it.id,
        account: it.account.and_then(|it| it.login),
        repositories: it.repository_selection,
        suspended: it.suspended_at.is_some(),
        missing: lacking(&usual, &it.permissions),
        dangerous: it.permissions.keys().filter(|it| dangerous(it)).cloned().collect(),
        permissions: it.permissions,
    }
}

impl Report {
    /// For a person.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let bits = self.key.bits.map(|it| format!(", {it} bits")).unwrap_or_default();
        let app = self.app.as_deref().unwrap_or("not verified");
        let id = self.app_id.as_deref().unwrap_or("not set");
        let state = if self.key.ok { "read" } else { "unusable" };
        let _ = writeln!(text, "App id   {id} ({app})\nKey      {} ({state}{bits})", self.key.path);
        for it in &self.installations {
            let who = it.account.as_deref().unwrap_or("?");
            let which = it.repositories.as_deref().unwrap_or("?");
            let permissions: Vec<String> =
                it.permissions.iter().map(|(name, level)| format!("{name}:{level}")).collect();
            let permissions = permissions.join(" ");
            let _ = writeln!(
                text,
                "Installed on {who} as {}, {which} repositories: {permissions}",
                it.id
            );
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "Warning: {warning}");
        }
        for problem in &self.errors {
            let _ = writeln!(text, "Error: {}\n       {}", problem.error, problem.hint);
        }
        if self.ok {
            text.push_str("Tokens can be minted.\n");
        }
        text
    }
}
