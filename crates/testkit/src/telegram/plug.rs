//! A line that can be pulled: bytes go through it to another address until somebody pulls the plug.
//!
//! While it is pulled nobody listens, so whoever connects is refused, and everything that was connected is cut off. It
//! knows nothing of what it carries.

use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A line to `to`. Dropping it pulls it.
#[derive(Debug)]
pub struct Plug {
    at: SocketAddr,
    to: SocketAddr,
    line: Mutex<Option<JoinHandle<()>>>,
}

impl Plug {
    /// A line to `to` through a port of its own, plugged in.
    pub async fn new(to: SocketAddr) -> std::io::Result<Plug> {
        let listener = TcpListener::bind((to.ip(), 0)).await?;
        let at = listener.local_addr()?;
        Ok(Plug { at, to, line: Mutex::new(Some(tokio::spawn(carry(listener, to)))) })
    }

    /// Where to connect.
    pub fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// Cuts everything off, and lets nobody connect until [`Plug::put_back`].
    pub async fn pull(&self) {
        let line = self.line.lock().unwrap_or_else(|it| it.into_inner()).take();
        if let Some(line) = line {
            line.abort();
            // Nobody listens any more when this is over.
            let _ = line.await;
        }
    }

    /// The line works again.
    pub async fn put_back(&self) -> std::io::Result<()> {
        let listener = TcpListener::bind(self.at).await?;
        let line = tokio::spawn(carry(listener, self.to));
        *self.line.lock().unwrap_or_else(|it| it.into_inner()) = Some(line);
        Ok(())
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        if let Some(line) = self.line.lock().unwrap_or_else(|it| it.into_inner()).take() {
            line.abort();
        }
    }
}

async fn carry(listener: TcpListener, to: SocketAddr) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((mut near, _)) = listener.accept().await else { continue };
        connections.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(to).await {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
