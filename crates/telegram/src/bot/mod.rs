//! The bot in Telegram: what is asked of the Bot API, how fast, whether it answers, and where each thread lives there.
//!
//! It carries words and files, and decides neither what is said nor when. It knows no queue and no log: what it remembers is
//! `telegram.json` and `telegram-pace.json`.
//!
//! Locks: [`RateLimit`], [`AddressBook`], `Reactions` and the client each have their own. Under its lock `Reactions` asks the
//! rate limit whether one may go; else none is held while another is taken, and none over a call.

pub mod addresses;
pub(crate) mod button;
pub mod client;
pub(crate) mod connection;
mod heartbeat;
mod messages;
mod pace;
pub mod rate_limit;
pub(crate) mod reactions;
mod surrogates;

use tinyclaw_domain::ThreadId;
use tinyclaw_service::{Shutdown, Vitals};

use self::addresses::{Address, AddressBook};
use self::client::Client;
use self::rate_limit::RateLimit;
use self::reactions::Reactions;
use crate::settings::Settings;

pub(crate) use self::messages::markup;

/// One bot, and everything that is said in its name.
pub(crate) struct Bot {
    pub(crate) id: i64,
    pub(crate) username: String,
    pub(crate) client: Client,
    /// Whoever sends waits for a permit from here.
    pub(crate) limit: RateLimit,
    /// Where threads live, and which messages are known.
    pub(crate) addresses: AddressBook,
    pub(crate) reactions: Reactions,
    pub(crate) settings: Settings,
    pub(crate) vitals: Vitals,
}

impl Bot {
    /// The id the home forum has now.
    pub(crate) fn home(&self) -> Option<i64> {
        self.settings.current().1.chat_id.map(|it| self.addresses.present(it))
    }

    /// Which thread lives there.
    pub(crate) fn thread_at(&self, address: Address) -> Option<ThreadId> {
        self.addresses.thread_at(address, self.home())
    }

    /// Where a thread lives.
    pub(crate) fn address_of(&self, thread: &ThreadId) -> Option<Address> {
        self.addresses.address(thread, self.home())
    }

    /// Asks Telegram for a sign of life whenever there is none, until the shutdown.
    pub(crate) async fn watch_connection(&self, shutdown: &Shutdown) {
        heartbeat::run(&self.client, &self.vitals, shutdown).await;
    }
}
