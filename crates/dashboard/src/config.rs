//! The dashboard's settings, as the table of all settings has them, made ready for use.

use std::net::SocketAddr;
use std::path::PathBuf;

use tinyclaw_domain::Catalogue;
use tinyclaw_service::settings;

/// What can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// The state folder.
    pub state: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Names, with port, under which this dashboard may be asked for.
    pub hosts: Vec<String>,
    /// Where the host's `/proc` is.
    pub proc: Option<PathBuf>,
    /// The models that the office knows.
    pub catalogue: Catalogue,
    /// Cloudflare Access, if its token is to be checked.
    pub access: Option<AccessConfig>,
}

/// Who may come through Cloudflare Access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessConfig {
    /// The team's name, or the whole URL of its issuer.
    pub team: String,
    /// The application's audience tag.
    pub audience: String,
    /// The team's keys.
    pub keys: Option<KeySource>,
}

/// Where the team's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file that somebody keeps fresh: the dashboard's network has no way out.
    File(PathBuf),
    /// A URL.
    Url(String),
}

impl Config {
    /// The settings of the dashboard on the state folder `state`.
    pub fn new(
        state: PathBuf,
        settings: &settings::Dashboard,
        models: &settings::Models,
    ) -> Config {
        let keys = settings.access_keys.as_ref().map(|it| match it.contains("://") {
            true => KeySource::Url(it.clone()),
            false => KeySource::File(it.into()),
        });
        // The table refuses one without the other.
        let access = settings.access_team.clone().zip(settings.access_aud.clone());
        Config {
            state,
            listen: settings.listen,
            hosts: settings.hosts.clone(),
            proc: settings.proc.clone(),
            // Whoever asks the models says what is wrong with these settings.
            catalogue: Catalogue::read(&models.families, &models.tiers).unwrap_or_default(),
            access: access.map(|(team, audience)| AccessConfig { team, audience, keys }),
        }
    }
}
