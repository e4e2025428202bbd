//! The CLI's lines: what comes out of it ([`Line`]) and what goes into it ([`out`]). No I/O, no state.

mod lines;
pub(crate) mod out;

pub(crate) use lines::{Block, HostRequest, Line, ResultLine, StreamEvent};
