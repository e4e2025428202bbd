//! The settings in force, and how long things take. What each setting means is in `crates/service`.

use std::ops::Deref;
use std::time::Duration;

use tinyclaw_domain::Catalogue;
use tinyclaw_service::settings::{Models, Office, Store, Telegram};

/// The office's settings and Telegram's, as they are now.
#[derive(Clone)]
pub(crate) struct Settings(pub(crate) Store<(Office, Telegram, Models)>);

impl Deref for Settings {
    type Target = Store<(Office, Telegram, Models)>;

    fn deref(&self) -> &Store<(Office, Telegram, Models)> {
        &self.0
    }
}

impl Settings {
    /// Whether nothing that is said may make a sound now.
    pub(crate) fn is_quiet(&self) -> bool {
        let settings = self.current();
        let (office, telegram, _) = &*settings;
        let now = jiff::Timestamp::now().to_zoned(office.timezone.clone());
        telegram.quiet_hours.is_some_and(|it| it.contains(now.time()))
    }

    /// The models that the office knows. Whoever asks them says what is wrong with these settings; here what every office
    /// knows counts then.
    pub(crate) fn catalogue(&self) -> Catalogue {
        let models = &self.current().2;
        Catalogue::read(&models.families, &models.tiers).unwrap_or_default()
    }
}

/// How long things take. Tests shorten some of it.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long one poll waits for updates.
    pub poll: Duration,
    /// No completed poll for so long means that something is wrong, whatever it looks like.
    pub stall: Duration,
    /// A turn that takes longer gets a status message.
    pub status_after: Duration,
    /// The same when more than a few topics of its chat are at work.
    pub crowd_status_after: Duration,
    /// An album is complete when nothing came for so long.
    pub album_gap: Duration,
    /// What is sent in one go, an album or not, is complete after this at last.
    pub join_max: Duration,
    /// A client sends the pieces of a long text within this time.
    pub split_gap: Duration,
    /// Telegram shows "typing" for five seconds.
    pub typing: Duration,
    /// An answer that was waited for less than this takes the place of the status; a later one is a new message, which
    /// makes a sound.
    pub edit_max: Duration,
    /// What had no answer is sent again after this, and each further time after longer.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            poll: Duration::from_secs(50),
            stall: Duration::from_secs(120),
            status_after: Duration::from_secs(2),
            crowd_status_after: Duration::from_secs(5),
            album_gap: Duration::from_millis(600),
            join_max: Duration::from_secs(3),
            split_gap: Duration::from_millis(1500),
            typing: Duration::from_secs(4),
            edit_max: Duration::from_secs(10),
            retry: Duration::from_secs(1),
        }
    }
}
