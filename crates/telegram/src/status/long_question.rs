//! Permission questions that are too long for a message: all of one is sent as a file, a plan as messages, and only then is
//! it asked.
//!
//! The file goes out through the queue under a key that is made of what it shows, so it comes once, also over a restart.
//! Nothing is shortened or concealed in it, and it lies where no agent can write: one that could would have a person read
//! something harmless and allow the rest.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tinyclaw_disk::Flush;
use tinyclaw_domain::approval::Question;
use tinyclaw_domain::{Ask, FileRef, Key, Message, Progress, ThreadId, safe_name};
use tinyclaw_ledger::StateDir;
use tinyclaw_queue::{Place, View};

use crate::choosing::{Choosing, Picks};
use crate::origin::Origin;
use crate::publish::{Notice, Publisher};
use crate::status::choices::QuestionFile;
use crate::status::layout::{self, Phase};

/// What the file is called among the notices about its question.
const KIND: &str = "input";

/// Who sends the files of long questions.
#[derive(Clone)]
pub(crate) struct LongQuestions {
    pub(crate) state: StateDir,
    pub(crate) view: View,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) choosing: Arc<Choosing>,
}

impl LongQuestions {
    /// How a turn is that may be asking something.
    pub(crate) fn phase(&self, progress: Progress, origin: Option<&Origin>) -> Phase {
        let Some(ask) = &progress.asks else { return Phase::Turn(Box::new(progress)) };
        let question = Question::of(ask);
        let file = match (!question.may_allow() || layout::fits(&question), &question.plan) {
            (true, _) => QuestionFile::Needless,
            (false, Some(plan)) => self.message(&progress.thread_id, plan, &question, origin),
            (false, None) => self.file(&progress.thread_id, ask, &question, origin),
        };
        let picks = match question.choices.is_empty() && question.plan.is_none() {
            true => Picks::default(),
            false => self.choosing.picks(&question),
        };
        Phase::Asks { progress: Box::new(progress), question: Box::new(question), file, picks }
    }

    /// A long plan comes as a message of its own, or as several.
    fn message(
        &self,
        thread: &ThreadId,
        plan: &str,
        question: &Question,
        origin: Option<&Origin>,
    ) -> QuestionFile {
        let about = Key::hashed("plan", &question.digest);
        match self.view.find(&about.notice(0, KIND)) {
            Ok(Some(seen)) => match seen.place {
                Place::Done => QuestionFile::Stands,
                Place::Dead | Place::Quarantine => QuestionFile::Failed,
                _ => QuestionFile::OnItsWay,
            },
            Ok(None) => {
                let (thread, origin) = (thread.clone(), origin.cloned());
                let (text, files) = (plan.to_owned(), Vec::new());
                let notice = Notice { about, kind: KIND, thread, text, origin, files };
                let publisher = Arc::clone(&self.publisher);
                tokio::spawn(async move { publisher.notify(notice).await });
                QuestionFile::OnItsWay
            }
            Err(err) => {
                tracing::warn!("the queue cannot be read: {err}");
                QuestionFile::OnItsWay
            }
        }
    }

    fn file(
        &self,
        thread: &ThreadId,
        ask: &Ask,
        question: &Question,
        origin: Option<&Origin>,
    ) -> QuestionFile {
        let about = Key::hashed("ask", &question.digest);
        match self.view.find(&about.notice(0, KIND)) {
            Ok(Some(seen)) => match seen.place {
                // What Telegram did not take was taken away: a line in its place shows nothing.
                Place::Done if self.path_of(ask, question).is_file() => QuestionFile::Stands,
                Place::Done => QuestionFile::Failed,
                Place::Dead | Place::Quarantine => QuestionFile::Failed,
                _ => QuestionFile::OnItsWay,
            },
            Ok(None) => match self.write(ask, question) {
                Ok(file) => {
                    let notice = Notice {
                        about,
                        kind: KIND,
                        thread: thread.clone(),
                        text: format!("All of the question “{}”:", question.title),
                        origin: origin.cloned(),
                        files: vec![file],
                    };
                    let publisher = Arc::clone(&self.publisher);
                    tokio::spawn(async move { publisher.notify(notice).await });
                    QuestionFile::OnItsWay
                }
                Err(err) => {
                    tracing::error!("cannot write what a question is about: {err:#}");
                    QuestionFile::Failed
                }
            },
            Err(err) => {
                tracing::warn!("the queue cannot be read: {err}");
                QuestionFile::OnItsWay
            }
        }
    }

    /// The file of a question was not taken by Telegram: what was to be seen in it was not.
    pub(crate) fn not_sent(&self, message: &Message) {
        if !is_question_file(message) {
            return;
        }
        for file in message.reply.iter().flat_map(|it| &it.files) {
            let path = self.state.root().join(&file.path);
            if let Err(err) = tokio::task::block_in_place(|| tinyclaw_disk::remove(&path)) {
                tracing::error!("{err}");
            }
        }
    }

    fn path_of(&self, ask: &Ask, question: &Question) -> PathBuf {
        self.state.asks().join(name_of(ask, question))
    }

    /// All of a question, as a file.
    fn write(&self, ask: &Ask, question: &Question) -> anyhow::Result<FileRef> {
        let there = self.path_of(ask, question);
        std::fs::create_dir_all(self.state.asks()).context("cannot make the folder")?;
        let mut text = format!("{}\n\n", question.title);
        for warning in &question.warnings {
            text.push_str(&format!("{warning}\n"));
        }
        text.push_str(&question.body);
        text.push('\n');
        tinyclaw_disk::replace(&there, text.as_bytes(), Flush::Strict)?;
        let path = format!("asks/{}", name_of(ask, question));
        let name = Some(safe_name(&format!("{}.txt", ask.tool)));
        Ok(FileRef { path, mime: "text/plain".to_owned(), name })
    }
}

/// Whether a message is the file of a question. Such keys are ours alone: no agent writes to the queue.
pub(crate) fn is_question_file(message: &Message) -> bool {
    message.key.as_str().starts_with("n-ask-")
}

fn name_of(ask: &Ask, question: &Question) -> String {
    format!("{}_{}", question.digest, safe_name(&format!("{}.txt", ask.tool)))
}
