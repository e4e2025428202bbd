//! Answers to what Claude asks people: what was chosen so far in a question, and whose next message is an answer, or says what
//! shall be different in a plan.
//!
//! It lies in `asks/` under the digest of what was shown, so that neither a restart nor another question finds it wrong. The
//! answers go to the turn when all of them are there, as one order. Whether they fit is the processor's to say.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tinyclaw_disk::Flush;
use tinyclaw_domain::approval::{ANSWER_BYTES_MAX, Choice, Chosen, Question};
use tinyclaw_domain::{Channel, Command, Key, Message, ThreadId};
use tinyclaw_ledger::{Progresses, StateDir, load, save};
use tinyclaw_queue::{Place, Side, View};
use tokio::sync::Mutex;

use crate::bot::addresses::Address;
use crate::bot::button::Pick;
use crate::publish::Publisher;

/// So many updates are remembered that changed something: one that comes again after a crash changes it once.
const UPDATES_MAX: usize = 64;

const LATE: &str = "This question is answered already.";
const NEXT: &str = "Your next message here is the answer.";

/// What was chosen so far.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Picks {
    /// The answers, in the order of the questions. The one behind those that are `answered` is not finished.
    #[serde(default)]
    pub(crate) chosen: Vec<Chosen>,
    /// How many questions are answered.
    #[serde(default)]
    pub(crate) answered: usize,
    /// Whose next message is the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) awaits: Option<Awaited>,
    /// The updates that changed it.
    #[serde(default)]
    updates: Vec<i64>,
}

/// Somebody who answers in their own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Awaited {
    pub(crate) by: i64,
    pub(crate) name: String,
}

/// Who said or pressed something.
pub(crate) struct Speaker<'a> {
    /// The key of what is published for it.
    pub(crate) key: Key,
    pub(crate) update: i64,
    pub(crate) from: i64,
    pub(crate) name: &'a str,
    pub(crate) at_ms: u64,
    pub(crate) address: Option<Address>,
}

impl Picks {
    /// The unfinished answer.
    pub(crate) fn current(&self) -> Chosen {
        self.chosen.get(self.answered).cloned().unwrap_or_default()
    }

    fn set(&mut self, chosen: Chosen) {
        self.chosen.truncate(self.answered);
        self.chosen.push(chosen);
    }

    fn close(&mut self) {
        self.answered += 1;
        self.awaits = None;
    }

    /// What a button does, and what whoever pressed it is told.
    fn press(&mut self, choices: &[Choice], at: usize, pick: Pick, by: Awaited) -> &'static str {
        // A plan has no options: what shall be different is said in words.
        if choices.is_empty() && pick == Pick::Other && self.answered == 0 {
            self.awaits = Some(by);
            return NEXT;
        }
        let Some(choice) = choices.get(at).filter(|_| at == self.answered) else { return LATE };
        let mut current = self.current();
        match pick {
            Pick::Option(option) if option >= choice.options.len() => LATE,
            Pick::Option(option) if choice.is_many => {
                match current.options.iter().position(|it| *it == option) {
                    Some(there) => drop(current.options.remove(there)),
                    None => current.options.push(option),
                }
                self.set(current);
                "Done ends the choice."
            }
            Pick::Option(option) => {
                self.set(Chosen::option(option));
                self.close();
                "Chosen."
            }
            Pick::Done if current == Chosen::default() => "Nothing is chosen yet.",
            Pick::Done => {
                self.close();
                "Chosen."
            }
            Pick::Other => {
                self.awaits = Some(by);
                NEXT
            }
        }
    }

    /// Takes a person's own words, beside what they chose where more than one may be.
    fn say(&mut self, choices: &[Choice], text: &str) {
        let is_many = choices.get(self.answered).is_some_and(|it| it.is_many);
        let options = if is_many { self.current().options } else { Vec::new() };
        self.set(Chosen { options, text: Some(text.to_owned()) });
        self.close();
    }
}

/// Who takes answers. Its lock makes what two people do at once one after the other; it is held while an answer is
/// published, and no other is taken within it.
pub(crate) struct Choosing {
    state: StateDir,
    view: View,
    progresses: Progresses,
    publisher: Arc<Publisher>,
    one_at_a_time: Mutex<()>,
}

impl Choosing {
    pub(crate) fn new(state: StateDir, view: View, publisher: Arc<Publisher>) -> Choosing {
        let progresses = Progresses::new(&state);
        Choosing { state, view, progresses, publisher, one_at_a_time: Mutex::default() }
    }

    /// What was chosen so far.
    pub(crate) fn picks(&self, question: &Question) -> Picks {
        // What cannot be read is chosen anew.
        tokio::task::block_in_place(|| load(&self.path(question)))
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    fn path(&self, question: &Question) -> PathBuf {
        self.state.asks().join(format!("chosen-{}.json", question.digest))
    }

    fn keep(&self, question: &Question, picks: &Picks) -> bool {
        let kept = tokio::task::block_in_place(|| {
            std::fs::create_dir_all(self.state.asks())?;
            save(&self.path(question), picks, Flush::None).map_err(std::io::Error::other)
        });
        if let Err(err) = &kept {
            tracing::error!("what was chosen cannot be kept: {err:#}");
        }
        kept.is_ok()
    }

    /// Does what a button beside an open question says. Gives what whoever pressed it is told.
    pub(crate) async fn press(
        &self,
        open: &Open,
        at: usize,
        pick: Pick,
        speaker: Speaker<'_>,
    ) -> &'static str {
        let _one = self.one_at_a_time.lock().await;
        let mut picks = self.picks(&open.question);
        let mut told = "Chosen.";
        if !picks.updates.contains(&speaker.update) {
            let by = Awaited { by: speaker.from, name: speaker.name.to_owned() };
            told = picks.press(&open.question.choices, at, pick, by);
        }
        match self.take(open, picks, &speaker).await {
            true => told,
            false => "This cannot be chosen now.",
        }
    }

    /// Takes a message as an answer, if the open question of its thread waits for one of this person. `false`: it is a
    /// message like any other.
    pub(crate) async fn hear(&self, thread: &ThreadId, speaker: Speaker<'_>, text: &str) -> bool {
        let text = text.trim();
        if text.is_empty() || text.len() > ANSWER_BYTES_MAX {
            return false;
        }
        let _one = self.one_at_a_time.lock().await;
        let Some(open) = tokio::task::block_in_place(|| self.open_in(thread)) else { return false };
        let mut picks = self.picks(&open.question);
        if !picks.updates.contains(&speaker.update) {
            if picks.awaits.as_ref().is_none_or(|it| it.by != speaker.from) {
                return false;
            }
            picks.say(&open.question.choices, text);
        }
        self.take(&open, picks, &speaker).await
    }

    /// Keeps what is chosen now, and passes it on when it is all.
    async fn take(&self, open: &Open, mut picks: Picks, speaker: &Speaker<'_>) -> bool {
        if !picks.updates.contains(&speaker.update) {
            picks.updates.push(speaker.update);
            let old = picks.updates.len().saturating_sub(UPDATES_MAX);
            picks.updates.drain(..old);
        }
        if picks.answered == open.question.choices.len().max(1) {
            let (key, thread) = (speaker.key.clone(), open.thread.clone());
            let mut order = Message::new(key, Channel::Telegram, thread, "", speaker.at_ms);
            order.sender = speaker.name.to_owned();
            order.sender_id = Some(speaker.from.to_string());
            let (request_id, shown) = (open.request_id.clone(), open.question.digest.clone());
            let answers = picks.chosen.clone();
            order.command = Some(match open.question.plan {
                Some(_) => {
                    let text = answers.into_iter().filter_map(|it| it.text).collect();
                    Command::Change { request_id, text, shown }
                }
                None => Command::Choose { request_id, answers, shown },
            });
            // Before it is kept that all is chosen: then nobody can choose any more.
            if let Err(err) = self.publisher.publish(Side::Run, order, speaker.address).await {
                tracing::error!("an answer cannot be published: {err}");
                return false;
            }
        }
        self.keep(&open.question, &picks)
    }

    /// The open question of a thread's turn.
    fn open_in(&self, thread: &ThreadId) -> Option<Open> {
        let progresses = self.progresses.list().into_iter();
        let mut open = progresses.filter(|it| it.thread_id == *thread).filter_map(|it| {
            let ask = it.asks?;
            let is_at_work = |key: &Key| {
                matches!(self.view.find(key), Ok(Some(seen)) if seen.place == Place::Processing)
            };
            let question = Question::of(&ask);
            let wants_words = question.plan.is_some() || !question.choices.is_empty();
            let is_open = wants_words && is_at_work(&it.key);
            is_open.then_some(Open { thread: it.thread_id, request_id: ask.request_id, question })
        });
        open.next()
    }
}

/// An open question.
pub(crate) struct Open {
    pub(crate) thread: ThreadId,
    pub(crate) request_id: String,
    pub(crate) question: Question,
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tinyclaw_domain::approval::choices;

    use super::*;

    fn asked() -> Vec<Choice> {
        let options = json!([{ "label": "Red" }, { "label": "Green" }]);
        choices(&json!({ "questions": [
            { "question": "Which?", "options": options },
            { "question": "Which more?", "options": options, "multiSelect": true } ] }))
        .unwrap()
    }

    fn ada() -> Awaited {
        Awaited { by: 101, name: "Ada".to_owned() }
    }

    #[test]
    fn one_is_chosen_at_once_and_several_when_it_is_said() {
        let (choices, mut picks) = (asked(), Picks::default());
        assert_eq!(picks.press(&choices, 0, Pick::Option(2), ada()), LATE, "there are two");
        assert_eq!(picks.press(&choices, 1, Pick::Option(0), ada()), LATE, "not its turn");
        assert_eq!(picks.press(&choices, 0, Pick::Option(1), ada()), "Chosen.");
        assert_eq!(picks.press(&choices, 0, Pick::Option(0), ada()), LATE, "it is chosen");
        assert_eq!(picks.press(&choices, 1, Pick::Done, ada()), "Nothing is chosen yet.");
        for option in [0, 1, 0] {
            picks.press(&choices, 1, Pick::Option(option), ada());
        }
        assert_eq!(picks.answered, 1);
        assert_eq!(picks.press(&choices, 1, Pick::Done, ada()), "Chosen.");
        assert_eq!((picks.chosen, picks.answered), (vec![Chosen::option(1), Chosen::option(1)], 2));
    }

    #[test]
    fn own_words_stand_alone_or_beside_what_was_chosen() {
        let (choices, mut picks) = (asked(), Picks::default());
        assert_eq!(picks.press(&choices, 0, Pick::Other, ada()), NEXT);
        picks.say(&choices, "Blue");
        assert_eq!((picks.awaits.clone(), picks.answered), (None, 1));
        picks.press(&choices, 1, Pick::Option(0), ada());
        picks.press(&choices, 1, Pick::Other, ada());
        picks.say(&choices, "and figs");
        let both = Chosen { options: vec![0], text: Some("and figs".to_owned()) };
        assert_eq!(picks.chosen, [Chosen::words("Blue"), both]);
    }
}
