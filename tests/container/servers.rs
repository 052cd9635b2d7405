//! RabbitMQ as a process of a test: own ports, own directories, own epmd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use majordomo::engine::rabbitmq::Management;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::etcd::free_port;

const START_MAX: Duration = Duration::from_secs(120);

pub(crate) struct RabbitServer {
    process: Child,
    port: u16,
    management: u16,
    epmd: u16,
    home: TempDir,
}

impl RabbitServer {
    pub(crate) async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let (port, management, dist, epmd) = (free_port(), free_port(), free_port(), free_port());
        fs::write(home.path().join("enabled_plugins"), "[rabbitmq_management].\n").unwrap();
        let settings = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\n"
        );
        fs::write(home.path().join("rabbitmq.conf"), settings).unwrap();
        let process = Command::new(script())
            .current_dir(home.path())
            .env("HOME", home.path())
            .env("LANG", "C.UTF-8")
            .env("RABBITMQ_NODENAME", format!("t{port}@localhost"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_DIST_PORT", dist.to_string())
            .env("ERL_EPMD_PORT", epmd.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_MNESIA_BASE", home.path().join("mnesia"))
            .env("RABBITMQ_LOG_BASE", home.path().join("log"))
            .env("RABBITMQ_PID_FILE", home.path().join("pid"))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_CONFIG_FILE", home.path().join("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", home.path().join("enabled_plugins"))
            .stdin(Stdio::null())
            .stdout(fs::File::create(home.path().join("out")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .expect("RabbitMQ of the package rabbitmq-server; tests/run installs it");
        let server = Self { process, port, management, epmd, home };
        let management = Management::new(&server.api(), Duration::from_secs(2)).unwrap();
        let ends = Instant::now() + START_MAX;
        while let Err(error) = management.queues("/").await {
            assert!(Instant::now() < ends, "RabbitMQ does not start: {error}");
            sleep(Duration::from_millis(200)).await;
        }
        server
    }

    pub(crate) fn url(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", self.port)
    }

    /// Deletes a queue, whoever takes from it.
    pub(crate) async fn delete_queue(&self, vhost: &str, name: &str) {
        let properties = lapin::ConnectionProperties::default();
        let connection = lapin::Connection::connect(&self.url(vhost), properties).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel
            .queue_delete(name.into(), lapin::options::QueueDeleteOptions::default())
            .await
            .unwrap();
        connection.close(200, "done".into()).await.unwrap();
    }

    /// As if the disk were full, or were not any more.
    pub(crate) async fn hold_up(&self, held_up: bool) {
        let what = "{resource_limit, disk, node()}";
        let words = match held_up {
            true => format!("rabbit_alarm:set_alarm({{{what}, []}})."),
            false => format!("rabbit_alarm:clear_alarm({what})."),
        };
        let mut ctl = tokio::process::Command::new(ctl());
        let said = ctl
            .arg("eval")
            .arg(words)
            .current_dir(self.home.path())
            .env("HOME", self.home.path())
            .env("LANG", "C.UTF-8")
            .env("RABBITMQ_NODENAME", format!("t{}@localhost", self.port))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("ERL_EPMD_PORT", self.epmd.to_string())
            .output()
            .await
            .unwrap();
        assert!(said.status.success(), "{said:?}");
    }

    pub(crate) fn api(&self) -> String {
        format!("http://guest:guest@127.0.0.1:{}/api", self.management)
    }
}

/// The plain script: Debian's own one wants to be another user.
fn script() -> PathBuf {
    let link = Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
    fs::canonicalize(link).expect("the package rabbitmq-server; tests/run installs it")
}

/// Beside it.
fn ctl() -> PathBuf {
    script().with_file_name("rabbitmqctl")
}

impl Drop for RabbitServer {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.home.path().join("pid")).unwrap_or_default();
        let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
        let _ = self.process.kill();
        let _ = self.process.wait();
        let epmd = self.epmd.to_string();
        let mut stop = Command::new("epmd");
        let _ = stop
            .args(["-port", &epmd, "-kill"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
