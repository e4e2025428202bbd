//! What systemd is told of this process, where it asks (`$NOTIFY_SOCKET`): that it runs, again and again that it does not
//! hang (`$WATCHDOG_USEC`), and that it is stopping. Whether the service can do its job is said elsewhere, by its vitals.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Tells systemd how this process fares; `stop` ends when it shall stop. Whoever spawns this runs the same runtime as the service: when
/// that hangs, nothing is told, and systemd starts the service anew.
pub(crate) async fn keep_told(
    var: impl Fn(&str) -> Option<String>,
    stop: impl Future<Output = ()>,
) {
    let Some(socket) = var("NOTIFY_SOCKET").filter(|it| !it.is_empty()) else { return };
    let tell = |what: &str| {
        if let Err(err) = tell(&socket, what) {
            tracing::warn!("cannot tell systemd {what}: {err}");
        }
    };
    tell("READY=1");
    let watchdog = var("WATCHDOG_USEC").and_then(|it| it.parse().ok()).map(Duration::from_micros);
    let beats = async || match watchdog {
        None => std::future::pending::<()>().await,
        Some(time) => loop {
            tell("WATCHDOG=1");
            // Twice within the time, so that one that is late is not the end.
            tokio::time::sleep(time / 2).await;
        },
    };
    tokio::select! {
        () = beats() => {}
        () = stop => tell("STOPPING=1"),
    }
    // Stopping may take longer than the watchdog waits.
    beats().await;
}

fn tell(socket: &str, what: &str) -> io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    // Telling is worth no waiting: the runtime that would wait is the service's.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(what.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(socket: &tokio::net::UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).await.unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[tokio::test]
    async fn systemd_hears_of_the_start_of_every_beat_and_of_the_stop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = tokio::net::UnixDatagram::bind(&path).unwrap();
        let (begin, begun) = tokio::sync::oneshot::channel::<()>();
        let var = move |name: &str| match name {
            "NOTIFY_SOCKET" => Some(path.display().to_string()),
            "WATCHDOG_USEC" => Some("2000".to_owned()),
            _ => None,
        };
        let telling = tokio::spawn(keep_told(var, async { begun.await.unwrap() }));
        assert_eq!(heard(&socket).await, "READY=1");
        assert_eq!(heard(&socket).await, "WATCHDOG=1");
        assert_eq!(heard(&socket).await, "WATCHDOG=1");
        begin.send(()).unwrap();
        let mut last = heard(&socket).await;
        while last == "WATCHDOG=1" {
            last = heard(&socket).await;
        }
        assert_eq!(last, "STOPPING=1");
        assert_eq!(heard(&socket).await, "WATCHDOG=1", "a stop takes its time");
        telling.abort();
    }

    #[tokio::test]
    async fn without_systemd_nobody_is_told() {
        keep_told(|_| None, std::future::pending()).await;
    }
}
