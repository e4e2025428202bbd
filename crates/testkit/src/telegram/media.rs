//! Photos, documents and voice as the API describes them.

use serde_json::{Value, json};

use super::world::World;

/// The largest file `getFile` hands out.
pub(crate) const DOWNLOAD_BYTES_MAX: u64 = 20 * 1024 * 1024;
/// The largest file a bot may send.
pub(crate) const UPLOAD_BYTES_MAX: usize = 50 * 1024 * 1024;
/// The largest picture it may send as a photo.
pub(crate) const PHOTO_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Keeps a file and describes it: the message's field and its value.
pub(crate) fn describe(
    world: &mut World,
    kind: &str,
    name: &str,
    mime: &str,
    bytes: Vec<u8>,
    size: Option<u64>,
) -> Result<(&'static str, Value), String> {
    let size = size.unwrap_or(bytes.len() as u64);
    let mut keep = |folder: &str, name: &str, bytes: Vec<u8>| {
        let id = world.keep_file(folder, name, bytes, size);
        (format!("{id}U"), id)
    };
    Ok(match kind {
        "photo" => {
            let sizes = [90, 320, 1280].map(|width| {
                let (unique, id) = keep("photos", "photo.jpg", bytes.clone());
                json!({"file_id": id, "file_unique_id": unique, "width": width, "height": width * 3 / 4,
                    "file_size": if width == 1280 { size } else { size.min(width) }})
            });
            ("photo", sizes.to_vec().into())
        }
        "document" => {
            let (unique, id) = keep("documents", name, bytes);
            (
                "document",
                json!({"file_id": id, "file_unique_id": unique, "file_name": name,
                "mime_type": mime, "file_size": size}),
            )
        }
        "voice" => {
            let (unique, id) = keep("voice", "voice.oga", bytes);
            (
                "voice",
                json!({"file_id": id, "file_unique_id": unique, "duration": 3,
                "mime_type": "audio/ogg", "file_size": size}),
            )
        }
        "audio" => {
            let (unique, id) = keep("music", name, bytes);
            (
                "audio",
                json!({"file_id": id, "file_unique_id": unique, "duration": 3, "file_name": name,
                "mime_type": mime, "file_size": size}),
            )
        }
        "animation" => {
            let (unique, id) = keep("animations", name, bytes);
            (
                "animation",
                json!({"file_id": id, "file_unique_id": unique, "duration": 3, "width": 320,
                "height": 240, "file_name": name, "mime_type": mime, "file_size": size}),
            )
        }
        "video" => {
            let (unique, id) = keep("videos", name, bytes);
            (
                "video",
                json!({"file_id": id, "file_unique_id": unique, "duration": 3, "width": 640,
                "height": 480, "file_name": name, "mime_type": mime, "file_size": size}),
            )
        }
        other => return Err(format!("{other:?} is no kind of file")),
    })
}
