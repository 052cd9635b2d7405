//! One job of the file service.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::folder::words::Ask;
use crate::folder::{FileError, FileUrl, Store};
use crate::wire::nfp::{Kind, body, status};

use super::super::Asked;
use super::{NAME, PIECE_TIMEOUT, PIECE_TIMEOUT_MAX, SERVICE, Said, Voice};

/// Octets of a piece, if the client does not say how many; and the most.
const PIECE: usize = 256_000;
const PIECE_MAX: usize = crate::folder::CHUNK_MAX;
/// URLs of one `file_details`.
const URLS_MAX: usize = 1000;
/// All that a task looks at.
const ARGUMENTS: [&str; 4] = ["url", "offset", "chunk_size", "chunk_timeout"];

pub(super) struct Job {
    store: Store,
    client: Vec<u8>,
    uuid: Vec<u8>,
}

/// What became of a task, as NorFab says it.
struct Done {
    result: Value,
    errors: Vec<String>,
    status: &'static str,
}

impl Done {
    fn completed(result: Value) -> Self {
        Self { result, errors: Vec::new(), status: "completed" }
    }

    /// It did not go well.
    fn failed(why: String) -> Self {
        Self { result: Value::Null, errors: vec![why], status: "failed" }
    }

    /// It could not even be tried.
    fn error(why: String) -> Self {
        Self { status: "error", ..Self::failed(why) }
    }

    fn entry(self, job: Option<(&str, &str, &str)>) -> Value {
        body::entry(job, self.result, self.errors, self.status)
    }
}

impl Job {
    pub(super) fn new(store: Store, client: Vec<u8>, uuid: Vec<u8>) -> Self {
        Self { store, client, uuid }
    }

    /// Works at the job, and says what there is to say. Pieces are asked for through `wanted`.
    pub(super) async fn run(self, body: Vec<u8>, said: Voice, mut wanted: mpsc::Receiver<u64>) {
        let (short, long) = (Ask::read(&body), serde_json::from_slice::<Asked>(&body));
        // A job may wait for its client for long, and nobody accounts for what it has meanwhile.
        drop(body);
        // The short way of peers that speak MJP: one question, one answer.
        if let Ok(ask) = short {
            let answer = match ask.answer(&self.store).await {
                Ok(frames) => self.say(Kind::Response, status::OK, frames),
                Err(error) => {
                    let text = format!("{}: {error}", error.code());
                    self.say(Kind::Response, status::ERROR, vec![text.into()])
                }
            };
            let _ = said.say(Said { result: Some(Vec::new()), ..answer }).await;
            return;
        }
        let (task, done) = match long {
            Ok(mut asked) => {
                asked.kwargs.retain(|name, _| ARGUMENTS.contains(&&name[..]));
                self.say_event(&said, "progress", "starting", "running", &asked.task).await;
                let done = self.carry_out(&asked, &said, &mut wanted).await;
                (asked.task, done.unwrap_or_else(Done::failed))
            }
            Err(error) => {
                let why = format!("a job is a JSON object with a task and kwargs: {error}");
                (String::new(), Done::error(why))
            }
        };
        let uuid = String::from_utf8_lossy(&self.uuid);
        let entry = done.entry(Some((SERVICE, &uuid, &task)));
        let result = serde_json::to_vec(&json!({ NAME: entry })).unwrap_or_default();
        let ready = body::result_ready(NAME, SERVICE.as_bytes(), &self.uuid, &task, "completed");
        let ready = self.say(Kind::Event, status::OK, vec![ready.into()]);
        let _ = said.say(Said { result: Some(result), ..ready }).await;
    }

    async fn carry_out(
        &self,
        asked: &Asked,
        said: &Voice,
        wanted: &mut mpsc::Receiver<u64>,
    ) -> Result<Done, String> {
        let value = match &asked.task[..] {
            "list_files" => {
                let url = asked.needed("url")?;
                let entries = self.store.list(&parse(url)?).await;
                let entries = entries.map_err(|error| error.norfab(url))?;
                entries.into_iter().map(|entry| entry.name).collect()
            }
            "walk" => {
                let url = asked.needed("url")?;
                let urls = self.store.walk(&parse(url)?).await;
                let urls = urls.map_err(|error| error.norfab(url))?;
                urls.iter().map(ToString::to_string).collect()
            }
            "file_details" => return self.details(asked).await,
            "fetch_file" => self.fetch(asked, said, wanted).await?,
            "get_version" => json!({ "majordomo": env!("CARGO_PKG_VERSION") }),
            "get_status" => json!("OK"),
            "get_inventory" => json!({ "service": SERVICE }),
            other => return Ok(Done::error(format!("unknown task '{other}'"))),
        };
        Ok(Done::completed(value))
    }

    /// Size and MD5 of one file, or of each in a list.
    async fn details(&self, asked: &Asked) -> Result<Done, String> {
        let urls = match asked.kwargs.get("url") {
            Some(Value::String(url)) => return Ok(self.details_of(url).await),
            Some(Value::Array(urls)) if urls.len() <= URLS_MAX => urls,
            Some(Value::Array(_)) => {
                return Err(format!("more than {URLS_MAX} URLs; ask in parts"));
            }
            _ => return Err("argument url is a text or a list of texts".into()),
        };
        let (mut all, mut wrong) = (serde_json::Map::new(), Vec::new());
        for url in urls {
            let Some(url) = url.as_str() else {
                return Err(format!("argument url is a list of texts; {url} is none"));
            };
            let details = self.details_of(url).await;
            wrong.extend(details.errors.iter().cloned());
            all.insert(url.to_owned(), details.entry(None));
        }
        // Some of them may be wrong: each says so itself.
        Ok(Done { errors: wrong, ..Done::completed(Value::Object(all)) })
    }

    async fn details_of(&self, url: &str) -> Done {
        let details = match url.parse::<FileUrl>() {
            Ok(parsed) => self.store.details(&parsed).await,
            Err(error) => Err(error.into()),
        };
        match details {
            Ok(is) => {
                let is = json!({ "md5hash": is.md5, "size_bytes": is.size, "exists": true });
                Done::completed(is)
            }
            Err(error) => {
                let nothing = json!({ "md5hash": null, "size_bytes": null, "exists": false });
                Done { result: nothing, ..Done::failed(error.norfab(url)) }
            }
        }
    }

    /// Sends a file in pieces.
    async fn fetch(
        &self,
        asked: &Asked,
        said: &Voice,
        wanted: &mut mpsc::Receiver<u64>,
    ) -> Result<Value, String> {
        let text = asked.needed("url")?;
        let url = parse(text)?;
        let length = asked.count("chunk_size")?.unwrap_or(PIECE).clamp(1, PIECE_MAX) as u64;
        let mut offset = asked.count("offset")?.unwrap_or_default() as u64;
        let patience = asked.count("chunk_timeout")?.map(|seconds| seconds as u64);
        let patience = patience.map_or(PIECE_TIMEOUT, Duration::from_secs).min(PIECE_TIMEOUT_MAX);
        let (mut furthest, mut until) = (offset, Instant::now() + patience);
        loop {
            let piece = self.store.read(&url, offset, length).await;
            let piece = piece.map_err(|error| error.norfab(text))?;
            let end = offset + piece.octets.len() as u64;
            if !piece.octets.is_empty() {
                let piece = self.say(Kind::Stream, status::OK, vec![piece.octets]);
                said.say(piece).await.map_err(|_| "the broker stops")?;
            }
            if end >= piece.size {
                return Ok(Value::Bool(true));
            }
            // Who asks again for what was sent gets it, and no more time.
            if end > furthest {
                (furthest, until) = (end, Instant::now() + patience);
            }
            offset = tokio::select! {
                biased;
                () = sleep_until(until) => {
                    return Err(format!(
                        "'{text}' nobody asked for the next piece in {patience:?}"
                    ));
                }
                next = wanted.recv() => next.ok_or("cancelled")?,
            };
        }
    }

    async fn say_event(
        &self,
        said: &Voice,
        event_type: &str,
        message: &str,
        event_status: &str,
        task: &str,
    ) {
        let uuid = String::from_utf8_lossy(&self.uuid);
        let event = json!({
            "worker": NAME, "service": SERVICE, "uuid": uuid, "event_type": event_type,
            "message": message, "task": task, "status": event_status, "resource": [],
            "severity": "INFO", "timestamp": "",
        });
        let body = serde_json::to_vec(&event).unwrap_or_default();
        let _ = said.say(self.say(Kind::Event, status::OK, vec![body.into()])).await;
    }

    fn say(&self, kind: Kind, status: &'static [u8; 3], body: Vec<Bytes>) -> Said {
        let (client, uuid) = (self.client.clone(), self.uuid.clone());
        Said { kind, client, uuid, status, body, result: None }
    }
}

fn parse(url: &str) -> Result<FileUrl, String> {
    url.parse().map_err(|error| FileError::from(error).norfab(url))
}
