//! Permission questions that are too long for a message: all of one is sent as a file, and only then is it asked.
//!
//! The file goes out through the queue under a key that is made of what it shows, so it comes once, also over a restart.
//! Nothing is shortened or concealed in it, and it lies where no agent can write: one that could would have a person read
//! something harmless and allow the rest.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tinyclaw_disk::Flush;
use tinyclaw_domain::approval::Question;
use tinyclaw_domain::{Ask, FileRef, Key, Message, Progress, ThreadId};
use tinyclaw_queue::Place;

use crate::face::{Face, Notice, Origin};
use crate::inbound::downloads::safe_name;
use crate::status::layout::{self, Look, Sheet};

/// What the file is called among the notices about its question.
const KIND: &str = "input";

/// How a turn looks that may be asking something.
pub(crate) fn look(face: &Arc<Face>, progress: Progress, origin: Option<&Origin>) -> Look {
    let Some(ask) = &progress.asks else { return Look::Turn(Box::new(progress)) };
    let question = Question::of(ask);
    let sheet = match !question.may_allow() || layout::fits(&question) {
        true => Sheet::Needless,
        false => sheet(face, &progress.thread_id, ask, &question, origin),
    };
    Look::Asks { progress: Box::new(progress), question: Box::new(question), sheet }
}

fn sheet(
    face: &Arc<Face>,
    thread: &ThreadId,
    ask: &Ask,
    question: &Question,
    origin: Option<&Origin>,
) -> Sheet {
    let about = Key::hashed("ask", &question.digest);
    match face.view.find(&about.notice(0, KIND)) {
        Ok(Some(seen)) => match seen.place {
            // What Telegram did not take was taken away: a line in its place shows nothing.
            Place::Done if path_of(face, ask, question).is_file() => Sheet::Stands,
            Place::Done => Sheet::Failed,
            Place::Dead | Place::Quarantine => Sheet::Failed,
            _ => Sheet::OnItsWay,
        },
        Ok(None) => match write(face, ask, question) {
            Ok(file) => {
                let notice = Notice {
                    about,
                    kind: KIND,
                    thread: thread.clone(),
                    text: format!("All of the question “{}”:", question.title),
                    origin: origin.cloned(),
                    files: vec![file],
                };
                let face = Arc::clone(face);
                tokio::spawn(async move { face.notify(notice).await });
                Sheet::OnItsWay
            }
            Err(err) => {
                tracing::error!("cannot write what a question is about: {err:#}");
                Sheet::Failed
            }
        },
        Err(err) => {
            tracing::warn!("the queue cannot be read: {err}");
            Sheet::OnItsWay
        }
    }
}

/// Whether a message is the file of a question. Such keys are ours alone: no agent writes to the queue.
pub(crate) fn is_sheet(message: &Message) -> bool {
    message.key.as_str().starts_with("n-ask-")
}

/// The file of a question was not taken by Telegram: what was to be seen in it was not.
pub(crate) fn not_sent(face: &Face, message: &Message) {
    if !is_sheet(message) {
        return;
    }
    for file in message.reply.iter().flat_map(|it| &it.files) {
        let path = face.state.root().join(&file.path);
        if let Err(err) = tokio::task::block_in_place(|| tinyclaw_disk::remove(&path)) {
            tracing::error!("{err}");
        }
    }
}

fn name_of(ask: &Ask, question: &Question) -> String {
    format!("{}_{}", question.digest, safe_name(&format!("{}.txt", ask.tool)))
}

fn path_of(face: &Face, ask: &Ask, question: &Question) -> PathBuf {
    face.state.asks().join(name_of(ask, question))
}

/// All of a question, as a file.
fn write(face: &Face, ask: &Ask, question: &Question) -> anyhow::Result<FileRef> {
    let there = path_of(face, ask, question);
    std::fs::create_dir_all(face.state.asks()).context("cannot make the folder")?;
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
