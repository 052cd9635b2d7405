//! The client library in the place of the load generator's own clients: so many callers, one
//! connection for all of them, each reply checked.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use majordomo::client::Client;

use super::client::{ClientArgs, Tally, head, report};
use super::current_thread;
use super::wire::{Body, SERVICE};

/// Runs callers; says `start` and then what was measured.
pub(super) fn run(args: &ClientArgs) {
    current_thread().block_on(async {
        let tally = Arc::new(Mutex::new(Tally::new()));
        for number in 0..args.load.count {
            let mut builder = Client::builder(&format!("tcp://{}", args.load.addr)).expect("TCP");
            builder.config().in_flight_max = args.window;
            let client = builder.connect().await.expect("a connection");
            for slot in 0..args.window {
                let caller = Caller {
                    client: client.clone(),
                    body: Body::new(args.load.size),
                    number,
                    slot,
                    tally: tally.clone(),
                };
                tokio::spawn(caller.call());
            }
        }
        report(args, &tally).await;
    });
}

struct Caller {
    client: Client,
    body: Body,
    number: u32,
    slot: usize,
    tally: Arc<Mutex<Tally>>,
}

impl Caller {
    /// Calls, and calls again as soon as it has the answer.
    async fn call(self) {
        let mut sent = Instant::now();
        for sequence in 1.. {
            let head = head(self.number, self.slot, sequence);
            let reply = self.client.call(SERVICE, self.body.with(&head)).await.expect("a reply");
            assert_eq!(reply.frames().len(), 1, "a reply has the frames of its request");
            assert_eq!(self.body.check(reply.first()), head, "a reply to another request");
            let now = Instant::now();
            self.tally.lock().expect("nobody panics").add(now - sent);
            sent = now;
        }
    }
}
