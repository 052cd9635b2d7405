//! `store_record`: whatever a disk gives back, a record is read as it was written or refused, takes
//! no more memory than its octets, and does not bring the table of requests down.

use std::time::Duration;

use bytes::Bytes;

use crate::proto::clock::Clock;
use crate::proto::depot::{APART, Depot, DepotLimits, LETTERS, MARKS, OUTCOMES, REQUESTS, reread};
use crate::proto::durable::{Found, Order};
use crate::proto::titanic::{HEADS, Titanic, TitanicLimits};

/// The first octet says of which kind the key is, the second how long its name is; the rest is the
/// name of the key and then the record.
pub fn store_record(input: &[u8]) {
    let Some((&[kind, len], rest)) = input.split_first_chunk() else { return };
    let space = match (kind, kind % 6) {
        (APART, _) => APART,
        (_, 0) => REQUESTS,
        (_, 1) => MARKS,
        (_, 2) => OUTCOMES,
        (_, 3) => HEADS,
        (_, 4) => LETTERS,
        _ => b'z',
    };
    let name_len = match len % 4 {
        0 => 24,
        1 => 8,
        2 => 16,
        _ => usize::from(len),
    };
    let (name, value) = rest.split_at_checked(name_len).unwrap_or((rest, &[]));
    let key = [&[space], name].concat();
    if space == HEADS {
        let mut table = Titanic::new(TitanicLimits::default(), [7; 32], 1);
        let _ = table.recover(&key, value);
        return;
    }
    let value = Bytes::copy_from_slice(value);
    if let Some(again) = reread(space, &value) {
        assert_eq!(again, value, "written again it is another one");
    }
    recovered(&key, &value);
}

/// A table that finds the record, and reads it again when it is to be asked.
fn recovered(key: &[u8], value: &Bytes) {
    let mut depot = Depot::new(DepotLimits::default(), 7, 1_795_349_873_870);
    if depot.recover(key, value).is_err() {
        return;
    }
    let epoch = tokio::time::Instant::now().into_std();
    let now = Clock::new(epoch).at(epoch + Duration::from_secs(1));
    let services = depot.lines_after(None, 9);
    assert!(services.len() <= 1, "one record is of one service");
    for service in services {
        depot.read_more(&service, usize::MAX);
    }
    for order in depot.take_orders() {
        match order {
            Order::Range { ticket, .. } => {
                let records = vec![(Bytes::copy_from_slice(key), value.clone())];
                depot.ranged(now, ticket, &Found { records, more: false });
            }
            Order::Load { ticket, key: wanted } => {
                assert!(wanted.octets().starts_with(&[APART]), "it is read with the others");
                depot.loaded(now, ticket, Some(value));
            }
            Order::Store(_) => {}
        }
    }
    assert_eq!(depot.audit(|_, _, _| false), Ok(()));
    let (requests, bytes) = depot.size();
    assert!(requests <= 1 && bytes <= value.len() as u64, "{requests} requests, {bytes} octets");
    assert!(depot.memory() <= (1 << 14) + 8 * value.len(), "{} octets", depot.memory());
}
