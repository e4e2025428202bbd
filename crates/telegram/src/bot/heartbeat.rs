//! Asks Telegram who we are, again and again, while it does not answer: that changes nothing there, and any answer ends the
//! outage for everybody who waits.

use std::time::Duration;

use tinyclaw_service::{Shutdown, Vitals};

use crate::bot::client::Client;

/// The first question whether Telegram is back comes after this, the next ones after twice as long each,
const ASK_AFTER: Duration = Duration::from_millis(500);
/// and at least this often.
const ASK_EVERY: Duration = Duration::from_secs(2);

pub(super) async fn run(client: &Client, vitals: &Vitals, shutdown: &Shutdown) {
    let connection = client.connection();
    loop {
        tokio::select! {
            () = connection.is_troubled() => {}
            () = shutdown.begun() => return,
        }
        let words = "Telegram does not answer: what is to be sent waits";
        tracing::warn!("{words}");
        vitals.concern("line", Some(words.to_owned()));
        let mut wait = ASK_AFTER;
        while !connection.is_well() {
            tokio::select! {
                () = connection.is_well_again() => {}
                () = tokio::time::sleep(wait) => client.ask_for_life().await,
                () = shutdown.begun() => return,
            }
            wait = (wait * 2).min(ASK_EVERY);
        }
        tracing::info!("Telegram answers");
        vitals.concern("line", None);
    }
}
