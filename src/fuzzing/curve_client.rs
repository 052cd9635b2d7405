//! `curve_client`: a dialer of CURVE against a server that does something wrong, or against whatever
//! octets come.

use super::damage::{Damage, Listener, number};
use super::handshakes::curve::low_order_keys;
use super::handshakes::forger::{HELLO_END, Server, public};
use super::handshakes::greetings::greeting;
use super::handshakes::{Ours, SERVER};
use super::pieces::{Choices, Cuts};
use crate::id::Principal;
use crate::wire::command::{Metadata, SocketType};
use crate::wire::greeting::Mechanism;

/// What we say at most: greeting, HELLO, INITIATE, ERROR.
const SAID_MAX: usize = HELLO_END + 9 + 257 + 35 + 70;

/// The first octet chooses: even, what follows the cuts is the stream (behind a greeting if bit 1
/// is set); odd, it says what a server does wrong, and what happens to its frames. No octets are
/// the handshake of a good server.
pub fn curve_client(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mode = choices.octet();
    let cuts = Cuts::read(&mut choices);
    let mut dialer = Listener::new(Ours::Dialer(Mechanism::Curve), cuts);
    if mode.is_multiple_of(2) {
        if mode & 2 != 0 {
            dialer.hear(&greeting(Mechanism::Curve));
        }
        dialer.hear(choices.rest());
        assert!(!matches!(dialer.result, Ok(Some(_))), "a server without proof");
        assert!(dialer.said.len() <= SAID_MAX, "{}", dialer.said.len());
        return;
    }
    let server = server(&mut choices);
    let (to_welcome, to_ready) = (Damage::read(&mut choices), Damage::read(&mut choices));
    dialer.hear(&greeting(Mechanism::Curve));
    let welcome = server.welcome(&dialer.said);
    let arrived = to_welcome.apply(&welcome);
    let whole = arrived == welcome;
    dialer.hear(&[&arrived, to_welcome.behind].concat());
    let welcomed = dialer.said.len() > HELLO_END + 257;
    let ready = server.ready(&dialer.said);
    let arrived = to_ready.apply(&ready);
    dialer.hear(&[&arrived, to_ready.behind].concat());

    assert!(dialer.said.len() <= SAID_MAX, "{}", dialer.said.len());
    // Who does not have the key of the server is not told who we are.
    assert!(!welcomed || whole && server.own == SERVER, "INITIATE went to a stranger");
    let right = whole
        && to_welcome.behind.is_empty()
        && arrived == ready
        && server.own == SERVER
        && server.welcome_short == public(server.short);
    match (dialer.result, metadata(&server).filter(|_| right)) {
        (Ok(Some(peer)), Some(Metadata { socket_type, identity })) => {
            assert_eq!((peer.socket_type, peer.identity), (socket_type, identity));
            assert_eq!(peer.proven, Some(Principal::Key(public(SERVER))));
            let channel = peer.channel.expect("CURVE leaves one");
            assert_eq!((channel.sent, channel.received), (2, server.ready_number));
            assert_eq!(dialer.left, to_ready.behind.len());
        }
        (Ok(Some(peer)), None) => panic!("{peer:?} has proven nothing"),
        (other, Some(_)) => panic!("{other:?} came of a good handshake"),
        (_, None) => {}
    }
}

/// Metadata that a DEALER can use.
fn metadata(server: &Server) -> Option<Metadata> {
    use SocketType::{Dealer, Rep, Router};
    let metadata = Metadata::decode(&server.metadata).ok()?;
    let fits = [Rep, Dealer, Router].contains(&metadata.socket_type);
    (fits && server.metadata.len() <= 512).then_some(metadata)
}

/// A good server, and what it does wrong.
fn server(choices: &mut Choices<'_>) -> Server {
    let mut server = Server::new(SERVER);
    for _ in 0..choices.octet() % 8 {
        match choices.octet() % 6 {
            0 => server.own = choices.octet(),
            1 => server.short = choices.octet(),
            2 => {
                let octet = choices.octet();
                let low_order = low_order_keys();
                let low_order = low_order.get(usize::from(octet));
                server.welcome_short = low_order.map_or_else(|| public(octet), |(_, key)| *key);
            }
            3 => server.ready_number = number(choices),
            4 => {
                // Another connection, in which everything is as it should be.
                server.short = choices.octet();
                server.welcome_short = public(server.short);
            }
            _ => {
                let len = usize::from(choices.octet()) * 3;
                server.metadata = choices.octets(len).to_vec();
            }
        }
    }
    server
}
