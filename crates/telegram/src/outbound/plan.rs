//! What an answer is sent as: texts and files in a fixed order, so that part 3 is part 3 after a restart too.
//!
//! The plan depends on the message file alone. Nothing of an answer is left out: what is too long for a few messages
//! goes as a file as well. Which files may be sent is decided in [`crate::outbound::outgoing_files`].

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tinyclaw_domain::{FileRef, Message, Outcome, Place, Reply, Source, safe_name};
use tinyclaw_ledger::StateDir;
use tinyclaw_queue::View;
use tinyclaw_service::settings::{CostLine, Telegram};

use crate::bot::Bot;
use crate::bot::addresses::Address;
use crate::bot::client::Upload;
use crate::origin::arrival;
use crate::outbound::outgoing_files::{Grounds, Opened};
use crate::status::long_question::is_question_file;
use crate::text::{self, Part, Room};
use crate::threads;

/// More messages than this, and the answer goes as a file with its beginning as a text.
const PARTS_MAX: usize = 4;
/// How much of such an answer is shown.
const BEGINNING_UNITS: usize = 2500;
/// What Telegram takes as a photo.
const PHOTO_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// An album has so many pictures at most.
const ALBUM_MAX: usize = 10;

/// One message, or one album.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Text(Part),
    /// Something written, as a file: long code, or the whole answer.
    Written {
        name: String,
        mime: &'static str,
        text: String,
    },
    Document(Outgoing),
    Photos(Vec<Outgoing>),
}

impl Piece {
    fn of_code(file: text::CodeFile) -> Piece {
        Piece::Written {
            mime: tinyclaw_service::media_type(&file.name),
            name: file.name,
            text: file.text,
        }
    }
}

/// A file of the thread's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) path: PathBuf,
    /// Where it may lie, when it is sent as well as now.
    pub(crate) grounds: Grounds,
    pub(crate) name: String,
    pub(crate) mime: String,
}

/// Everything an answer is sent as.
pub(crate) fn plan(
    bot: &Bot,
    state: &StateDir,
    view: &View,
    message: &Message,
) -> anyhow::Result<Vec<Piece>> {
    let Some(reply) = &message.reply else { bail!("there is no reply") };
    let markdown = whole_text(state, reply)?;
    let settings = bot.settings.current();
    let (files, refused) = files(state, message, &reply.files);
    let mut pieces =
        texts(&markdown, &before(bot, state, view, message), &after(reply, &settings.1, &refused));
    pieces.extend(files);
    Ok(pieces)
}

fn whole_text(state: &StateDir, reply: &Reply) -> anyhow::Result<String> {
    let Some(file) = &reply.file else { return Ok(reply.text.clone()) };
    let root = state.root().canonicalize().context("cannot find the state folder")?;
    let grounds = Grounds::of(&StateDir::new(&root).all_files(), None);
    let bytes = grounds.open(&root.join(file)).and_then(Opened::read);
    let bytes = bytes.with_context(|| format!("the answer is in {file}"))?;
    String::from_utf8(bytes).with_context(|| format!("cannot read {file}"))
}

/// Texts for an answer, `before` and `after` of which are HTML of one message at most.
fn texts(markdown: &str, before: &str, after: &str) -> Vec<Piece> {
    let room = Room::default().less(text::units(before) + text::units(after) + 8);
    let (lifted, code) = text::lift(markdown);
    let mut parts = text::render(&lifted, room);
    let mut files: Vec<Piece> = code.into_iter().map(Piece::of_code).collect();
    if parts.len() > PARTS_MAX {
        let beginning = Room { units: BEGINNING_UNITS, ..room };
        parts = text::render(markdown, beginning);
        parts.truncate(1);
        let kilobytes = markdown.len().div_ceil(1000);
        if let Some(part) = parts.first_mut() {
            part.html.push_str(&format!(
                "\n\n<i>… The whole answer, {kilobytes} KB, is in answer.md.</i>"
            ));
        }
        // All the code is in it.
        files = vec![Piece::Written {
            name: "answer.md".to_owned(),
            mime: "text/markdown",
            text: markdown.to_owned(),
        }];
    }
    if parts.is_empty() && !(before.is_empty() && after.is_empty()) {
        parts.push(Part { html: String::new() });
    }
    if let Some(first) = parts.first_mut() {
        first.html.insert_str(0, before);
    }
    if let Some(last) = parts.last_mut() {
        if !last.html.is_empty() && !after.is_empty() {
            last.html.push_str("\n\n");
        }
        last.html.push_str(after);
    }
    parts.into_iter().map(Piece::Text).chain(files).collect()
}

/// Who asked, when it was another thread and that is not shown already: then the answer is a reply to it.
fn before(bot: &Bot, state: &StateDir, view: &View, message: &Message) -> String {
    let Some(source) =
        message.source_thread_id.as_ref().filter(|_| message.source == Source::CrossThread)
    else {
        return String::new();
    };
    if arrival(view, &message.key).is_some() {
        return String::new();
    }
    let name = text::escape(&threads::name_of(state, &bot.addresses, source));
    let linked = match bot.address_of(source).and_then(Address::link) {
        Some(link) => format!("<a href=\"{link}\">{name}</a>"),
        None => name,
    };
    let asked = text::escape(&text::shortened(message.message.trim(), 200).replace('\n', " "));
    format!("<i>{linked} asked: {asked}</i>\n\n")
}

/// What became of the turn, what it cost, what could not be sent.
fn after(reply: &Reply, settings: &Telegram, refused: &[String]) -> String {
    let mut lines: Vec<String> =
        refused.iter().map(|it| text::escape(&text::shortened(it, 160))).collect();
    let seconds = reply.duration_ms.div_ceil(1000);
    let cost_shown = match settings.cost_line {
        CostLine::Always => true,
        CostLine::Over => reply.cost_usd > settings.cost_over,
        CostLine::Never => false,
    };
    if let Some(model) = reply.model.filter(|_| cost_shown && reply.outcome != Outcome::Notice) {
        lines.push(format!("<i>{model} · {seconds} s · ${:.2}</i>", reply.cost_usd));
    }
    lines.truncate(12);
    lines.join("\n")
}

/// The files of an answer in the order they go out, and what is not sent and why.
fn files(state: &StateDir, message: &Message, files: &[FileRef]) -> (Vec<Piece>, Vec<String>) {
    let grounds = if is_question_file(message) {
        Grounds::of(&state.asks(), None)
    } else {
        // Of another place nothing lies here but what was fetched into our own folder.
        let dir =
            threads::listed(state).remove(&message.thread_id).and_then(|it| match it.place() {
                (Place::Here, dir) => Some(dir),
                _ => None,
            });
        Grounds::of(&state.files(&message.thread_id), dir.as_deref())
    };
    let (mut pieces, mut refused) = (Vec::<Piece>::new(), Vec::new());
    for file in files {
        match allowed(state.root(), &grounds, file) {
            Ok((it, is_photo)) => match pieces.last_mut() {
                Some(Piece::Photos(album)) if is_photo && album.len() < ALBUM_MAX => album.push(it),
                _ if is_photo => pieces.push(Piece::Photos(vec![it])),
                _ => pieces.push(Piece::Document(it)),
            },
            Err(why) => {
                let name = Path::new(&file.path).file_name().unwrap_or_default().to_string_lossy();
                refused.push(format!("{name} was not sent: {why}."));
            }
        }
    }
    (pieces, refused)
}

/// Whether a file may go out, and whether as a photo.
fn allowed(root: &Path, grounds: &Grounds, file: &FileRef) -> anyhow::Result<(Outgoing, bool)> {
    // An absolute path is not changed by what it is joined to.
    let Opened { path, about, .. } = grounds.open(&root.join(&file.path))?;
    let name = file.name.clone().or_else(|| Some(path.file_name()?.to_string_lossy().into_owned()));
    let name = safe_name(&name.unwrap_or_default());
    let mime = if file.mime.is_empty() { tinyclaw_service::media_type(&name) } else { &file.mime }
        .to_owned();
    let photo = matches!(mime.as_str(), "image/jpeg" | "image/png" | "image/webp");
    let photo = photo && about.len() <= PHOTO_BYTES_MAX;
    Ok((Outgoing { path, grounds: grounds.clone(), name, mime }, photo))
}

impl Outgoing {
    /// Reads the file for sending. The error is for a person.
    pub(crate) fn upload(&self) -> anyhow::Result<Upload> {
        let bytes = self.grounds.open(&self.path)?.read()?;
        Ok(Upload { name: self.name.clone(), mime: self.mime.clone(), bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(pieces: &[Piece]) -> Vec<String> {
        let shape = |it: &Piece| match it {
            Piece::Text(part) => part.html.clone(),
            Piece::Written { name, text, .. } => format!("{name}, {} bytes", text.len()),
            Piece::Document(it) => it.name.clone(),
            Piece::Photos(it) => format!("{} photos", it.len()),
        };
        pieces.iter().map(shape).collect()
    }

    #[test]
    fn an_answer_stands_between_what_was_asked_and_what_it_cost() {
        assert_eq!(
            shapes(&texts("**a**", "<i>x</i>\n\n", "<i>y</i>")),
            ["<i>x</i>\n\n<b>a</b>\n\n<i>y</i>"]
        );
        assert_eq!(shapes(&texts("", "", "Stopped.")), ["Stopped."]);
        assert_eq!(shapes(&texts(" ", "", "")), [""; 0]);
    }

    #[test]
    fn a_very_long_answer_is_a_beginning_and_a_file() {
        let long = "A sentence of an answer that goes on.\n\n".repeat(600);
        let pieces = texts(&long, "", "");
        assert_eq!(pieces.len(), 2);
        assert_eq!(shapes(&pieces)[1], format!("answer.md, {} bytes", long.len()));
        assert!(shapes(&pieces)[0].ends_with("24 KB, is in answer.md.</i>"));
    }

    #[test]
    fn long_code_is_a_file_beside_a_short_answer_and_part_of_a_long_one() {
        let code = "let x = 1;\n".repeat(2000);
        let answer = format!("This is it:\n\n```rust\n{code}```\n\nIt does nothing.");
        let pieces = texts(&answer, "", "");
        assert_eq!(shapes(&pieces)[1..], ["code.rs, 22000 bytes"]);
        let shown = &shapes(&pieces)[0];
        assert!(shown.contains("<i>… All 2000 lines are in</i> <code>code.rs</code>"), "{shown}");
        assert!(shown.ends_with("It does nothing."), "{shown}");
        let long = format!("{answer}\n\n{}", "And so on, and so on.\n\n".repeat(1000));
        let files = shapes(&texts(&long, "", "")).split_off(1);
        assert_eq!(files, [format!("answer.md, {} bytes", long.len())]);
    }
}
