//! One part of an answer on its way, in whatever form Telegram takes it: with markup or without, a picture as a photo or
//! as a document, and for a file that cannot be sent at all a line that says so. What a failure means for the whole
//! answer is not decided here.

use serde_json::{Map, Value, json};
use teloxide::payloads::{SendMessage, setters::*};
use teloxide::types::ReplyParameters;

use crate::bot::addresses::Address;
use crate::bot::client::{CallError, Refusal, Upload};
use crate::bot::{Bot, markup};
use crate::outbound::plan::{Outgoing, Piece};
use crate::text::{self, MARK, Part};

/// Telegram takes 1,024 units below a file.
const CAPTION_UNITS_MAX: usize = 900;

/// One part on its way.
pub(crate) struct Sending<'a> {
    pub(crate) part: u32,
    pub(crate) piece: &'a Piece,
    pub(crate) keyboard: Option<Value>,
    /// It may be there already.
    pub(crate) doubt: bool,
    /// Without markup.
    pub(crate) plainly: bool,
    /// Pictures as documents.
    pub(crate) as_documents: bool,
    /// What is said in place of files that cannot be sent.
    pub(crate) instead: Option<String>,
}

impl Sending<'_> {
    /// How many messages it counts as.
    pub(crate) fn cost(&self) -> usize {
        match self.piece {
            Piece::Photos(it) => it.len(),
            _ => 1,
        }
    }

    fn files(&self) -> &[Outgoing] {
        match self.piece {
            Piece::Photos(files) => files,
            Piece::Document(file) => std::slice::from_ref(file),
            Piece::Text(_) | Piece::Written { .. } => &[],
        }
    }

    /// Telegram does not take its files: it goes in another form from now on. `false` when there is none.
    pub(crate) fn fall_back(&mut self, why: &str) -> bool {
        if self.files().is_empty() || self.instead.is_some() {
            return false;
        }
        if matches!(self.piece, Piece::Photos(_)) && !self.as_documents {
            self.as_documents = true;
            return true;
        }
        let why = why.strip_prefix("Bad Request: ").unwrap_or(why);
        let line = |it: &Outgoing| not_sent(&it.name, &format!("Telegram does not take it: {why}"));
        self.instead = Some(self.files().iter().map(line).collect::<Vec<_>>().join("\n"));
        true
    }

    /// Puts it in place of the message `id`.
    pub(crate) async fn edit(&self, bot: &Bot, address: Address, id: i64) -> Result<(), CallError> {
        let Piece::Text(part) = self.piece else { return Ok(()) };
        let html = if self.plainly { text::escape(&text::plain(part)) } else { part.html.clone() };
        match bot.edit(address, id, &html, self.keyboard.clone()).await {
            Err(err) if err.refusal() == Some(Refusal::NotModified) => Ok(()),
            other => other,
        }
    }

    /// Sends it as a new message, or several in one call; gives the id of the first.
    pub(crate) async fn send(
        &self,
        bot: &Bot,
        address: Address,
        note: &str,
        reply_to: Option<ReplyParameters>,
    ) -> Result<i64, CallError> {
        if let Some(lines) = &self.instead {
            return self.text(bot, address, note, &text::escape(lines), reply_to).await;
        }
        match self.piece {
            Piece::Text(part) => self.text(bot, address, note, &part.html, reply_to).await,
            Piece::Written { name, mime, text } => {
                let file = Upload {
                    name: name.clone(),
                    mime: (*mime).to_owned(),
                    bytes: text.clone().into_bytes(),
                };
                self.upload(bot, address, "document", vec![file], &[]).await
            }
            Piece::Document(_) | Piece::Photos(_) => {
                let (mut files, mut lines) = (Vec::new(), Vec::new());
                for file in self.files() {
                    match tokio::task::block_in_place(|| file.upload()) {
                        Ok(it) => files.push(it),
                        Err(err) => lines.push(not_sent(&file.name, &format!("{err:#}"))),
                    }
                }
                if files.is_empty() {
                    let html = text::escape(&lines.join("\n"));
                    return self.text(bot, address, note, &html, reply_to).await;
                }
                let is_photo = matches!(self.piece, Piece::Photos(_)) && !self.as_documents;
                let kind = if is_photo { "photo" } else { "document" };
                self.upload(bot, address, kind, files, &lines).await
            }
        }
    }

    async fn text(
        &self,
        bot: &Bot,
        address: Address,
        note: &str,
        html: &str,
        reply_to: Option<ReplyParameters>,
    ) -> Result<i64, CallError> {
        let mark = if self.doubt { format!("{MARK}\n") } else { String::new() };
        let html = format!("{note}{mark}{html}");
        let mut payload = if self.plainly {
            let mut plain = Bot::new_text(address, &text::plain(&Part { html }));
            plain.parse_mode = None;
            plain
        } else {
            Bot::new_text(address, &html)
        };
        if bot.settings.is_quiet() {
            payload = SendMessage::disable_notification(payload, true);
        }
        if let Some(reply) = reply_to {
            payload = SendMessage::reply_parameters(payload, reply);
        }
        let sent = bot.client.call_with(&payload, markup(self.keyboard.clone())).await?;
        Ok(sent["message_id"].as_i64().unwrap_or_default())
    }

    /// Sends files of one kind, several of them as an album, and below the first what there is to say.
    async fn upload(
        &self,
        bot: &Bot,
        address: Address,
        kind: &str,
        mut files: Vec<Upload>,
        lines: &[String],
    ) -> Result<i64, CallError> {
        let mut said = lines.to_vec();
        if self.doubt {
            said.insert(0, text::plain(&Part { html: MARK.to_owned() }));
        }
        let caption = text::shortened(&said.join("\n"), CAPTION_UNITS_MAX);
        let mut params = place(address);
        if bot.settings.is_quiet() {
            params.insert("disable_notification".to_owned(), true.into());
        }
        if files.len() == 1 {
            params.insert(kind.to_owned(), "attach://file".into());
            if !caption.is_empty() {
                params.insert("caption".to_owned(), caption.into());
            }
            let method = if kind == "photo" { "sendPhoto" } else { "sendDocument" };
            let file = files.pop().map(|it| ("file".to_owned(), it));
            let sent = bot.client.upload(method, params, file.into_iter().collect()).await?;
            return Ok(sent["message_id"].as_i64().unwrap_or_default());
        }
        let (mut media, mut parts) = (Vec::new(), Vec::new());
        for (at, file) in files.into_iter().enumerate() {
            let mut item = json!({"type": kind, "media": format!("attach://file{at}")});
            if at == 0 && !caption.is_empty() {
                item["caption"] = caption.as_str().into();
            }
            media.push(item);
            parts.push((format!("file{at}"), file));
        }
        params.insert("media".to_owned(), media.into());
        let sent = bot.client.upload("sendMediaGroup", params, parts).await?;
        Ok(sent[0]["message_id"].as_i64().unwrap_or_default())
    }
}

fn place(address: Address) -> Map<String, Value> {
    let mut params = Map::new();
    params.insert("chat_id".to_owned(), address.chat.into());
    if let Some(topic) = address.topic {
        params.insert("message_thread_id".to_owned(), topic.into());
    }
    params
}

fn not_sent(name: &str, why: &str) -> String {
    text::shortened(&format!("{name} was not sent: {why}."), 160)
}
