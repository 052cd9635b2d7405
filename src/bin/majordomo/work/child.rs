//! One request, one process, and its process group.

use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use majordomo::wire::message::Message;
use majordomo::worker::{Failure, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Shop;
use crate::group::Group;
use crate::output::harmless;

/// What is kept of standard error: enough for its last line.
const TAIL: usize = 4 << 10;
/// Octets of standard error that are taken at a time.
const CHUNK: usize = 4 << 10;
/// A line of standard error in an answer, characters.
const LINE_MAX: usize = 1 << 10;
/// What a process leaves in its pipes is there when it has ended; a child of its own that holds
/// them open is waited for so long, and for so many octets: a pipe has no more.
const AFTERMATH: Duration = Duration::from_millis(500);
const AFTERMATH_MAX: usize = 1 << 20;
/// `EX_TEMPFAIL` of sysexits: the caller may try again.
const TEMPFAIL: i32 = 75;
/// When it may.
const RETRY: Duration = Duration::from_secs(1);

/// What became of a request.
pub(super) struct Outcome {
    /// `None`: it was not started, or a signal ended it.
    pub(super) exit: Option<i32>,
    pub(super) said: Result<Message, Failure>,
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self { exit: None, said: Err(failure) }
    }
}

/// Runs the command for a request.
pub(super) async fn run(shop: &Shop, request: &Request) -> Outcome {
    let mut child = match command(shop, request).spawn() {
        Ok(child) => child,
        Err(error) => {
            let program = shop.program.display();
            return Failure::new("failed", format!("cannot run {program}: {error}")).into();
        }
    };
    let group = Group::of(&child);
    let mut output = Output::default();
    let end = tokio::select! {
        end = attend(shop, request, &mut child, &mut output) => end,
        () = request.cancelled().cancelled() => Err(Failure::new("cancelled", "nobody waits")),
        () = expired(shop.timeout) => {
            // Not `timeout`: that is the caller's own.
            Err(Failure::new("failed", "the command took too long and was killed"))
        }
    };
    match end {
        Ok(status) => {
            group.forget();
            let said = output.answer(shop, request, status).await;
            Outcome { exit: status.code(), said }
        }
        Err(failure) => {
            // The number of one that has ended by itself may be another's by now.
            match child.id() {
                Some(_) => group.end(&mut child, shop.grace).await,
                None => group.forget(),
            }
            failure.into()
        }
    }
}

fn command(shop: &Shop, request: &Request) -> Command {
    let mut command = Command::new(&shop.program);
    command.args(&shop.arguments).kill_on_drop(true).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("MAJORDOMO_SERVICE", &shop.service);
    command.env("MAJORDOMO_ATTEMPT", request.attempt().to_string());
    command.env("MAJORDOMO_FRAMES", request.body.frames().len().to_string());
    command.env_remove("MAJORDOMO_TIMEOUT_MS").env_remove("TRACEPARENT");
    command.env_remove("MAJORDOMO_KEY");
    if let Some(left) = request.time_left() {
        command.env("MAJORDOMO_TIMEOUT_MS", left.as_millis().to_string());
    }
    // Whatever a caller says here, it is hexadecimal digits.
    let plain = |text: &&str| text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if let Some(trace) = request.trace().filter(plain) {
        command.env("TRACEPARENT", trace);
    }
    // And here it is a plain word: nothing that a shell would make something of.
    let plain = |text: &&str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c));
    let key = request.key().and_then(|key| std::str::from_utf8(key).ok());
    if let Some(key) = key.filter(plain) {
        command.env("MAJORDOMO_KEY", key);
    }
    command
}

async fn expired(limit: Option<Duration>) {
    match limit {
        Some(limit) => sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Feeds the process and listens to it until it has ended.
async fn attend(
    shop: &Shop,
    request: &Request,
    child: &mut Child,
    output: &mut Output,
) -> Result<ExitStatus, Failure> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let input = shop.framing.write(request.body.frames());
    let Output { taken, tail } = output;
    let ended = CancellationToken::new();
    let (stdout, stderr) = (Pipe::new(stdout, &ended), Pipe::new(stderr, &ended));
    let listen = async {
        let fed = ended.run_until_cancelled(feed(stdin, input));
        let listened = listen(shop, request, stdout, taken);
        let (_, listened, ()) = tokio::join!(fed, listened, overhear(shop, request, stderr, tail));
        listened
    };
    tokio::pin!(listen);
    let (status, listened) = tokio::select! {
        // A failure here means that nobody wants the rest.
        listened = &mut listen => {
            listened?;
            (child.wait().await, Ok(()))
        }
        status = child.wait() => {
            ended.cancel();
            (status, listen.await)
        }
    };
    listened?;
    status.map_err(|error| Failure::new("failed", format!("cannot wait for it: {error}")))
}

/// A command need not read what it is given.
async fn feed(stdin: Option<ChildStdin>, input: Vec<u8>) -> io::Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    stdin.write_all(&input).await?;
    stdin.shutdown().await
}

/// An output of a process, which ends with it, or soon after.
struct Pipe<'a, R> {
    /// None: it was not there, or has ended.
    from: Option<R>,
    /// Cancelled when the process has ended.
    ended: &'a CancellationToken,
    /// What is waited and read for behind that.
    wait: Duration,
    octets: usize,
}

impl<'a, R: AsyncRead + Unpin> Pipe<'a, R> {
    fn new(from: Option<R>, ended: &'a CancellationToken) -> Self {
        Self { from, ended, wait: AFTERMATH, octets: AFTERMATH_MAX }
    }

    /// Reads behind what is in `into`: how many octets, or none if nothing comes any more.
    async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let Self { from: Some(from), ended, wait, octets } = self else { return Ok(0) };
        let over = ended.is_cancelled().then(Instant::now);
        let read = tokio::select! {
            biased;
            read = from.read_buf(into) => read?,
            () = async { ended.cancelled().await; sleep(*wait).await } => 0,
        };
        if let Some(began) = over {
            *wait = wait.saturating_sub(began.elapsed());
            *octets = octets.saturating_sub(read);
        }
        if read == 0 || *octets == 0 {
            self.from = None;
        }
        Ok(read)
    }
}

/// Takes the output; with `--stream` each line is sent when the next one begins.
async fn listen(
    shop: &Shop,
    request: &Request,
    mut stdout: Pipe<'_, impl AsyncRead + Unpin>,
    taken: &mut Vec<u8>,
) -> Result<(), Failure> {
    while stdout.read(taken).await? > 0 {
        if shop.stream {
            send_lines(request, taken).await?;
        }
        if taken.len() > shop.output_max {
            let max = shop.output_max;
            let message = format!("the command wrote more than {max} octets and was killed");
            return Err(Failure::new("failed", message));
        }
    }
    Ok(())
}

/// Sends the whole lines in `taken`, but for the last: it may be the end of the reply.
async fn send_lines(request: &Request, taken: &mut Vec<u8>) -> Result<(), Failure> {
    let mut sent = 0;
    while let Some(rest) = taken.get(sent..)
        && let Some(length) = rest.iter().position(|octet| *octet == b'\n')
        && length + 1 < rest.len()
    {
        request.part(rest.get(..length).unwrap_or_default().to_vec()).await?;
        sent += length + 1;
    }
    taken.drain(..sent);
    Ok(())
}

/// Passes standard error on, and keeps its end; with `--events` each line is told to the caller.
async fn overhear(
    shop: &Shop,
    request: &Request,
    mut stderr: Pipe<'_, impl AsyncRead + Unpin>,
    tail: &mut Vec<u8>,
) {
    let (mut heard, mut line) = (Vec::with_capacity(CHUNK), Vec::new());
    while let Ok(1..) = stderr.read(&mut heard).await {
        let _ = io::stderr().write_all(&heard);
        tail.extend_from_slice(&heard);
        tail.drain(..tail.len().saturating_sub(TAIL));
        for piece in heard.split_inclusive(|octet| *octet == b'\n').filter(|_| shop.events) {
            line.extend_from_slice(piece);
            if line.ends_with(b"\n") || line.len() > LINE_MAX {
                say_line(request, &mut line).await;
            }
        }
        heard.clear();
    }
    say_line(request, &mut line).await;
}

async fn say_line(request: &Request, line: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(line).trim_end().to_owned();
    line.clear();
    if !text.is_empty() {
        // Whoever does not wait any more need not be told.
        let _ = request.event(text).await;
    }
}

/// What a process said.
#[derive(Default)]
struct Output {
    taken: Vec<u8>,
    tail: Vec<u8>,
}

impl Output {
    /// The reply, or why there is none.
    async fn answer(
        mut self,
        shop: &Shop,
        request: &Request,
        status: ExitStatus,
    ) -> Result<Message, Failure> {
        if !status.success() {
            return Err(self.failure(status));
        }
        if shop.stream {
            send_lines(request, &mut self.taken).await?;
            if self.taken.last() == Some(&b'\n') {
                self.taken.pop();
            }
            return Ok(self.taken.into());
        }
        shop.framing.read(self.taken).map_err(|why| Failure::new("failed", why))
    }

    fn failure(&self, status: ExitStatus) -> Failure {
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("ended by signal {signal}"),
            (None, None) => "ended".into(),
        };
        let text = String::from_utf8_lossy(&self.tail);
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).map(harmless);
        let message = match last {
            Some(line) => format!("{how}: {}", line.chars().take(LINE_MAX).collect::<String>()),
            None => how,
        };
        let failure = Failure::new("failed", message);
        if status.code() == Some(TEMPFAIL) { failure.retry_after(RETRY).again() } else { failure }
    }
}
