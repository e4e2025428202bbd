//! A request as it came over the wire, whatever it was encoded as: JSON, a form, or parts with files.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Fields whose text is text, even when it looks like a number or an object.
const TEXTS: &[&str] = &[
    "action",
    "callback_data",
    "callback_query_id",
    "caption",
    "description",
    "emoji",
    "file_id",
    "icon_custom_emoji_id",
    "language_code",
    "name",
    "parse_mode",
    "secret_token",
    "text",
    "title",
    "url",
];

/// A file that came with a request.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) name: String,
    pub(crate) mime: String,
    pub(crate) bytes: Vec<u8>,
}

/// The parameters and files of one request.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) params: Map<String, Value>,
    pub(crate) files: BTreeMap<String, Upload>,
    /// Whether the values came as text.
    pub(crate) is_form: bool,
}

impl Request {
    /// Reads a body by its content type, and the query beside it.
    pub(crate) fn read(query: &str, content_type: &str, body: &[u8]) -> Result<Request, String> {
        let mut request = Request { is_form: true, ..Request::default() };
        request.read_form(query);
        if content_type.starts_with("application/json") {
            request.is_form = false;
            if !body.is_empty() {
                let value: Value = serde_json::from_slice(body)
                    .map_err(|it| format!("can't parse request as JSON: {it}"))?;
                let Value::Object(object) = value else {
                    return Err("can't parse request: it is no object".to_owned());
                };
                request.params.extend(object.into_iter().filter(|(_, it)| !it.is_null()));
            }
        } else if content_type.starts_with("multipart/form-data") {
            let boundary = content_type
                .split("boundary=")
                .nth(1)
                .map(|it| it.trim_matches('"'))
                .ok_or("a multipart body without a boundary")?;
            request.read_parts(boundary, body)?;
        } else {
            request.read_form(&String::from_utf8_lossy(body));
        }
        Ok(request)
    }

    fn read_form(&mut self, text: &str) {
        for pair in text.split('&').filter(|it| !it.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.set(percent_decode(name), percent_decode(&value.replace('+', " ")));
        }
    }

    fn set(&mut self, name: String, text: String) {
        let value = if TEXTS.contains(&name.as_str()) {
            Value::String(text)
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        self.params.insert(name, value);
    }

    fn read_parts(&mut self, boundary: &str, body: &[u8]) -> Result<(), String> {
        let delimiter = format!("--{boundary}");
        let mut rest = body;
        let mut at = find(rest, delimiter.as_bytes()).ok_or("a multipart body without parts")?;
        loop {
            rest = &rest[at + delimiter.len()..];
            if rest.starts_with(b"--") {
                return Ok(());
            }
            let head_end = find(rest, b"\r\n\r\n").ok_or("a part without a head")?;
            let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
            rest = &rest[head_end + 4..];
            let next = format!("\r\n{delimiter}");
            at = find(rest, next.as_bytes()).ok_or("a part without an end")?;
            self.add_part(&head, &rest[..at])?;
            at += 2;
        }
    }

    fn add_part(&mut self, head: &str, bytes: &[u8]) -> Result<(), String> {
        let name = attribute(head, "name=").ok_or("a part without a name")?;
        let mime = head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned())
        });
        match attribute(head, "filename=") {
            Some(file_name) => {
                // A file part is named in the parameters, or stands for the parameter of its own name.
                let reference = Value::String(format!("attach://{name}"));
                self.params.entry(name.clone()).or_insert(reference);
                let upload = Upload {
                    name: file_name,
                    mime: mime.unwrap_or_default(),
                    bytes: bytes.to_owned(),
                };
                self.files.insert(name, upload);
            }
            None => self.set(name, String::from_utf8_lossy(bytes).into_owned()),
        }
        Ok(())
    }

    /// Takes out the names under which files came that other parameters refer to: they are no parameters.
    pub(crate) fn settle(&mut self) {
        let referred: Vec<String> = self
            .params
            .iter()
            .map(|(name, value)| (name, value.to_string()))
            .flat_map(|(own, text)| {
                self.files
                    .keys()
                    .filter(move |it| *it != own && text.contains(&format!("attach://{it}")))
                    .cloned()
                    .collect::<Vec<_>>()
            })
            .collect();
        for name in referred {
            self.params.remove(&name);
        }
    }

    /// The file that a parameter's value means.
    pub(crate) fn file(&self, value: &Value) -> Option<&Upload> {
        self.files.get(value.as_str()?.strip_prefix("attach://")?)
    }

    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        let value = self.params.get(name)?;
        value.as_i64().or_else(|| value.as_str()?.parse().ok())
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.params.get(name)?.as_str()
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.params.get(name).is_some_and(|it| *it == true || *it == "true" || *it == "True")
    }
}

fn attribute(head: &str, name: &str) -> Option<String> {
    let line =
        head.lines().find(|it| it.to_ascii_lowercase().starts_with("content-disposition"))?;
    let value = line.split(';').find_map(|it| it.trim().strip_prefix(name))?;
    Some(value.trim_matches('"').to_owned())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut at = 0;
    while let Some(next) = haystack[at..].iter().position(|it| *it == first) {
        at += next;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Decodes `%2F` and its like.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|it| u8::from_str_radix(it, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_with_a_file_is_read_like_json() {
        let body = "--X\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n7\r\n--X\r\n\
            Content-Disposition: form-data; name=\"document\"\r\n\r\nattach://f1\r\n--X\r\n\
            Content-Disposition: form-data; name=\"f1\"; filename=\"a.md\"\r\nContent-Type: text/markdown\r\n\r\n\
            a--X\r\nb\r\n--X--\r\n";
        let mut request =
            Request::read("", "multipart/form-data; boundary=X", body.as_bytes()).unwrap();
        request.settle();
        assert_eq!(
            serde_json::to_string(&request.params).unwrap(),
            r#"{"chat_id":7,"document":"attach://f1"}"#
        );
        let file = request.file(&request.params["document"]).unwrap();
        assert_eq!((file.name.as_str(), file.bytes.as_slice()), ("a.md", b"a--X\r\nb".as_slice()));
    }

    #[test]
    fn a_text_stays_a_text() {
        let request = Request::read("text=12&chat_id=12&x=%7B%22a%22%3A1%7D", "", b"").unwrap();
        assert_eq!(
            serde_json::to_string(&request.params).unwrap(),
            r#"{"text":"12","chat_id":12,"x":{"a":1}}"#
        );
    }
}
