//! `/retry`: takes up again what was given up in a thread, the answer before a notice about it.

use tinyclaw_domain::Lane;
use tinyclaw_queue::{LookError, Place};

use crate::commands::Given;
use crate::text;

impl Given<'_> {
    pub(super) fn retry(&self) -> String {
        let lane = Lane::Thread(self.thread.clone());
        let last = tokio::task::block_in_place(|| {
            let mut here = self.commands.view.in_lane(Place::Dead, &lane, 10_000)?;
            // Of a notice nobody wants anything but what it is about.
            here.sort_by_key(|it| !it.key.as_str().starts_with("n-"));
            let last = here.pop();
            let message =
                last.as_ref().map(|it| self.commands.view.read(it)).transpose()?.flatten();
            Ok::<_, LookError>(message)
        });
        match last {
            Ok(Some(message)) => {
                let done = tokio::task::block_in_place(|| {
                    self.commands.publisher.client.queue().requeue(&message.key)
                });
                match done {
                    Ok(_) if message.message.trim().is_empty() => "Trying again.".to_owned(),
                    Ok(_) => {
                        format!("Trying again: “{}”", text::shortened(message.message.trim(), 60))
                    }
                    Err(err) => format!("It cannot be taken up again: {err}."),
                }
            }
            Ok(None) => "Nothing was given up here.".to_owned(),
            Err(err) => format!("The queue cannot be read: {err}."),
        }
    }
}
