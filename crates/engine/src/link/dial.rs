//! A connection to a hub, made and greeted: from the first byte on what answers could be anybody.

use std::time::Duration;

use serde::Deserialize;
use tinyclaw_devbox::plain_words;
use tinyclaw_domain::frame::{Call, HEAD_BYTES_MAX, LINK_VERSION, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use uuid::Uuid;

use super::carrier::{CarrierFuture, Connection, Unreached};
use super::frames::{Incoming, Reader};

/// The longest pause between two dials.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a hub has for its first word.
const HELLO: Duration = Duration::from_secs(10);
/// What may come before it: a shell's noise.
const NOISE_BYTES_MAX: usize = 64 * 1024;
/// So many letters of it are told.
const NOISE_SHOWN_MAX: usize = 200;

/// Connects by what a carrier gives, and waits for the hub's first line.
pub(super) async fn dial(
    connecting: CarrierFuture<'_>,
    office: &str,
) -> Result<(Connection, Incoming<Reader>), Unreached> {
    let mut connection = connecting.await?;
    let nonce = Uuid::new_v4().simple().to_string();
    let hello = Call::Hello { v: LINK_VERSION, nonce: nonce.clone(), office: office.to_owned() };
    let greeted = async {
        let lost = |err: std::io::Error| Unreached::from(err.to_string());
        connection.to.write_all(&encode(&hello, b"")).await.map_err(lost)?;
        connection.to.flush().await.map_err(lost)?;
        greeting(&mut connection.from, &nonce).await
    };
    match timeout(HELLO, greeted).await {
        Ok(greeted) => greeted?,
        Err(_) => return Err("the helper says nothing".to_owned().into()),
    }
    let nothing: Reader = Box::new(tokio::io::empty());
    let from = std::mem::replace(&mut connection.from, nothing);
    Ok((connection, Incoming::new(from)))
}

/// What a hub says first.
#[derive(Deserialize)]
struct Greeting {
    tinyclaw: u32,
    nonce: String,
}

/// Reads up to the hub's first line, past a shell's noise, and no byte further.
async fn greeting(from: &mut Reader, nonce: &str) -> Result<(), Unreached> {
    let (mut noise, mut line) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let byte = match from.read_u8().await {
            Ok(it) => it,
            Err(_) => return Err(ended(&noise).into()),
        };
        match &mut line {
            None if byte == 0x1e => line = Some(Vec::new()),
            None => noise.push(byte),
            Some(said) if byte == b'\n' => {
                match serde_json::from_slice::<Greeting>(said) {
                    Ok(it) if it.nonce == nonce && it.tinyclaw == LINK_VERSION => return Ok(()),
                    // One that was put there by hand, and is to be put there again.
                    Ok(it) if it.nonce == nonce => {
                        let why = format!(
                            "the helper there speaks version {} and this office {LINK_VERSION}; put this office's there (/devbox key says how)",
                            it.tinyclaw
                        );
                        return Err(Unreached { why, is_held: true, is_gone: false });
                    }
                    // Not it: the hub comes later.
                    _ => noise.append(said),
                }
                line = None;
            }
            Some(said) => said.push(byte),
        }
        let is_long = line.as_ref().is_some_and(|it| it.len() > HEAD_BYTES_MAX);
        if noise.len() > NOISE_BYTES_MAX || is_long {
            return Err("something answers there that is no helper".to_owned().into());
        }
    }
}

fn ended(noise: &[u8]) -> String {
    let text = String::from_utf8_lossy(noise);
    let said = text.lines().map(|it| plain_words(it, NOISE_SHOWN_MAX));
    match said.into_iter().find(|it| !it.is_empty()) {
        Some(first) => format!("the helper did not start: {first}"),
        None => "the helper did not start".to_owned(),
    }
}

/// 1, 2, 4 … 30 s, a fifth more or less, so that many offices do not come at once.
pub(super) fn pause(failed: u32) -> Duration {
    let pause = Duration::from_secs(1 << failed.min(5)).min(PAUSE_MAX);
    let chance = f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0;
    pause.mul_f64(0.8 + 0.4 * chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn greet(said: &str) -> Result<(), Unreached> {
        let mut from: Reader = Box::new(std::io::Cursor::new(said.to_owned().into_bytes()));
        greeting(&mut from, "n1").await
    }

    #[tokio::test]
    async fn a_hub_is_found_behind_the_noise_of_a_shell() {
        let hello = "\x1e{\"tinyclaw\":1,\"nonce\":\"n1\"}\n";
        assert_eq!(greet(hello).await, Ok(()));
        assert_eq!(greet(&format!("Welcome!\n\x1b[1mtip\n{hello}")).await, Ok(()));
        assert_eq!(greet(&format!("\x1enot it\n{hello}")).await, Ok(()));
        let other = hello.replace("n1", "n2");
        assert_eq!(greet(&format!("{other}{hello}")).await, Ok(()), "somebody replays an old one");
        let err = greet("bash: leash: command not found\n").await.unwrap_err();
        assert_eq!(err.why, "the helper did not start: bash: leash: command not found");
        let err = greet(&hello.replace(":1", ":2")).await.unwrap_err();
        assert!(err.is_held && err.why.contains("speaks version 2 and this office 1"), "{err:?}");
        assert!(greet(&"x".repeat(NOISE_BYTES_MAX + 2)).await.is_err());
    }

    #[test]
    fn pauses_grow_to_half_a_minute() {
        assert!((Duration::from_millis(800)..Duration::from_millis(1201)).contains(&pause(0)));
        assert!(pause(3) >= Duration::from_millis(6400));
        assert!(pause(40) <= Duration::from_secs(36));
    }
}
