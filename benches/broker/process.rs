//! Processes that the driver starts, and what they and the machine use.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

/// Clock ticks of a second, as Linux shows them to every program.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// A program with as many open files as it may have, on the first CPU only if `one_cpu`.
pub(crate) fn command(program: impl AsRef<OsStr>, one_cpu: bool) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -n "$(ulimit -Hn)" && exec "$@""#, "sh"]);
    if one_cpu {
        command.args(["taskset", "-c", "0"]);
    }
    command.arg(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MAJORDOMO__") {
            command.env_remove(name);
        }
    }
    command
}

/// This program in another role.
pub(crate) fn ourselves(one_cpu: bool) -> Result<Command> {
    Ok(command(std::env::current_exe()?, one_cpu))
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let name = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let out = child.stdout.take().context("its output is ours")?;
        Ok(Self { name, child, lines: BufReader::new(out).lines() })
    }

    /// The next line it prints.
    pub(crate) fn line(&mut self) -> Result<String> {
        match self.lines.next() {
            Some(line) => Ok(line?),
            None => bail!("{} ended ({})", self.name, self.child.wait()?),
        }
    }

    /// Ends its input.
    pub(crate) fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of a process so far, seconds of user and system together.
pub(crate) fn cpu_of(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may hold anything; the state follows it as the third field.
    let (_, fields) = stat.rsplit_once(") ").context("stat without a name")?;
    let mut fields = fields.split(' ').skip(14 - 3);
    let mut time = || fields.next().and_then(|field| field.parse::<f64>().ok());
    let (user, system) = time().zip(time()).context("stat without times")?;
    Ok((user + system) / TICKS_PER_SECOND)
}

/// CPU time the machine spent so far on anything, what other machines took from it included.
pub(crate) fn cpu_of_machine() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu "));
    let mut fields = line.context("no cpu line")?.split_whitespace().map(str::parse::<f64>);
    let mut field = || fields.next().context("short cpu line")?.context("no number");
    let (user, nice, system) = (field()?, field()?, field()?);
    let (_idle, _waiting) = (field()?, field()?);
    let (interrupts, soft, stolen) = (field()?, field()?, field()?);
    Ok((user + nice + system + interrupts + soft + stolen) / TICKS_PER_SECOND)
}

/// Resident memory of a process, octets.
pub(crate) fn resident(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmRSS")?;
    Ok(kib.parse::<u64>()? << 10)
}
