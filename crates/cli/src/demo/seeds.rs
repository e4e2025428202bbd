//! What happened in the office before one came in: a few messages in a few threads, so that every view of the dashboard
//! has something to show. They go the way of all messages; nothing is made up but what people say. For the demo engine alone:
//! the real Claude is asked nothing that nobody typed.

use tinyclaw_domain::{Source, ThreadId};
use tinyclaw_ledger::StateDir;

use crate::client;

/// One message: its thread, the topic's name, who speaks, what is said.
type Seed = (u32, &'static str, &'static str, &'static str);

/// General is left to whoever sits there: their first answer waits for nobody.
const SEEDS: &[Seed] = &[
    (
        7,
        "Website",
        "Ada",
        "[demo: tool] Make the header stick to the top on small screens, please.",
    ),
    (7, "Website", "Bob", "yes, go ahead"),
    (
        8,
        "Queue",
        "Bob",
        "Prove that two workers can never answer the same message: derive it step by step from the rename and the \
         lock, find the race if there is one, and design a test that would show it.",
    ),
    (
        8,
        "Queue",
        "Ada",
        "[demo: send 7 The queue is proven. You can ship the website.] Tell the website.",
    ),
    (9, "Reading", "Ada", "Good morning. What can you do?"),
    (9, "Reading", "Ada", "Summarise in three sentences what a durable queue is good for."),
    (9, "Reading", "Ada", "[demo: long 4000] And now at length, with an example in Rust."),
    (9, "Reading", "Bob", "thanks"),
];

/// Puts the messages into the queue.
pub(crate) fn sow(state: &StateDir) -> anyhow::Result<()> {
    let office = client::open(state)?;
    for (thread, topic, sender, text) in SEEDS {
        let mut message = client::message(&ThreadId::topic(*thread), text);
        message.source = Source::User;
        message.topic_name = Some((*topic).to_owned());
        message.sender = (*sender).to_owned();
        message.sender_id = None;
        client::send(&office, message)?;
    }
    Ok(())
}
