//! What a hostile agent tries, and what it must not get: one module a concern, a case a few lines.
//!
//! A program in Claude's place (`hostile-claude`) does whatever a message orders, in an office as it runs in the
//! container: the real processor and leash, as a user without capabilities, its folders where no agent may write by
//! itself. A case opens a [`Den`](den::Den), orders something, and looks at what came of it:
//!
//! ```ignore
//! #[test]
//! fn the_threads_of_the_office_are_not_read() {
//!     let mut den = Den::open();
//!     let ran = den.run("7", "cat \"$STATE/threads.json\"");
//!     ran.is_refused();
//! }
//! ```
//!
//! A case says what an agent must not be able to do, and must be red where it is. Scripts find these variables:
//! `STATE`, `WORK` and `DEN` (the office's folders), `PROCESSOR` (its pid), `CLAUDE_PID`. Before it counts as refused,
//! let the same script show that what it tries works where it may (`Den::run` on the agent's own files, say): a typing
//! error is refused, too. What needs a newer kernel than there is here asks [`den::has_scopes`] first; what
//! needs a program that not every machine has, [`den::has_perl`].
//!
//! Cases about users (`users.rs`) open a [`House`](warden::House) instead, which has a warden, and need root. Those of
//! `desk_users.rs` and `desk_against_office.rs` have a whole office, started by the bot as in its container; `whole_office.rs` shows that it misses nothing.
//!
//! They run as `./tinyclaw.sh test attacks`, or `cargo nextest run -p tinyclaw-e2e --profile attacks FILTER`. To see them
//! against other binaries, name the folder these lie in: `TINYCLAW_ATTACKED=/path/to/target/debug`.
#![allow(clippy::disallowed_methods, reason = "tests make files by hand")]
#![allow(clippy::print_stdout, reason = "a case that is skipped says so")]

mod claude;
mod den;
mod desk_against_office;
mod desk_users;
mod desks;
mod git;
mod looks;
mod processes;
mod reach;
mod terminal;
mod transcripts;
mod users;
mod warden;
mod whole_office;
