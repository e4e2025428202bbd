//! Large answers: how many are made at once, and how much of them may wait for readers who are slow.
//!
//! An answer weighs some megabytes while it is made and until its last part is sent. So making one needs a place, and
//! what is made counts until it has left; who comes when all is taken waits a while and is then asked to come again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// An answer stops growing at this: long prompts would fill the memory.
pub(crate) const ANSWER_BYTES_MAX: usize = 8 << 20;
/// So many are made at once: each takes about three times its size then, and there are not more processors here.
const MAKING_MAX: usize = 2;
/// So much of them may wait to be read: four of the largest.
const UNREAD_BYTES_MAX: usize = 32 << 20;
/// A part of an answer, and what counts as small.
const PART_BYTES: usize = 64 << 10;
/// So long is waited for a place.
const PATIENCE: Duration = Duration::from_secs(10);

/// A question that is not answered, and why.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    why: String,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Error {
            error: String,
        }
        let body = serde_json::to_string(&Error { error: self.why }).unwrap_or_default();
        (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

impl Refused {
    /// Says why with a status.
    pub(crate) fn new(status: StatusCode, why: impl ToString) -> Refused {
        Refused { status, why: why.to_string() }
    }
}

/// The places for large answers of one dashboard.
#[derive(Debug)]
pub(crate) struct Answers {
    making: Arc<Semaphore>,
    /// In parts of [`PART_BYTES`].
    unread: Arc<Semaphore>,
}

impl Default for Answers {
    fn default() -> Answers {
        let unread = Semaphore::new(UNREAD_BYTES_MAX / PART_BYTES);
        Answers { making: Arc::new(Semaphore::new(MAKING_MAX)), unread: Arc::new(unread) }
    }
}

impl Answers {
    /// Makes a JSON answer where waiting for the disk holds up nobody, when there is a place for it.
    pub(crate) async fn make(
        &self,
        make: impl FnOnce() -> Result<String, Refused> + Send + 'static,
    ) -> Result<Response, Refused> {
        let parts = (ANSWER_BYTES_MAX / PART_BYTES) as u32;
        let places = async {
            let unread = Arc::clone(&self.unread).acquire_many_owned(parts).await;
            (unread, Arc::clone(&self.making).acquire_owned().await)
        };
        let Ok((Ok(mut unread), Ok(making))) = timeout(PATIENCE, places).await else {
            let why = "too many large answers are on their way; ask again in a moment";
            return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, why));
        };
        let made = tokio::task::spawn_blocking(move || {
            let _making = making;
            make()
        });
        let text = made.await.map_err(|_| {
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed here")
        })??;
        let needed = text.len().div_ceil(PART_BYTES);
        // One answer may be larger than what was set aside: its last row was.
        drop(unread.split((parts as usize).saturating_sub(needed)));
        Ok(in_parts(text, unread))
    }
}

/// The answer, which gives its place back when its last part is taken, or nobody wants it any more.
fn in_parts(text: String, place: OwnedSemaphorePermit) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_LENGTH, text.len().to_string()),
    ];
    let whole = (Bytes::from(text), place);
    let parts = futures_util::stream::unfold(whole, |(mut rest, place)| async move {
        if rest.is_empty() {
            return None;
        }
        let part = rest.split_to(rest.len().min(PART_BYTES));
        Some((Ok::<_, Infallible>(part), (rest, place)))
    });
    (headers, Body::from_stream(parts)).into_response()
}
