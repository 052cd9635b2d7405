//! A process of the command that goes on, such as a broker.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::BINARY;

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A process of the command; killed if a test fails.
pub(crate) struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn broker(home: &Path, flags: &[&str]) -> Self {
        Self::start(home, &[&["broker"], flags].concat())
    }

    pub(crate) fn start(home: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(BINARY)
            .env_clear()
            .env("HOME", home)
            .current_dir(home)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().into()
    }

    /// The address behind the next line.
    pub(crate) fn address(&mut self, scheme: &str) -> SocketAddr {
        let line = self.line();
        line.strip_prefix(scheme).unwrap_or_else(|| panic!("{line:?}")).parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let command = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    /// How it ended, and its log.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "still running");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (status, log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
