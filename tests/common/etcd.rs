//! etcd as a process of a test, with ports and a directory of its own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use majordomo::engine::etcd::{Etcd, EtcdConfig};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const START_MAX: Duration = Duration::from_secs(120);

/// A port that nobody has.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) struct EtcdServer {
    process: Child,
    port: u16,
    peers: u16,
    home: TempDir,
}

impl EtcdServer {
    pub(crate) async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let (port, peers) = (free_port(), free_port());
        let server = Self { process: launch(&home, port, peers), port, peers, home };
        server.ready().await;
        server
    }

    async fn ready(&self) {
        let etcd = Etcd::new(EtcdConfig::new(self.url())).unwrap();
        let ends = Instant::now() + START_MAX;
        while let Err(error) = etcd.get("k").await {
            assert!(Instant::now() < ends, "etcd does not start: {error}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// As if the power failed.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// With what is on its disk.
    pub(crate) async fn start_again(&mut self) {
        self.process = launch(&self.home, self.port, self.peers);
        self.ready().await;
    }

    /// Sends `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let (signal, id) = (format!("-{name}"), self.process.id().to_string());
        assert!(Command::new("kill").args([signal, id]).status().unwrap().success());
    }
}

fn launch(home: &TempDir, port: u16, peers: u16) -> Child {
    let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
    Command::new("etcd")
        .args(["--name", "t", "--logger", "zap", "--log-level", "error"])
        .arg("--data-dir")
        .arg(home.path())
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("t={peer}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd of the package etcd-server; tests/run installs it")
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
