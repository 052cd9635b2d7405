//! Workers that answer each request with its own body.

use std::cell::RefCell;
use std::io::Read;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use super::wire::{Body, Said, Side, Wire};
use super::{Inbox, LoadArgs, Opened, Speech, length, mjp, nats, on_one_thread, open, say, zmtp};
use crate::outbox::Outbox;

/// Runs workers; says `ready`, and when its input ends, how many requests each has had at least.
pub(crate) fn workers(args: &LoadArgs) {
    match args.speech {
        Speech::Mdp => run::<zmtp::Mdp>(args),
        Speech::Mjp | Speech::Library => run::<mjp::Mjp>(args),
        Speech::Plain => run::<zmtp::Plain>(args),
        Speech::Padded => run::<zmtp::Padded>(args),
        Speech::Nats => run::<nats::Nats>(args),
        Speech::Length => run::<length::Length>(args),
    }
}

fn run<W: Wire>(args: &LoadArgs) {
    /// Above so many, workers have to do with small inboxes.
    const FEW: u32 = 100;
    on_one_thread(async {
        let served = Rc::new(RefCell::new(vec![0_u64; args.count as usize]));
        for number in 0..args.count {
            let Opened { wire, stream, channel } =
                open::<W>(args, Side::Worker, number).expect("a connection");
            let worker = Worker {
                wire,
                body: Body::new(args.size),
                number: number as usize,
                served: served.clone(),
                beat: args.beat,
            };
            let size = args.size;
            let inbox =
                if args.count > FEW { Inbox::new(2 * size + 2048) } else { Inbox::for_body(size) };
            let (sealer, opener) = channel.unzip();
            let (inbox, outbox) = (inbox.opened_by(opener), Outbox::default().sealed_by(sealer));
            spawn_local(async move {
                worker.serve(stream, inbox, outbox).await.expect("a connection");
            });
            if number % FEW == 0 {
                tokio::task::yield_now().await;
            }
        }
        say("ready");
        end_of_input().await;
        let least = served.borrow().iter().min().copied().unwrap_or_default();
        say(&least.to_string());
    });
}

async fn end_of_input() {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        sender.send(())
    });
    receiver.await.expect("the thread ends");
}

struct Worker<W> {
    wire: W,
    body: Body,
    number: usize,
    served: Rc<RefCell<Vec<u64>>>,
    beat: Option<Duration>,
}

impl<W: Wire> Worker<W> {
    async fn serve(
        self,
        stream: TcpStream,
        mut inbox: Inbox,
        mut outbox: Outbox,
    ) -> std::io::Result<()> {
        let (mut reader, writer) = stream.into_split();
        // One that does not beat has a deadline that never comes while the bench runs.
        let beat = self.beat.unwrap_or(Duration::from_secs(86_400));
        let mut next_beat = Instant::now() + beat;
        loop {
            let done = outbox.flush(&writer)?;
            tokio::select! {
                biased;
                more = inbox.read(&mut reader) => assert!(more?, "the peer hung up"),
                writable = writer.writable(), if !done => writable?,
                () = sleep_until(next_beat), if self.beat.is_some() => {
                    outbox.run().extend_from_slice(W::beat());
                    next_beat += beat;
                }
            }
            let mut input = inbox.rest();
            let mut served = 0;
            while let Some(said) = self.wire.next(&mut input) {
                match said {
                    Said::Message { back, body } => {
                        self.wire.reply(back, &self.body.check(body), &mut outbox);
                        served += 1;
                    }
                    Said::Ask(answer) => outbox.run().extend_from_slice(&answer),
                    Said::Aside => {}
                }
            }
            let left = input.len();
            inbox.keep(left);
            self.served.borrow_mut()[self.number] += served;
        }
    }
}
