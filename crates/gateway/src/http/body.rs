//! Reading a request's body: no more than is allowed, and no slower.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::event::Invalid;
use crate::problem::Problem;

/// So long a body may take at first,
const PATIENCE: Duration = Duration::from_secs(30);
/// and one second more for each so many bytes that came,
const BYTES_A_SECOND: u64 = 1024;
/// but not longer than this.
const PATIENCE_MAX: Duration = Duration::from_secs(300);

/// The whole body.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Bytes, Problem> {
    let too_large = || Problem::too_large(format!("the body is larger than {bytes_max} bytes"));
    let length = headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
    if length.is_some_and(|it: u64| it > bytes_max as u64) {
        return Err(too_large());
    }
    let slow =
        || Problem::new(StatusCode::REQUEST_TIMEOUT, "slow_body", "the body came too slowly");
    let began = Instant::now();
    let mut parts = body.into_data_stream();
    let mut whole = Vec::new();
    loop {
        let earned = Duration::from_secs(whole.len() as u64 / BYTES_A_SECOND);
        let until = began + (PATIENCE + earned).min(PATIENCE_MAX);
        match timeout_at(until, parts.next()).await.map_err(|_| slow())? {
            Some(Ok(part)) if whole.len() + part.len() > bytes_max => return Err(too_large()),
            Some(Ok(part)) => whole.extend_from_slice(&part),
            Some(Err(err)) => {
                let detail = format!("the body did not come whole: {err}");
                return Err(Problem::bad_json(detail));
            }
            None => return Ok(whole.into()),
        }
    }
}

/// The whole body as what is expected there.
pub(super) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    expected: &str,
) -> Result<T, Problem> {
    let body = read(headers, body, bytes_max).await?;
    let mut value: Value =
        serde_json::from_slice(&body).map_err(|err| Problem::bad_json(err.to_string()))?;
    write_whole_numbers_whole(&mut value);
    serde_json::from_value(value)
        .map_err(|err| Problem::invalid(Invalid::at("", format!("{err}; expected {expected}"))))
}

/// JSON has one kind of number, and some languages write 60 as 60.0.
fn write_whole_numbers_whole(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(write_whole_numbers_whole),
        Value::Object(members) => members.values_mut().for_each(write_whole_numbers_whole),
        Value::Number(number) if number.is_f64() => {
            // From there on a float stands for several integers.
            const WHOLE_MAX: f64 = 9_007_199_254_740_991.0;
            let whole = number.as_f64().filter(|it| it.fract() == 0.0 && it.abs() <= WHOLE_MAX);
            if let Some(whole) = whole {
                *value = (whole as i64).into();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A body of so many parts, each so long after the one before it.
    fn trickle(parts: usize, bytes: usize, pause: Duration) -> Body {
        Body::from_stream(futures_util::stream::unfold(parts, move |left| async move {
            let left = left.checked_sub(1)?;
            tokio::time::sleep(pause).await;
            Some((Ok::<_, Infallible>(Bytes::from(vec![b' '; bytes])), left))
        }))
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        let mut value =
            serde_json::from_str("[60.0, {\"a\": -3e0}, 1.5, 1e300, 7, \"2.0\"]").unwrap();
        write_whole_numbers_whole(&mut value);
        assert_eq!(value, serde_json::json!([60, { "a": -3 }, 1.5, 1e300, 7, "2.0"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_cut_and_one_that_flows_is_not() {
        let headers = HeaderMap::new();
        let began = Instant::now();
        let slow = read(&headers, trickle(1_000, 10, Duration::from_secs(1)), 1 << 20).await;
        assert_eq!(slow.unwrap_err().status(), StatusCode::REQUEST_TIMEOUT);
        assert!(began.elapsed() <= PATIENCE + Duration::from_secs(1), "{:?}", began.elapsed());
        // Twice as fast as it must be, it may take longer than the first patience.
        let began = Instant::now();
        let whole = read(&headers, trickle(100, 2_048, Duration::from_secs(1)), 1 << 20).await;
        assert_eq!(whole.unwrap().len(), 100 * 2_048);
        assert!(began.elapsed() > PATIENCE, "{:?}", began.elapsed());
        // And not longer than the last, however fast it is.
        let endless = trickle(1_000, 4_096, Duration::from_secs(1));
        assert_eq!(
            read(&headers, endless, 1 << 30).await.unwrap_err().status(),
            StatusCode::REQUEST_TIMEOUT
        );
    }
}
