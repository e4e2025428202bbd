//! `/queue`: what waits, here and in the whole office.

use std::fmt::Write as _;

use tinyclaw_domain::Lane;
use tinyclaw_queue::Place;

use crate::commands::Given;

impl Given<'_> {
    pub(super) fn queue(&self) -> String {
        let depth = match tokio::task::block_in_place(|| self.commands.view.depth()) {
            Ok(it) => it,
            Err(err) => return format!("The queue cannot be read: {err}."),
        };
        let here = |place| {
            let (view, lane) = (&self.commands.view, Lane::Thread(self.thread.clone()));
            let entries = tokio::task::block_in_place(|| view.in_lane(place, &lane, 10_000));
            entries.map_or(0, |it| it.len())
        };
        let mut words = match depth.outgoing + depth.sending {
            0 => format!("{} waiting, {} being answered.", depth.incoming, depth.processing),
            1 => format!(
                "{} waiting, {} being answered, 1 answer on its way.",
                depth.incoming, depth.processing
            ),
            many => format!(
                "{} waiting, {} being answered, {many} answers on their way.",
                depth.incoming, depth.processing
            ),
        };
        let (waiting, working) = (here(Place::Incoming), here(Place::Processing));
        if waiting + working > 0 {
            let _ = write!(words, "\nHere: {waiting} waiting, {working} being answered.");
        }
        if depth.waiting_retries > 0 {
            let _ = match depth.waiting_retries {
                1 => write!(words, "\n1 of them waits to be tried again."),
                many => write!(words, "\n{many} of them wait to be tried again."),
            };
        }
        // What a person stopped is theirs, and nothing to look after.
        if depth.dead > 0 {
            let _ = write!(
                words,
                "\n{} given up; `/retry` in their topic takes one up again.",
                depth.dead
            );
        }
        if depth.quarantine > 0 {
            let _ = write!(words, "\n{} in quarantine: a person must look.", depth.quarantine);
        }
        words
    }
}
