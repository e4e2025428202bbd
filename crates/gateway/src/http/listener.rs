//! Accepting connections, with a limit for all of them and one for each address.
//!
//! A place is given back when the connection is closed, also when it became a WebSocket meanwhile. Who has no more
//! places is let go at once; it would wait for ever for its own other connections.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many connections are open at once; the next one waits to be accepted.
pub(crate) const CONNECTIONS_MAX: usize = 4_096;
/// A peer that acknowledges nothing for so long is gone, whatever the kernel would wait for.
const GONE_AFTER: Duration = Duration::from_secs(60);

/// A listener that counts.
#[derive(Debug)]
pub(crate) struct Counting {
    listener: TcpListener,
    all: Arc<Semaphore>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
}

impl Counting {
    pub(crate) fn new(listener: TcpListener, most: usize) -> Counting {
        let all = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Counting { listener, all, by_address: Arc::default(), most }
    }

    fn place(&self, address: IpAddr) -> Option<Place> {
        let mut counts = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { address, counts: Arc::clone(&self.by_address) })
    }
}

impl Listener for Counting {
    type Io = Counted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Counted, SocketAddr) {
        loop {
            let all = Arc::clone(&self.all).acquire_owned().await;
            let (stream, address) = Listener::accept(&mut self.listener).await;
            let (Ok(all), Some(place)) = (all, self.place(address.ip())) else { continue };
            // Without them it works, only slower to notice.
            let _ = stream.set_nodelay(true);
            let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(GONE_AFTER));
            return (Counted { stream, _place: place, _all: all }, address);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A place of an address.
#[derive(Debug)]
struct Place {
    address: IpAddr,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// A connection that has its places.
#[derive(Debug)]
pub(crate) struct Counted {
    stream: TcpStream,
    _place: Place,
    _all: OwnedSemaphorePermit,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whose_machine_is_gone_is_let_go_by_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut counting = Counting::new(listener, 1);
        let (accepted, _client) = tokio::join!(counting.accept(), TcpStream::connect(address));
        let timeout = SockRef::from(&accepted.0.stream).tcp_user_timeout().unwrap();
        assert_eq!(timeout, Some(GONE_AFTER));
    }
}
