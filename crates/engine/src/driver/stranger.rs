//! What a machine that is not ours may say: so much in a line, and so much in a turn. Beyond that the turn is ended, so that
//! whoever floods fills nobody's memory and nobody's disk but its own.

use super::Actor;
use super::ladder::Step;
use super::running::Why;
use crate::launch::LeashOrder;
use crate::wire::Line;

/// A longer line is dropped.
pub(super) const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What is kept of a turn, or told on: all but what its tools answered. Streams say each letter many times over.
const TURN_BYTES_MAX: u64 = 64 * 1024 * 1024;

impl Actor {
    /// Whether a line of so many bytes is more than a machine that is not ours may say in one turn; then that is ended.
    pub(super) fn is_too_much(&mut self, line: &Line, bytes: u64) -> bool {
        let is_passed_over = matches!(line, Line::ToolResults { .. } | Line::Ignored);
        let Some(turn) = self.turn.as_mut().filter(|_| self.is_stranger && !is_passed_over) else {
            return false;
        };
        turn.heard_bytes = turn.heard_bytes.saturating_add(bytes);
        if turn.heard_bytes <= TURN_BYTES_MAX {
            return false;
        }
        if turn.stopping.is_none() {
            tracing::error!(
                thread.id = %self.setup.thread,
                "thread {}: its machine says more than a turn may say; the turn is ended", self.setup.thread
            );
            turn.stop(Why::Flood, Step::Ended);
            self.close();
            self.leash.order(LeashOrder::End);
        }
        true
    }
}
