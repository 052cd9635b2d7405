//! The service `filesharing` (NorFab since 0.15.0): files of a folder, as jobs and streams.
//!
//! A worker as NorFab has them: a job is accepted, worked at, and its result is kept until it is
//! fetched. A file goes in pieces, the first one at once and each further one when the client has
//! asked for it, so that what is on its way is bounded by the client.

mod job;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::broker::acceptor::Acceptor;
use crate::broker::shared::Shared;
use crate::folder::Store;
use crate::transport::session::SessionError;
use crate::wire::message::Message;
use crate::wire::nfp::{Answer, Kind, Verb, body, status};

use super::seat::{Call, Seat, TooLong};
use job::Job;

/// What NorFab's peers ask for.
pub(super) const SERVICE: &str = "filesharing";
/// The worker's own name.
pub(super) const NAME: &str = "filesharing-majordomo";
/// Jobs worked at, of all clients and of each; more are refused.
const RUNNING_MAX: usize = 256;
const RUNNING_PER_CLIENT_MAX: usize = 32;
/// Results kept, and their octets.
const KEPT_MAX: usize = 1000;
const KEPT_BYTES_MAX: usize = 16 << 20;
/// What waits to be said of all jobs together.
const WAITING_MAX: usize = 64;

/// Something that a job has to say.
#[derive(Debug)]
pub(super) struct Said {
    kind: Kind,
    client: Vec<u8>,
    uuid: Vec<u8>,
    status: &'static [u8; 3],
    body: Vec<Bytes>,
    /// The job is done, and this is what GET gets.
    result: Option<Vec<u8>>,
}

/// How a job says what it has to say: with the number of its run, because of the same name there
/// may be another one when that is heard.
#[derive(Debug)]
pub(super) struct Voice {
    run: u64,
    said: mpsc::Sender<(u64, Said)>,
}

impl Voice {
    async fn say(&self, said: Said) -> Result<(), mpsc::error::SendError<(u64, Said)>> {
        self.said.send((self.run, said)).await
    }
}

/// The jobs of the service.
#[derive(Debug)]
pub(super) struct Sharing {
    store: Store,
    said: mpsc::Sender<(u64, Said)>,
    /// Jobs that were begun.
    runs: u64,
    running: HashMap<Vec<u8>, Running>,
    kept: Kept,
}

/// A job that is worked at. Dropped, it is given up.
#[derive(Debug)]
struct Running {
    run: u64,
    client: Vec<u8>,
    /// Where pieces are asked for.
    asked: mpsc::Sender<u64>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Results by the name of their job, the oldest first to go.
#[derive(Debug, Default)]
struct Kept {
    results: HashMap<Vec<u8>, Vec<u8>>,
    order: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Kept {
    fn insert(&mut self, uuid: Vec<u8>, result: Vec<u8>) {
        self.bytes += result.len();
        if let Some(old) = self.results.insert(uuid.clone(), result) {
            self.bytes -= old.len();
        } else {
            self.order.push_back(uuid);
        }
        while self.order.len() > KEPT_MAX || self.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            self.bytes -= self.results.remove(&oldest).map_or(0, |result| result.len());
        }
    }
}

/// Serves over one connection until that ends.
pub(super) async fn serve(
    shared: &Shared,
    acceptor: &Acceptor,
    store: &Store,
) -> Result<(), SessionError> {
    let mut seat = Seat::take(shared, acceptor, NAME, SERVICE).await?;
    let (said, mut waiting) = mpsc::channel(WAITING_MAX);
    let mut sharing = Sharing::new(store.clone(), said);
    while !seat.is_over().await? {
        let has_room = seat.has_room();
        tokio::select! {
            turn = seat.turn() => turn?,
            said = waiting.recv(), if has_room => {
                if let Some(said) = said.and_then(|said| sharing.note(said)) {
                    seat.say(|out| said.encode(out));
                }
            }
        }
        for call in seat.take_calls() {
            if let Some(said) = sharing.on_call(call) {
                seat.say(|out| said.encode(out));
            }
        }
    }
    Ok(())
}

impl Sharing {
    fn new(store: Store, said: mpsc::Sender<(u64, Said)>) -> Self {
        Self { store, said, runs: 0, running: HashMap::new(), kept: Kept::default() }
    }

    /// Carries out what a client asked; returns what is said to it at once.
    fn on_call(&mut self, call: Call) -> Option<Said> {
        let Call { verb, client, uuid, body } = call;
        match verb {
            Verb::Post => Some(self.post(client, uuid, body)),
            Verb::Get => Some(self.get(client, uuid)),
            Verb::Put => {
                #[derive(serde::Deserialize)]
                struct Put {
                    offset: u64,
                }
                let put: Option<Put> = serde_json::from_slice(&body.ok()?).ok();
                // A client asks for a bounded number of pieces at a time; more are not remembered.
                let (running, put) = self.running.get(&uuid).zip(put)?;
                let _ = running.asked.try_send(put.offset);
                None
            }
            Verb::Delete => {
                self.running.remove(&uuid);
                None
            }
            Verb::Mmi => None,
        }
    }

    fn post(&mut self, client: Vec<u8>, uuid: Vec<u8>, octets: Result<Vec<u8>, TooLong>) -> Said {
        /// Pieces that may be asked for at a time.
        const PIECES: usize = 64;
        let response = |status, text: &str| {
            let body = body::state(NAME, SERVICE.as_bytes(), &uuid, text);
            (status, body)
        };
        let own = self.running.values().filter(|running| running.client == client);
        let (status, body) = if self.running.contains_key(&uuid) {
            response(status::PENDING, "STARTED")
        } else if self.running.len() >= RUNNING_MAX {
            response(status::ERROR, "too many jobs are under way; ask again later")
        } else if own.count() >= RUNNING_PER_CLIENT_MAX {
            response(status::ERROR, "too many jobs of the client are under way; ask again later")
        } else {
            match octets {
                Ok(octets) => {
                    let (asked, wanted) = mpsc::channel(PIECES);
                    let job = Job::new(self.store.clone(), client.clone(), uuid.clone());
                    self.runs += 1;
                    let run = self.runs;
                    let job = job.run(octets, Voice { run, said: self.said.clone() }, wanted);
                    let task = tokio::spawn(job).abort_handle();
                    let running = Running { run, client: client.clone(), asked, task };
                    self.running.insert(uuid.clone(), running);
                    response(status::ACCEPTED, "ACCEPTED")
                }
                Err(why) => response(status::ERROR, &why.to_string()),
            }
        };
        let (kind, body) = (Kind::Response, vec![body.into()]);
        Said { kind, client, uuid, status, body, result: None }
    }

    fn get(&self, client: Vec<u8>, uuid: Vec<u8>) -> Said {
        let state = |text| body::state(NAME, SERVICE.as_bytes(), &uuid, text);
        let (status, body) = match self.kept.results.get(&uuid) {
            Some(result) => (status::OK, result.clone()),
            None if self.running.contains_key(&uuid) => (status::PENDING, state("STARTED")),
            None => (status::NOT_FOUND, state("JOB NOT FOUND")),
        };
        let (kind, body) = (Kind::Response, vec![body.into()]);
        Said { kind, client, uuid, status, body, result: None }
    }

    /// Keeps what is to be kept of something that a job says. `None`: the job was given up
    /// meanwhile, and is heard no more.
    fn note(&mut self, (run, mut said): (u64, Said)) -> Option<Said> {
        self.running.get(&said.uuid).filter(|running| running.run == run)?;
        if let Some(result) = said.result.take() {
            self.running.remove(&said.uuid);
            self.kept.insert(said.uuid.clone(), result);
        }
        Some(said)
    }
}

impl Said {
    fn encode(&self, out: &mut crate::wire::codec::Encoder) {
        let body = Message::new(self.body.iter().cloned());
        let (client, uuid, status) = (&self.client[..], &self.uuid[..], &self.status[..]);
        Answer { kind: self.kind, client, uuid, status, body: body.frames() }.encode(out);
    }
}

/// How long a client may take to ask for the next piece, if it does not say; and at most.
const PIECE_TIMEOUT: Duration = Duration::from_secs(5);
const PIECE_TIMEOUT_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::time::{Instant, sleep};

    use super::*;

    /// A folder with a file of 1,000 octets.
    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.bin"), [7; 1000]).unwrap();
        let store = Store::open(folder.path()).unwrap();
        (folder, store)
    }

    fn fetch(timeout: u64) -> Vec<u8> {
        let kwargs = json!({"url": "nf://a.bin", "chunk_size": 100, "chunk_timeout": timeout});
        serde_json::to_vec(&json!({"task": "fetch_file", "kwargs": kwargs})).unwrap()
    }

    #[tokio::test]
    async fn no_client_has_all_the_jobs() {
        let (_folder, store) = store();
        let mut sharing = Sharing::new(store, mpsc::channel(WAITING_MAX).0);
        let mut post = |client: &str, number: usize| {
            let uuid = format!("{client}-{number}").into_bytes();
            sharing.post(client.into(), uuid, Ok(fetch(60))).status
        };
        for client in ["anna", "bert"] {
            for number in 0..RUNNING_PER_CLIENT_MAX {
                assert_eq!(post(client, number), status::ACCEPTED, "{client} {number}");
            }
            assert_eq!(post(client, RUNNING_PER_CLIENT_MAX), status::ERROR, "{client}");
            assert_eq!(post(client, 0), status::PENDING, "{client}");
        }
    }

    /// The result of a transfer whose client asks for a piece every two seconds, and how long it
    /// took, s.
    async fn transfer(timeout: u64, mut offset: u64, step: u64) -> (Value, u64) {
        let (_folder, store) = store();
        let (said, mut heard) = mpsc::channel(WAITING_MAX);
        let (asked, wanted) = mpsc::channel(64);
        let began = Instant::now();
        let asking = async {
            loop {
                sleep(Duration::from_secs(2)).await;
                let _ = asked.send(offset).await;
                offset += step;
            }
        };
        let job = Job::new(store, b"anna".into(), b"u".into());
        let voice = Voice { run: 1, said };
        let hearing = async {
            loop {
                let (_, said): (u64, Said) = heard.recv().await.unwrap();
                if let Some(result) = said.result {
                    break result;
                }
            }
        };
        let run = async { tokio::join!(job.run(fetch(timeout), voice, wanted), hearing).1 };
        let result = tokio::select! {
            result = run => result,
            () = asking => unreachable!(),
        };
        let mut result: Value = serde_json::from_slice(&result).unwrap();
        (result[NAME]["failed"].take(), began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_gets_on_has_more_time() {
        assert_eq!(transfer(5, 100, 100).await, (json!(false), 18), "nine pieces, one by one");
        assert_eq!(transfer(5, 0, 0).await, (json!(true), 5), "the same piece again and again");
        assert_eq!(transfer(3600, 0, 0).await, (json!(true), 60), "whatever it says");
    }

    #[test]
    fn the_oldest_results_go_first() {
        let mut kept = Kept::default();
        for number in 0..=KEPT_MAX {
            kept.insert(number.to_string().into(), vec![0; 10]);
        }
        assert!(!kept.results.contains_key(&b"0"[..]));
        assert_eq!((kept.results.len(), kept.bytes), (KEPT_MAX, KEPT_MAX * 10));
        kept.insert(b"big".into(), vec![0; KEPT_BYTES_MAX]);
        assert_eq!((kept.results.len(), kept.bytes), (1, KEPT_BYTES_MAX));
        kept.insert(b"big".into(), vec![0; 5]);
        assert_eq!((kept.results.len(), kept.bytes), (1, 5));
    }

    /// The jobs of an empty folder, and what they say.
    fn sharing() -> (Sharing, mpsc::Receiver<(u64, Said)>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let (said, waiting) = mpsc::channel(WAITING_MAX);
        let store = Store::open(folder.path()).unwrap();
        (Sharing::new(store, said), waiting, folder)
    }

    fn call(verb: Verb, body: Result<Vec<u8>, TooLong>) -> Call {
        Call { verb, client: b"c".to_vec(), uuid: b"u".to_vec(), body }
    }

    #[tokio::test]
    async fn what_a_job_said_that_was_given_up_is_nothing_of_the_next_one_of_its_name() {
        let (mut sharing, mut waiting, _folder) = sharing();
        let post = |task: &str| call(Verb::Post, Ok(format!(r#"{{"task":"{task}"}}"#).into()));
        sharing.on_call(post("get_status"));
        let old = [waiting.recv().await.unwrap(), waiting.recv().await.unwrap()];
        assert!(old[1].1.result.is_some(), "the job is done, and nobody knows yet");
        sharing.on_call(call(Verb::Delete, Ok(Vec::new())));
        assert_eq!(sharing.on_call(post("get_version")).unwrap().status, status::ACCEPTED);
        for said in old {
            assert!(sharing.note(said).is_none());
        }
        assert!(sharing.kept.results.is_empty());
        for _ in 0..2 {
            let said = waiting.recv().await.unwrap();
            assert!(sharing.note(said).is_some());
        }
        assert!(sharing.running.is_empty());
        let result = sharing.on_call(call(Verb::Get, Ok(Vec::new()))).unwrap();
        assert!(String::from_utf8_lossy(&result.body[0]).contains("get_version"));
    }

    #[tokio::test]
    async fn what_is_too_long_is_no_job() {
        let (mut sharing, _waiting, _folder) = sharing();
        let said = sharing.on_call(call(Verb::Post, Err(TooLong))).unwrap();
        assert_eq!(said.status, status::ERROR);
        let body = String::from_utf8_lossy(&said.body[0]);
        assert!(body.contains("the body is over 65536 octets"), "{body}");
        assert!(sharing.running.is_empty());
        assert!(sharing.on_call(call(Verb::Put, Err(TooLong))).is_none());
    }
}
