//! Frames over whatever carries bytes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::stat::{SFlag, fstat};
use serde::de::DeserializeOwned;
use tinyclaw_domain::frame::{BODY_BYTES_MAX, Decoder};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// How much is read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Frames that arrive.
pub(crate) struct Incoming<R> {
    from: R,
    decoder: Decoder,
    chunk: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    pub(crate) fn new(from: R) -> Incoming<R> {
        Incoming { from, decoder: Decoder::default(), chunk: vec![0; CHUNK_BYTES] }
    }

    /// The next frame; `None` at the end, also in the middle of a frame. Cancel-safe.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<u8>)>> {
        loop {
            let frame = self.decoder.frame();
            if let Some(frame) =
                frame.map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))?
            {
                return Ok(Some(frame));
            }
            let read = self.from.read(&mut self.chunk).await?;
            if read == 0 {
                return Ok(None);
            }
            self.decoder.push(&self.chunk[..read]);
        }
    }
}

/// The bodies of the frames that carry these two, one after the other.
pub(crate) fn parts<'a>(first: &'a [u8], second: &'a [u8]) -> Vec<&'a [u8]> {
    first.chunks(BODY_BYTES_MAX).chain(second.chunks(BODY_BYTES_MAX)).collect()
}

pub(crate) type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub(crate) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// This process's stdin, whatever kind of thing that is.
pub(crate) fn stdin() -> io::Result<Reader> {
    let fd = io::stdin().as_fd().try_clone_to_owned()?;
    Ok(match kind(&fd)? {
        SFlag::S_IFIFO => Box::new(pipe::Receiver::from_owned_fd(fd)?),
        SFlag::S_IFSOCK => Box::new(socket(fd)?),
        _ => Box::new(tokio::io::stdin()),
    })
}

/// This process's stdout.
pub(crate) fn stdout() -> io::Result<Writer> {
    let fd = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(match kind(&fd)? {
        SFlag::S_IFIFO => Box::new(pipe::Sender::from_owned_fd(fd)?),
        SFlag::S_IFSOCK => Box::new(socket(fd)?),
        _ => Box::new(tokio::io::stdout()),
    })
}

fn kind(fd: &OwnedFd) -> io::Result<SFlag> {
    Ok(SFlag::from_bits_truncate(fstat(fd)?.st_mode) & SFlag::S_IFMT)
}

fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(fd);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}
