//! The streams of a command, taken apart: Docker puts stdout and stderr into one, each piece behind eight bytes that say whose it
//! is and how long. What the hub says is passed on as it is; what it complains of goes into the log.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// A piece that is longer is none of Docker's, which writes what it read at once.
const PIECE_BYTES_MAX: usize = 16 * 1024 * 1024;
const CHUNK_BYTES: usize = 64 * 1024;
/// How much of what the hub complains of is kept.
const COMPLAINT_BYTES_MAX: usize = 2000;
/// So long the other direction may take to end when one has.
const END: Duration = Duration::from_secs(10);

/// Passes on both directions until one ends, and then what the other still has. Gives back what was said on stderr.
pub(crate) async fn pass(
    peer: impl AsyncRead + AsyncWrite + Send + Unpin,
    docker: impl AsyncRead + AsyncWrite + Send + Unpin,
) -> String {
    let (mut from_peer, mut to_peer) = tokio::io::split(peer);
    let (mut from_docker, mut to_docker) = tokio::io::split(docker);
    let mut complaint = Vec::new();
    let inward = async {
        let copied = tokio::io::copy_buf(
            &mut tokio::io::BufReader::with_capacity(CHUNK_BYTES, &mut from_peer),
            &mut to_docker,
        )
        .await;
        // The hub's stdin ends with it, and so does the hub.
        let _ = to_docker.shutdown().await;
        copied.map(drop)
    };
    let outward = async {
        let passed = take_apart(&mut from_docker, &mut to_peer, &mut complaint).await;
        let _ = to_peer.shutdown().await;
        passed
    };
    {
        let (mut inward, mut outward) = (std::pin::pin!(inward), std::pin::pin!(outward));
        tokio::select! {
            // A peer that is gone hears nothing any more; a hub that is told so leaves.
            _ = &mut inward => { let _ = timeout(END, outward).await; }
            // Nobody listens there any more.
            _ = &mut outward => {}
        }
    }
    let text = String::from_utf8_lossy(&complaint);
    text.trim().chars().filter(|it| !it.is_control()).collect()
}

async fn take_apart(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    complaint: &mut Vec<u8>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let mut head = [0; 8];
        if from.read_exact(&mut head).await.is_err() {
            return Ok(());
        }
        let [kind, zeros @ .., _, _, _, _] = head;
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let mut left = usize::try_from(length).unwrap_or(usize::MAX);
        if zeros != [0; 3] || !matches!(kind, 1 | 2) || left > PIECE_BYTES_MAX {
            return Err(io::Error::other("these are no streams of Docker's"));
        }
        while left > 0 {
            let room = left.min(chunk.len());
            let read = from.read(&mut chunk[..room]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= read;
            if kind == 1 {
                to.write_all(&chunk[..read]).await?;
            } else {
                let room = COMPLAINT_BYTES_MAX.saturating_sub(complaint.len());
                complaint.extend_from_slice(&chunk[..read.min(room)]);
            }
        }
        to.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn piece(kind: u8, text: &[u8]) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [&[kind, 0, 0, 0][..], &length, text].concat()
    }

    /// What the peer hears and what is complained of, when Docker says this.
    async fn heard(said: &[u8]) -> (Vec<u8>, String) {
        let (peer, mut far) = duplex(1024);
        let (docker, mut daemon) = duplex(1 << 20);
        daemon.write_all(said).await.unwrap();
        daemon.shutdown().await.unwrap();
        let mut all = Vec::new();
        let (complaint, read) = tokio::join!(pass(peer, docker), far.read_to_end(&mut all));
        read.unwrap();
        (all, complaint)
    }

    #[tokio::test]
    async fn streams_are_taken_apart_wherever_they_are_cut() {
        let said = [piece(1, b"one "), piece(2, b"oh\n"), piece(1, b""), piece(1, &[7; 70_000])];
        let (all, complaint) = heard(&said.concat()).await;
        assert_eq!((all.len(), &all[..5], complaint.as_str()), (70_004, &b"one \x07"[..], "oh"));
    }

    #[tokio::test]
    async fn what_is_no_stream_of_dockers_ends_the_link() {
        let long = [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        for bad in [&b"HTTP/1.1 200"[..], &piece(3, b"x"), &long, &[1, 0, 0, 1, 0, 0, 0, 1, b'x']] {
            assert_eq!(heard(&[&piece(1, b"a"), bad].concat()).await.0, b"a", "{bad:?}");
        }
        let cut = &piece(1, b"whole")[..10];
        assert_eq!(heard(cut).await.0, b"wh", "a daemon that dies in the middle of a piece");
    }
}
