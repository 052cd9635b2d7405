//! Both ends of flows (SPEC 13), on sockets that are CLIENTs, or behind the raw relay. Takers play
//! the factory as well: for each flow that is asked for they come as its handler.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use super::client::Calls;
use super::line::Line;
use super::wire::Said;
use super::zmtp::{Item, header, next, on_command, shake_as};
use super::{Inbox, millis, on_one_thread, say};
use crate::outbox::{LARGE, Outbox};
use crate::relay::{CLIENT, HEADER, WORKER};

/// The label and the coordinates of a DAT, up to its number.
const DAT: &[u8] = b"\x17ZIO0FLOW{\"flow\": \"DAT\"}\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const CREDIT: &[u8] = b"\"credit\": ";

#[derive(Debug, Clone, Args)]
pub(crate) struct FlowArgs {
    #[arg(long)]
    addr: SocketAddr,
    /// It is the relay that listens there
    #[arg(long)]
    relay: bool,
    /// Flows
    #[arg(long)]
    count: u32,
    /// Octets of the payload of a DAT
    #[arg(long)]
    size: usize,
    /// DATs that may be under way in each
    #[arg(long)]
    window: usize,
    /// Of takers: where they are asked who handles a flow
    #[arg(long)]
    factory: Option<SocketAddr>,
    /// Of takers: until figures are taken
    #[arg(long, value_parser = millis, default_value = "300")]
    warm: Duration,
    /// Of takers: while figures are taken
    #[arg(long, value_parser = millis, default_value = "1000")]
    measure: Duration,
}

/// One end of a flow.
struct End {
    stream: TcpStream,
    relay: bool,
    inbox: Inbox,
    outbox: Outbox,
}

/// A message that came: where an answer goes, and what it is.
type Heard<'a> = (&'a [u8], &'a [u8]);

impl End {
    fn open(args: &FlowArgs, kind: u8) -> io::Result<Self> {
        let mut line = Line::open(args.addr, None)?;
        if args.relay {
            line.stream().write_all(&[kind])?;
        } else {
            shake_as(&mut line, b"CLIENT")?;
        }
        let (stream, _) = line.into_parts();
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: TcpStream::from_std(stream)?,
            relay: args.relay,
            inbox: if kind == WORKER { Inbox::for_body(args.size) } else { Inbox::new(64 << 10) },
            outbox: Outbox::default(),
        })
    }

    /// Reads, and hands over what came; answers PINGs.
    async fn run(
        self,
        mut before: impl FnMut(&mut Outbox),
        mut hear: impl FnMut(Heard<'_>, &mut Outbox),
    ) -> io::Result<()> {
        let Self { stream, relay, mut inbox, mut outbox } = self;
        let (mut reader, writer) = stream.into_split();
        loop {
            before(&mut outbox);
            let done = outbox.flush(&writer)?;
            tokio::select! {
                biased;
                more = inbox.read(&mut reader) => assert!(more?, "the peer hung up"),
                writable = writer.writable(), if !done => writable?,
            }
            let mut input = inbox.rest();
            while let Some(heard) = take(relay, &mut input, &mut outbox) {
                hear(heard, &mut outbox);
            }
            let left = input.len();
            inbox.keep(left);
        }
    }
}

/// The next message at the front of the input.
fn take<'a>(relay: bool, input: &mut &'a [u8], outbox: &mut Outbox) -> Option<Heard<'a>> {
    if relay {
        let (header, rest) = input.split_first_chunk::<HEADER>()?;
        let (size, back) = header.split_first_chunk()?;
        let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        *input = rest;
        return Some((back, body));
    }
    loop {
        match next(input)? {
            Item::Message(frames, 1) => return Some((&[], frames[0])),
            Item::Message(_, count) => panic!("a message of {count} frames"),
            Item::Command(body) => {
                if let Said::Ask(answer) = on_command(body) {
                    outbox.run().extend_from_slice(&answer);
                }
            }
        }
    }
}

/// What comes before a message of that size.
fn begin(relay: bool, back: &[u8], size: usize, run: &mut Vec<u8>) {
    if relay {
        run.extend_from_slice(&u32::try_from(size).expect("a few MiB").to_le_bytes());
        run.extend_from_slice(back);
    } else {
        header(0, size, run);
    }
}

/// BOT or PAY: label, coordinates, no payload.
fn short(label: &str) -> Vec<u8> {
    let size = u8::try_from(8 + label.len()).expect("a short label");
    [&[size], &b"ZIO0FLOW"[..], label.as_bytes(), &[24], &[0; 24]].concat()
}

fn credit_of(message: &[u8]) -> usize {
    let at = message.windows(CREDIT.len()).position(|it| it == CREDIT).expect("a credit");
    let digits = message[at + CREDIT.len()..].iter().take_while(|octet| octet.is_ascii_digit());
    digits.fold(0, |number, digit| 10 * number + usize::from(digit - b'0'))
}

fn is(message: &[u8], kind: &str) -> bool {
    let label = format!("{{\"flow\": \"{kind}\"");
    message.get(9..).is_some_and(|rest| rest.starts_with(label.as_bytes()))
}

/// Gives for ever, in each flow as much as is paid for.
pub(crate) fn givers(args: &FlowArgs) {
    on_one_thread(async {
        for _ in 0..args.count {
            let end = End::open(args, CLIENT).expect("a connection");
            spawn_local(give(end, args.clone()));
            tokio::task::yield_now().await;
        }
        std::future::pending().await
    });
}

async fn give(mut end: End, args: FlowArgs) {
    // Nobody pays before he has heard who gives, behind the relay.
    let mut credit = if args.relay { args.window } else { 0 };
    if !args.relay {
        let bot = short(&format!(
            r#"{{"flow": "BOT", "credit": {}, "direction": "extract"}}"#,
            args.window
        ));
        begin(false, &[], bot.len(), end.outbox.run());
        end.outbox.run().extend_from_slice(&bot);
    }
    let credit = &RefCell::new(std::mem::take(&mut credit));
    let payload = Bytes::from(vec![0xa5; args.size]);
    let mut seqno = 0_u64;
    let relay = args.relay;
    let size_of_part: Vec<u8> = match u8::try_from(args.size) {
        Ok(size) if size < 255 => vec![size],
        _ => [&[255][..], &u32::try_from(args.size).expect("32 bits").to_be_bytes()].concat(),
    };
    let size = DAT.len() + 8 + size_of_part.len() + args.size;
    let dat = |outbox: &mut Outbox| {
        for _ in 0..credit.take() {
            seqno += 1;
            let run = outbox.run();
            begin(relay, &[0; 4], size, run);
            run.extend_from_slice(DAT);
            run.extend_from_slice(&seqno.to_le_bytes());
            run.extend_from_slice(&size_of_part);
            if payload.len() < LARGE {
                run.extend_from_slice(&payload);
            } else {
                outbox.push(payload.clone());
            }
        }
    };
    let hear = |(_, message): Heard<'_>, _: &mut Outbox| {
        if is(message, "PAY") {
            *credit.borrow_mut() += credit_of(message);
        } else if is(message, "EOT") {
            // The givers are stopped first, when all has been measured.
        } else {
            assert!(
                is(message, "BOT"),
                "not BOT: {}",
                message[..80.min(message.len())].escape_ascii()
            );
        }
    };
    end.run(dat, hear).await.expect("a connection");
}

/// DATs since figures are taken.
#[derive(Debug, Default)]
struct Tally {
    messages: u64,
    flows: u32,
    /// The broker has asked the factory something.
    asked: bool,
}

/// An attribute of flows that are there for being asked about.
const PROBE: &str = r#""probe": 1"#;

/// Takes for ever; says `ready`, then `start`, and then what was measured.
pub(crate) fn takers(args: &FlowArgs) {
    on_one_thread(async {
        let tally = Rc::new(RefCell::new(Tally::default()));
        if let Some(factory) = args.factory {
            let listener = TcpListener::bind(factory).await.expect("a port");
            let (line, _) = listener.accept().await.expect("the broker asks");
            spawn_local(answer(line, args.clone(), tally.clone()));
            // The broker may have connected and not know of it yet; it refuses flows until then.
            while !tally.borrow().asked {
                probe(args).await;
            }
        } else {
            // The relay gives each message to another worker; one of them hears of all givers.
            let end = End::open(args, WORKER).expect("a connection");
            spawn_local(take_all(end, args.clone(), tally.clone()));
            tally.borrow_mut().flows = args.count;
        }
        say("ready");
        while tally.borrow().flows < args.count || tally.borrow().messages == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(args.warm).await;
        tally.borrow_mut().messages = 0;
        let since = Instant::now();
        say("start");
        tokio::time::sleep(args.measure).await;
        let (calls, seconds) = (tally.borrow().messages, since.elapsed().as_secs_f64());
        let calls = Calls { calls, seconds, p50: 0.0, p99: 0.0, p999: 0.0 };
        say(&serde_json::to_string(&calls).expect("plain figures"));
        std::future::pending::<()>().await;
    });
}

/// Asks for a flow that the factory refuses, if it is asked about it.
async fn probe(args: &FlowArgs) {
    let mut end = End::open(args, CLIENT).expect("a connection");
    let label = format!(r#"{{"flow": "BOT", "credit": 1, "direction": "extract", {PROBE}}}"#);
    let bot = short(&label);
    begin(false, &[], bot.len(), end.outbox.run());
    end.outbox.run().extend_from_slice(&bot);
    let asks = spawn_local(end.run(|_| {}, |_, _| {}));
    tokio::time::sleep(Duration::from_millis(20)).await;
    asks.abort();
}

/// The factory: comes for each flow, and says yes.
async fn answer(line: TcpStream, args: FlowArgs, tally: Rc<RefCell<Tally>>) {
    let (reader, mut writer) = line.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await.expect("the broker asks") {
        let question: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let hex = question["bot"].as_str().expect("a BOT").as_bytes();
        let digit = |octet: &u8| char::from(*octet).to_digit(16).expect("hex");
        let bot: Vec<u8> = hex
            .chunks_exact(2)
            .map(|pair| u8::try_from(16 * digit(&pair[0]) + digit(&pair[1])).expect("an octet"))
            .collect();
        tally.borrow_mut().asked = true;
        if bot.windows(PROBE.len()).any(|it| it == PROBE.as_bytes()) {
            let no = format!("{{\"id\": {}, \"accept\": false}}\n", question["id"]);
            writer.write_all(no.as_bytes()).await.expect("the broker listens");
            continue;
        }
        let mut end = End::open(&args, WORKER).expect("a connection");
        begin(false, &[], bot.len(), end.outbox.run());
        end.outbox.run().extend_from_slice(&bot);
        let yes = format!("{{\"id\": {}, \"accept\": true}}\n", question["id"]);
        writer.write_all(yes.as_bytes()).await.expect("the broker listens");
        tally.borrow_mut().flows += 1;
        spawn_local(take_all(end, args.clone(), tally.clone()));
    }
}

async fn take_all(end: End, args: FlowArgs, tally: Rc<RefCell<Tally>>) {
    let relay = args.relay;
    let half = args.window.div_ceil(2);
    let pay = |credit: usize, back: &[u8], outbox: &mut Outbox| {
        let pay = short(&format!(r#"{{"flow": "PAY", "credit": {credit}}}"#));
        begin(relay, back, pay.len(), outbox.run());
        outbox.run().extend_from_slice(&pay);
    };
    // Of each giver.
    let mut held = HashMap::new();
    let mut number = 0_u64;
    let ordered = !relay || args.count == 1;
    let hear = |(back, message): Heard<'_>, outbox: &mut Outbox| {
        if let Some(rest) = message.strip_prefix(DAT) {
            let seqno = u64::from_le_bytes(*rest.first_chunk().expect("a number"));
            number += 1;
            assert!(!ordered || seqno == number, "DAT {seqno} in the place of {number}");
            assert!(rest.len() > args.size && rest.ends_with(&[0xa5]), "a DAT changed on the way");
            tally.borrow_mut().messages += 1;
            let address = back.first_chunk().copied().map(u32::from_le_bytes);
            let held = held.entry(address).or_insert(0);
            *held += 1;
            if *held >= half {
                pay(std::mem::take(held), back, outbox);
            }
        } else if is(message, "EOT") {
            // The givers are stopped first, when all has been measured.
        } else {
            assert!(
                is(message, "BOT"),
                "not BOT: {}",
                message[..80.min(message.len())].escape_ascii()
            );
            pay(args.window, back, outbox);
        }
    };
    end.run(|_| {}, hear).await.expect("a connection");
}
