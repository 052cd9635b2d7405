//! The external factory: lines of JSON, a question each way.
//!
//! ```text
//! broker: {"id": 7, "bot": "3b5a494f30464c4f57…"}
//! factory: {"id": 7, "accept": true}
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::{info, warn};

use crate::broker::shared::Shared;
use crate::id::ServiceName;
use crate::proto::backoff::Backoff;
use crate::proto::core::Question;
use crate::proto::flow::{Decision, FlowId};
use crate::transport::dial::dial;
use crate::transport::endpoint::Endpoint;
use crate::transport::stream::Stream;

use super::{decide, refuse_all, take_questions};

/// Longest line of an answer, octets.
const LINE_MAX: usize = 4 << 10;
/// Questions that wait to be written, octets; beyond that flows are refused.
const UNWRITTEN_MAX: usize = 8 << 20;
/// How long one attempt to connect may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// What the factory says.
#[derive(Debug, PartialEq, Eq, serde::Deserialize)]
struct Answer {
    id: u64,
    accept: bool,
    /// With `accept`: those are asked who offer that flow service.
    #[serde(default)]
    service: Option<String>,
}

impl Answer {
    fn decision(self) -> Result<Decision, String> {
        match (self.accept, self.service) {
            (false, _) => Ok(Decision::Refuse),
            (true, None) => Ok(Decision::Accept),
            (true, Some(name)) => ServiceName::try_from(name.as_bytes())
                .map(Decision::Service)
                .map_err(|error| error.to_string()),
        }
    }
}

/// Keeps a line to the factory. As long as there is none, every flow is refused.
pub(super) async fn run(shared: &Shared, endpoint: &Endpoint) {
    let mut backoff = Backoff::default();
    // Whoever comes while the first attempt is under way waits for its end.
    let mut attempt = try_dial(endpoint).await;
    loop {
        match attempt {
            Ok(stream) => {
                info!(%endpoint, "connected to the flow factory");
                shared.factory_up.store(true, Ordering::Relaxed);
                let mut line = Line::new(shared);
                let why = line.keep(stream).await;
                shared.factory_up.store(false, Ordering::Relaxed);
                let refused = line.give_up();
                warn!(%endpoint, %why, refused, "the flow factory is lost; connecting again");
                if line.was_of_use {
                    backoff.reset();
                }
            }
            Err(error) => warn!(%endpoint, %error, "no flow factory; flows are refused"),
        }
        let wait = backoff.next_wait();
        let again = async {
            tokio::time::sleep(wait).await;
            try_dial(endpoint).await
        };
        attempt = tokio::select! {
            attempt = again => attempt,
            () = refuse_all(shared) => return,
        };
    }
}

async fn try_dial(endpoint: &Endpoint) -> io::Result<Stream> {
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    tokio::time::timeout(DIAL_TIMEOUT, dial(endpoint)).await.unwrap_or_else(|_| Err(late()))
}

/// One connection to the factory.
struct Line<'a> {
    shared: &'a Shared,
    unwritten: BytesMut,
    /// The last line, as far as it has come.
    unread: BytesMut,
    asked: BTreeMap<u64, FlowId>,
    number: u64,
    was_of_use: bool,
}

impl<'a> Line<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            unwritten: BytesMut::new(),
            unread: BytesMut::new(),
            asked: BTreeMap::new(),
            number: 0,
            was_of_use: false,
        }
    }

    /// Asks and hears until the connection is of no use any more; says why it is not.
    async fn keep(&mut self, stream: Stream) -> io::Error {
        let (mut reader, mut writer) = stream.into_split();
        let mut piece = vec![0; LINE_MAX];
        // Questions from before.
        self.ask();
        loop {
            tokio::select! {
                () = self.shared.questions.notified() => self.ask(),
                read = reader.read(&mut piece) => match read {
                    Ok(0) => return io::Error::other("it hung up"),
                    Ok(count) => {
                        if let Err(error) = self.hear(piece.get(..count).unwrap_or_default()) {
                            return error;
                        }
                    }
                    Err(error) => return error,
                },
                written = writer.write(&self.unwritten), if !self.unwritten.is_empty() => {
                    match written {
                        Ok(count) => self.unwritten.advance(count),
                        Err(error) => return error,
                    }
                }
            }
        }
    }

    fn ask(&mut self) {
        for Question { flow, bot } in take_questions(self.shared) {
            if self.unwritten.len() >= UNWRITTEN_MAX {
                decide(self.shared, flow, Decision::Refuse);
                continue;
            }
            self.number += 1;
            self.unwritten.extend_from_slice(question(self.number, bot.first()).as_bytes());
            self.asked.insert(self.number, flow);
        }
        self.forget_ended();
    }

    /// Forgets flows that have ended without an answer, once they may be the most.
    fn forget_ended(&mut self) {
        if self.asked.len() > 2 * self.shared.config.flow.waiting {
            let asked = &mut self.asked;
            self.shared.with_core(|core, _| {
                asked.retain(|_, flow| core.flows().undecided(*flow).is_some());
            });
        }
    }

    fn hear(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while let Some(end) = octets.iter().position(|octet| *octet == b'\n') {
            let (line, rest) = octets.split_at(end);
            self.unread.extend_from_slice(line);
            octets = rest.get(1..).unwrap_or_default();
            let line = self.unread.split();
            self.answer(&line);
        }
        self.unread.extend_from_slice(octets);
        if self.unread.len() > LINE_MAX {
            return Err(io::Error::other(format!("a line of it is longer than {LINE_MAX} octets")));
        }
        Ok(())
    }

    /// What cannot be read is no answer; what answers nothing means nothing.
    fn answer(&mut self, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let answer = serde_json::from_slice::<Answer>(line).map_err(|error| error.to_string());
        let decided = answer.and_then(|answer| Ok((answer.id, answer.decision()?)));
        match decided {
            Ok((id, decision)) => {
                if let Some(flow) = self.asked.remove(&id) {
                    self.was_of_use = true;
                    decide(self.shared, flow, decision);
                }
            }
            Err(error) => {
                if let Some(held_back) = self.shared.log_refusal() {
                    warn!(%error, held_back, "what the flow factory says cannot be read");
                }
            }
        }
    }

    /// Refuses what was asked and will not be answered.
    fn give_up(&mut self) -> usize {
        let asked = std::mem::take(&mut self.asked);
        let count = asked.len();
        asked.into_values().for_each(|flow| decide(self.shared, flow, Decision::Refuse));
        count
    }
}

fn question(number: u64, bot: &[u8]) -> String {
    let mut line = String::with_capacity(2 * bot.len() + 48);
    // Writing to a text does not fail.
    let _ = write!(line, r#"{{"id": {number}, "bot": ""#);
    for octet in bot {
        let _ = write!(line, "{octet:02x}");
    }
    line.push_str("\"}\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_line_of_json() {
        assert_eq!(question(7, b"\x08ZIO"), "{\"id\": 7, \"bot\": \"085a494f\"}\n");
    }

    #[test]
    fn an_answer_says_yes_no_or_who() {
        let read = |text: &str| {
            let answer: Answer = serde_json::from_str(text).map_err(|error| error.to_string())?;
            Ok((answer.id, answer.decision()?))
        };
        let writers = ServiceName::try_from(&b"writers"[..]).unwrap();
        for (text, expected) in [
            (r#"{"id": 1, "accept": true}"#, (1, Decision::Accept)),
            (r#" {"accept":false,"id":2,"why":"no"} "#, (2, Decision::Refuse)),
            (r#"{"id": 3, "accept": true, "service": "writers"}"#, (3, Decision::Service(writers))),
            (r#"{"id": 4, "accept": true, "service": null}"#, (4, Decision::Accept)),
        ] {
            assert_eq!(read(text), Ok::<_, String>(expected), "{text}");
        }
        for text in
            ["", "[]", r#"{"id": 1}"#, r#"{"id": -1, "accept": true}"#, r#"{"accept": true}"#]
        {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
