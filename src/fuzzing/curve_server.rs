//! `curve_server`: a listener of CURVE against a client that does something wrong, or against
//! whatever octets come.

use super::damage::{Damage, Listener, number};
use super::handshakes::curve::low_order_keys;
use super::handshakes::forger::{Client, KNOWN_KEY, WELCOME_END, cookie, pair_of, public};
use super::handshakes::greetings::greeting;
use super::handshakes::{ADMITTED, OLD_SERVER, Ours, SERVER};
use super::pieces::{Choices, Cuts};
use crate::id::{Principal, PublicKey};
use crate::proto::curve::SharedKey;
use crate::wire::command::{Metadata, SocketType};
use crate::wire::greeting::Mechanism;

/// What we say at most: greeting, WELCOME, and READY or ERROR.
const SAID_MAX: usize = WELCOME_END + 2 + 30 + 35;
/// Of the frame of HELLO, octets that mean nothing.
const PADDING: std::ops::Range<usize> = 10..82;

/// The first octet chooses: even, what follows the cuts is the stream (behind a greeting if bit 1
/// is set); odd, it says what a client does wrong, and what happens to its frames. No octets are
/// the handshake of a good client.
pub fn curve_server(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mode = choices.octet();
    let cuts = Cuts::read(&mut choices);
    let mut listener = Listener::new(Ours::Listener(Mechanism::Curve), cuts);
    if mode.is_multiple_of(2) {
        if mode & 2 != 0 {
            listener.hear(&greeting(Mechanism::Curve));
        }
        listener.hear(choices.rest());
        assert!(!matches!(listener.result, Ok(Some(_))), "a peer without proof");
        assert!(listener.said.len() <= SAID_MAX, "{}", listener.said.len());
        return;
    }
    let client = client(&mut choices);
    let (to_hello, to_initiate) = (Damage::read(&mut choices), Damage::read(&mut choices));
    listener.hear(&greeting(Mechanism::Curve));
    let hello = client.hello();
    let arrived = to_hello.apply(&hello);
    let hello_is_whole = without_padding(&arrived) == without_padding(&hello);
    listener.hear(&[&arrived, to_hello.behind].concat());
    let initiate = client.initiate(&listener.said);
    let arrived = to_initiate.apply(&initiate);
    let intact = hello_is_whole && to_hello.behind.is_empty() && arrived == initiate;
    listener.hear(&[&arrived, to_initiate.behind].concat());

    assert!(listener.said.len() <= SAID_MAX, "{}", listener.said.len());
    let metadata = metadata(&client);
    let expected = metadata.filter(|_| intact && is_right(&client));
    match (listener.result, expected) {
        (Ok(Some(peer)), Some(Metadata { socket_type, identity })) => {
            assert_eq!((peer.socket_type, peer.identity), (socket_type, identity));
            assert_eq!(peer.proven, Some(Principal::Key(public(ADMITTED))));
            assert_eq!(peer.by_old_key, client.server == public(OLD_SERVER));
            let channel = peer.channel.expect("CURVE leaves one");
            assert_eq!((channel.sent, channel.received), (1, client.initiate_number));
            assert_eq!(listener.left, to_initiate.behind.len());
        }
        (Ok(Some(peer)), None) => panic!("{peer:?} has proven nothing"),
        (other, Some(_)) => panic!("{other:?} came of a good handshake"),
        (_, None) => {}
    }
}

fn without_padding(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame.iter_mut().take(PADDING.end).skip(PADDING.start).for_each(|octet| *octet = 0);
    frame
}

/// Metadata that a listener serves.
fn metadata(client: &Client) -> Option<Metadata> {
    use SocketType::{Dealer, Req, Router};
    let metadata = Metadata::decode(&client.metadata).ok()?;
    let served = [Req, Dealer, Router].contains(&metadata.socket_type);
    (served && client.metadata.len() <= 512).then_some(metadata)
}

/// All that the sheet demands of a client, in other words than those of the server.
fn is_right(client: &Client) -> bool {
    let Client { own, short, server, hello_short, hello_number, hello_text, .. } = client;
    let Client { cookie, initiate_number, shown, vouched, vouch_key, .. } = client;
    *own == ADMITTED
        && *shown == public(*own)
        && *hello_short == public(*short)
        && [public(SERVER), public(OLD_SERVER)].contains(server)
        && *vouched == [*hello_short, *server]
        && vouch_key.is_none()
        && cookie.is_none()
        && hello_text.iter().all(|octet| *octet == 0)
        && initiate_number > hello_number
}

/// A good client, and what it does wrong.
fn client(choices: &mut Choices<'_>) -> Client {
    let mut client = Client::new(ADMITTED, SERVER);
    for _ in 0..choices.octet() % 8 {
        match choices.octet() % 14 {
            0 => client.own = choices.octet(),
            1 => client.short = choices.octet(),
            2 => client.server = key(choices),
            3 => client.hello_short = key(choices),
            4 => client.hello_number = number(choices),
            5 => {
                let at = usize::from(choices.octet());
                let octet = choices.octet();
                client.hello_text.iter_mut().skip(at).take(1).for_each(|to| *to = octet);
            }
            6 => {
                let (sealed, short, secret) = (choices.octet(), key(choices), choices.octet());
                // That of the listener itself is none that anybody else can make.
                client.cookie = (sealed != 0x55).then(|| cookie(sealed, &short, secret));
            }
            7 => client.initiate_number = number(choices),
            8 => client.shown = key(choices),
            9 => client.vouched = [key(choices), client.vouched[1]],
            10 => client.vouched = [client.vouched[0], key(choices)],
            11 => client.vouch_key = Some(SharedKey::new(KNOWN_KEY)),
            12 => {
                // Another client, that does everything as it should be.
                client.short = choices.octet();
                client.hello_short = public(client.short);
                client.server = public(if choices.octet() & 1 == 0 { SERVER } else { OLD_SERVER });
                client.vouched = [client.hello_short, client.server];
            }
            _ => {
                let len = usize::from(choices.octet()) * 3;
                client.metadata = choices.octets(len).to_vec();
            }
        }
    }
    client
}

/// A public key whose secret half is known, or one that has none.
fn key(choices: &mut Choices<'_>) -> PublicKey {
    let octet = choices.octet();
    match low_order_keys().get(usize::from(octet)) {
        Some((_, key)) => *key,
        None => pair_of(octet).public(),
    }
}
