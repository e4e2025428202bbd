//! A server on a port of its own, ended when dropped.

use std::net::SocketAddr;
use std::path::Path;

use tinyclaw_dashboard::{AccessConfig, Config, Server};
use tinyclaw_service::{Shutdown, Vitals};

use crate::client::{Answer, Events, get};

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    shutdown: Shutdown,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(state: &Path) -> Running {
        Running::with_access(state, None)
    }

    pub(crate) fn with_access(state: &Path, access: Option<AccessConfig>) -> Running {
        let state = state.to_owned();
        let shutdown = Shutdown::default();
        let told = shutdown.clone();
        let (sender, receiver) = std::sync::mpsc::channel();
        let serve = async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let listen = listener.local_addr().unwrap();
            let proc = Some("/proc".into());
            let hosts = vec!["tinyclaw.example:443".to_owned()];
            let catalogue = tinyclaw_domain::Catalogue::default();
            let config = Config { state, listen, hosts, proc, catalogue, access };
            let vitals = Vitals::new("dashboard", "test");
            let server = Server::start(&config, listen.port(), vitals);
            sender.send(listen).unwrap();
            server.serve(listener, told).await.unwrap();
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(serve);
        });
        Running { address: receiver.recv().unwrap(), shutdown, thread: Some(thread) }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        get(self.address, path)
    }

    /// Asks until everything on disk is indexed.
    pub(crate) fn indexed(self) -> Running {
        loop {
            let logs = self.get("/api/status").json()["logs"].clone();
            let logs = logs.as_object().unwrap();
            if logs.values().all(|it| it["complete"] == true) {
                return self;
            }
        }
    }

    pub(crate) fn events(&self, path: &str, last_id: &str) -> Events {
        Events::open(self.address, path, last_id).greeted()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.begin();
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}
