//! What a stranger says in NFP: any command of a client or a worker in any order, wrong ones, what
//! belongs to others.

use crate::wire::nfp::{FromClient, FromWorker, Kind as Says, Verb};

use super::actor::{Act, Context, encoded};
use super::nfp_client::say as ask;
use super::nfp_worker::report;
use super::plan::{JOBS, MIXED};
use super::tag::{Kind as PieceKind, Piece, Tag};

/// Says something.
pub(super) fn say_anything(tag: Tag, cx: &mut Context<'_>) {
    let uuid = format!("stranger{}-{}", tag.client, tag.number).into_bytes();
    let (known, owner) =
        cx.gossip_of_jobs.clone().unwrap_or_else(|| (uuid.clone(), "nobody".into()));
    let service = cx.rng.pick(&[JOBS, MIXED]);
    let target = cx.rng.pick(&["all", "any", "actor4", "nobody"]);
    let worker = |says: FromWorker<'_>, cx: &mut Context<'_>| {
        cx.act(Act::Say(encoded(|encoder| says.encode(encoder))));
    };
    match cx.rng.within(0, 15) {
        0 | 1 => ask(Verb::Post, service, target, &uuid, tag.to_job(Some(1)), cx),
        2 => {
            let verb = cx.rng.pick(&[Verb::Post, Verb::Get, Verb::Delete, Verb::Put, Verb::Mmi]);
            ask(verb, service, target, &known, tag.to_job(None), cx);
        }
        3 => cx.act(Act::Say(encoded(|out| FromClient::Open.encode(out)))),
        4 | 5 => cx.act(Act::Say(encoded(|out| FromClient::Disconnect.encode(out)))),
        6 | 7 => worker(FromWorker::Ready { service: service.as_bytes() }, cx),
        8 => worker(FromWorker::Ready { service: b"fss.service.broker" }, cx),
        9 => worker(FromWorker::Keepalive { service: service.as_bytes() }, cx),
        10 => worker(FromWorker::Disconnect { service: service.as_bytes() }, cx),
        11 => {
            let body = br#"{"event_type":"progress"}"#.to_vec();
            report(Says::Event, owner.as_bytes(), &known, "200", body, cx);
        }
        12 => {
            // In the name of a request that somebody else has, or nobody.
            let (address, tag) = cx.gossip.clone().unwrap_or_else(|| (vec![1; 8], tag));
            let token = address.try_into().map_or(1, u64::from_be_bytes);
            let (client, uuid) = (format!("+{token:016x}"), format!("{token:032x}"));
            let body = Piece { tag, kind: PieceKind::Babble }.encode();
            report(Says::Response, client.as_bytes(), uuid.as_bytes(), "200", body, cx);
        }
        13 => raw(b"NFPC01", b"0x97", cx),
        14 => raw(b"NFPW01", b"0x97", cx),
        _ => raw(cx.rng.pick(&[b"NFPB01", b"NFPX01", b"NFPC02"]), b"0x04", cx),
    }
}

fn raw(header: &[u8], command: &[u8], cx: &mut Context<'_>) {
    cx.act(Act::Say(encoded(|encoder| {
        encoder.frame(b"");
        encoder.frame(header);
        encoder.frame(command);
        encoder.last_frame(b"x");
    })));
}
