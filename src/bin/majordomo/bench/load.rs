//! One kind of load, from its workers' READY to the last reply.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use majordomo::client::{CallError, Client, ClientBuilder};
use majordomo::config::{ClientConfig, WorkerConfig};
use majordomo::wire::Protocol;
use majordomo::wire::message::Message;
use majordomo::wire::mjp::Level;
use majordomo::worker::{Failure, Request, WorkerBuilder};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{Figures, Shape, no_thread};
use crate::call::{cannot_connect, of_call};
use crate::connect::Target;
use crate::failure::{CliError, Exit};

/// A call that takes longer is an error.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is to be done.
pub(super) struct Load<'a> {
    pub(super) target: &'a Target,
    pub(super) shape: Shape,
    pub(super) warm: Duration,
    pub(super) time: Duration,
}

/// What all callers write to.
struct Tally {
    latency: Mutex<Histogram<u64>>,
    errors: AtomicU64,
    first_error: Mutex<Option<CallError>>,
}

impl Load<'_> {
    /// Runs it; workers on a thread of their own, clients on this one.
    pub(super) fn run(&self) -> Result<Figures> {
        let runtime = runtime()?;
        // Somebody else's service must not be asked.
        let mut unique = [0; 8];
        getrandom::fill(&mut unique).map_err(|error| anyhow::anyhow!("no random name: {error}"))?;
        let service = format!("bench.{:016x}", u64::from_ne_bytes(unique));
        let clients = runtime.block_on(self.connect())?;
        let (stop, stopped) = oneshot::channel();
        let workers = self.start_workers(&service, stopped)?;
        let figures = runtime.block_on(self.measure(&service, &clients));
        drop(stop);
        // Its errors are those of `measure`, or of no interest after it.
        let _ = workers.join();
        figures
    }

    async fn connect(&self) -> Result<Vec<Client>> {
        let Shape { clients, window, .. } = self.shape;
        let config = ClientConfig {
            endpoint: self.target.endpoint.clone(),
            curve: self.target.curve.clone(),
            protocol: self.target.protocol,
            connections: if self.target.protocol == Protocol::Mjp { 1 } else { window },
            in_flight_max: window,
            timeout: TIMEOUT,
            ..ClientConfig::default()
        };
        let mut connected = Vec::with_capacity(clients);
        for _ in 0..clients {
            let client = ClientBuilder::from(config.clone()).connect().await;
            connected.push(client.map_err(|error| cannot_connect(self.target, &error))?);
        }
        Ok(connected)
    }

    /// They end when `stopped` does.
    fn start_workers(
        &self,
        service: &str,
        stopped: oneshot::Receiver<()>,
    ) -> Result<thread::JoinHandle<Result<()>>> {
        let config = WorkerConfig {
            endpoint: self.target.endpoint.clone(),
            curve: self.target.curve.clone(),
            service: service.to_owned(),
            protocol: self.target.protocol,
            credit: self.shape.credit,
            ..WorkerConfig::default()
        };
        let count = self.shape.workers;
        let work = move || {
            runtime()?.block_on(async {
                let echo = |request: Request| async move { Ok::<_, Failure>(request.body) };
                let mut workers = Vec::with_capacity(count);
                for _ in 0..count {
                    workers.push(WorkerBuilder::from(config.clone()).start(echo)?);
                }
                let _ = stopped.await;
                for worker in workers {
                    worker.stop(Duration::from_secs(1)).await;
                }
                Ok(())
            })
        };
        let thread = thread::Builder::new().name("workers".into()).spawn(work);
        thread.map_err(|error| no_thread(&error))
    }

    async fn measure(&self, service: &str, clients: &[Client]) -> Result<Figures> {
        // The first reply says that there is a worker; nothing is measured before it.
        let hello = clients.first().map(|client| client.call(service, "hello"));
        if let Some(hello) = hello {
            hello.await.map_err(|error| of_call(service, TIMEOUT, &error, false))?;
        }
        let tally = Arc::new(Tally {
            latency: Mutex::new(Histogram::new_with_bounds(1, 60_000_000_000, 3)?),
            errors: AtomicU64::new(0),
            first_error: Mutex::new(None),
        });
        let from = Instant::now() + self.warm;
        let until = from + self.time;
        let mut lanes = JoinSet::new();
        for (number, client) in clients.iter().enumerate() {
            for place in 0..self.shape.window {
                let body = body(self.shape.size, number * self.shape.window + place);
                let (client, tally) = (client.clone(), tally.clone());
                let job = Job { client, service: service.to_owned(), body, disk: self.shape.disk };
                lanes.spawn(lane(job, from, until, tally));
            }
        }
        lanes.join_all().await;
        let latency = tally.latency.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let errors = tally.errors.load(Ordering::Relaxed);
        let first = tally.first_error.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (0, Some(error)) = (latency.len(), first) {
            return Err(of_call(service, TIMEOUT, &error, false).into());
        }
        for client in clients {
            let _ = timeout(TIMEOUT, client.close(Duration::from_secs(1))).await;
        }
        if latency.is_empty() {
            let error =
                CliError::new(Exit::TimedOut, "timeout", "no call ended while it was measured");
            return Err(error.hint("give it more with --time").into());
        }
        Ok(Figures {
            calls: latency.len(),
            errors,
            seconds: self.time.as_secs_f64(),
            latency,
            raw: None,
        })
    }
}

/// What one lane calls.
struct Job {
    client: Client,
    service: String,
    body: Message,
    disk: bool,
}

/// Calls, one after the other; those that end in the time that counts are counted.
async fn lane(job: Job, from: Instant, until: Instant, tally: Arc<Tally>) {
    let Job { client, service, body, disk } = job;
    loop {
        let began = Instant::now();
        if began >= until {
            return;
        }
        let call = client.call(&service, body.clone());
        let call = if disk { call.level(Level::Disk) } else { call };
        let answer = call.await;
        let now = Instant::now();
        let counts = (from..until).contains(&now);
        match answer {
            Ok(reply) if reply == body => {
                if counts {
                    let nanos = u64::try_from((now - began).as_nanos()).unwrap_or(u64::MAX);
                    let mut latency = tally.latency.lock().unwrap_or_else(PoisonError::into_inner);
                    latency.saturating_record(nanos);
                }
            }
            answer => {
                tally.errors.fetch_add(1, Ordering::Relaxed);
                let mut first = tally.first_error.lock().unwrap_or_else(PoisonError::into_inner);
                let error = answer.err().unwrap_or_else(|| CallError::Convert {
                    what: "recognise the reply",
                    reason: "it is not what was sent".into(),
                });
                first.get_or_insert(error);
            }
        }
    }
}

/// Every caller has a body of its own, so that a reply to another is noticed.
fn body(size: usize, number: usize) -> Message {
    let mut octets = vec![b'.'; size];
    for (octet, digit) in octets.iter_mut().zip(format!("{number:016}").bytes()) {
        *octet = digit;
    }
    octets.into()
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
