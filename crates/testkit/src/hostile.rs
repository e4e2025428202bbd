//! What a test and the hostile `claude` (`src/bin/hostile-claude.rs`) say to each other, inside a message and its answer.
//!
//! Both are written as hexadecimal digits: whatever the product puts around a message, quotes, shortens or conceals in
//! an answer, these words arrive as they were meant, and no shell script is taken for Markdown.

use serde::{Deserialize, Serialize};
use serde_json::Value;

const ORDER: &str = "[hostile: ";
const REPORT: &str = "[acted: ";

/// One thing that the hostile `claude` is to do in a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Act {
    /// Runs a shell script, as a tool would. `CLAUDE_PID` is the number of the hostile process itself.
    Run(String),
    /// Starts a shell script and does not wait for it: it may go on after the turn.
    Leave(String),
    /// Asks for the permission to run a command, and waits for the answer.
    Ask(String),
    /// Writes a line to its own stdout, whatever it says.
    Write(String),
    /// Writes a line to its own stderr.
    Complain(String),
    /// Answers this text instead of a report.
    Say(String),
    /// Ends with this exit code, in the middle of the turn.
    Exit(i32),
}

/// What became of one [`Act`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Done {
    /// A script ended.
    Ran(Ran),
    /// A script was started and left alone, or something was written.
    Left,
    /// What the host answered to a question.
    Answered(Value),
}

/// How a script ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Its exit code; 128 and more stands for a signal.
    pub code: i32,
    /// Its stdout and stderr.
    pub out: String,
}

/// The message that makes the hostile `claude` do these things, one after the other.
pub fn order(acts: &[Act]) -> String {
    wrap(ORDER, &serde_json::json!(acts))
}

/// The order in a prompt: the last one, since older messages may stand before it.
pub fn order_in(prompt: &str) -> Option<Vec<Act>> {
    serde_json::from_slice(&unwrap(ORDER, prompt)?).ok()
}

/// The answer that tells what became of an order.
pub fn report(done: &[Done]) -> String {
    wrap(REPORT, &serde_json::json!(done))
}

/// What an answer tells.
pub fn report_in(answer: &str) -> Option<Vec<Done>> {
    serde_json::from_slice(&unwrap(REPORT, answer)?).ok()
}

fn wrap(mark: &str, value: &Value) -> String {
    let digits: String = value.to_string().bytes().map(|it| format!("{it:02x}")).collect();
    format!("{mark}{digits}]")
}

fn unwrap(mark: &str, text: &str) -> Option<Vec<u8>> {
    let begin = text.rfind(mark)? + mark.len();
    let digits = text[begin..].split(']').next()?;
    let byte = |it: &[u8]| u8::from_str_radix(std::str::from_utf8(it).ok()?, 16).ok();
    digits.as_bytes().chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_survives_whatever_stands_around_it() {
        let acts = [Act::Run("echo \"a\"; # ]\n".to_owned()), Act::Ask("rm".to_owned())];
        let prompt = format!("> {}\n\nAda: {} thanks", order(&[]), order(&acts));
        assert_eq!(order_in(&prompt).unwrap(), acts);
        assert_eq!(order_in("hello"), None);
        let done = [Done::Ran(Ran { code: 0, out: "ü\n".to_owned() }), Done::Left];
        assert_eq!(report_in(&report(&done)).unwrap(), done);
    }
}
