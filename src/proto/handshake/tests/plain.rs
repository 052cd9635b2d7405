//! PLAIN between our two sides. What strangers do is in `fuzzing::handshakes`.

use std::sync::Arc;

use super::*;
use crate::id::{Principal, UserName};

/// Knows one user.
#[derive(Debug)]
pub(super) struct OneUser(Verdict);

impl Authority for OneUser {
    fn judge(&self, claim: &Claim<'_>) -> Verdict {
        match claim {
            Claim::Password { user, password }
                if user.as_bytes() == b"worker" && same_secret(password, b"canary") =>
            {
                self.0
            }
            _ => Verdict::Refuse,
        }
    }
}

fn server(verdict: Verdict) -> Local {
    let security = Security::PlainServer(PlainServer { authority: Arc::new(OneUser(verdict)) });
    Local { role: Role::Accept, security, limits: Limits::default() }
}

fn client(password: &[u8]) -> Local {
    let user = UserName::try_from(&b"worker"[..]).unwrap();
    let password = Password::try_from(password).unwrap();
    let security = Security::PlainClient(PlainClient { user, password });
    let identity = Identity::try_from(&b"ours"[..]).ok();
    let role = Role::Dial { socket_type: SocketType::Dealer, identity };
    Local { role, security, limits: Limits::default() }
}

#[test]
fn our_two_sides_understand_each_other_and_the_server_knows_the_user() {
    let Met { at_server, at_client, to_server, to_client } =
        meet(server(Verdict::Admit), client(b"canary"));
    let user = Principal::User(UserName::try_from(&b"worker"[..]).unwrap());
    let expected = peer(SocketType::Dealer, SocketType::Router, b"ours", 1);
    assert_eq!(at_server, Ok(Some(Peer { proven: Some(user), ..expected })));
    assert_eq!(at_client, Ok(Some(peer(SocketType::Router, SocketType::Dealer, b"", 1))));
    // Golden: RFC 24.
    assert_eq!(to_server[12..33], *b"PLAIN\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(to_client[12..33], *b"PLAIN\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01");
    let initiate = b"\x04\x30\x08INITIATE\
        \x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\x04ours";
    assert_eq!(to_server[64..], [&b"\x04\x14\x05HELLO\x06worker\x06canary"[..], initiate].concat());
    assert_eq!(to_client[64..], [&b"\x04\x08\x07WELCOME"[..], LIBZMQ_ROUTER_READY].concat());
}

#[test]
fn who_is_not_admitted_hears_error_if_it_is_for_good_and_nothing_if_it_may_come_again() {
    let who = Principal::User(UserName::try_from(&b"worker"[..]).unwrap());
    let refusal = b"\x04\x0a\x05ERROR\x03400";
    for (verdict, password) in [(Verdict::Refuse, "canary"), (Verdict::Admit, "wrong")] {
        let met = meet(server(verdict), client(password.as_bytes()));
        assert_eq!(met.at_server, Err(HandshakeError::NotAdmitted { who }));
        assert_eq!(met.to_client[64..], refusal[..]);
        assert_eq!(met.at_client, Err(HandshakeError::Refused { reason: "400".into() }));
    }
    let met = meet(server(Verdict::Later), client(b"canary"));
    assert_eq!(met.at_server, Err(HandshakeError::NotYet { who }));
    assert_eq!((met.to_client.len(), met.at_client), (64, Ok(None)));
}

#[test]
fn every_cut_waits_and_every_dribble_is_understood() {
    let met = meet(server(Verdict::Admit), client(b"canary"));
    every_cut_waits(|| server(Verdict::Admit), &met.to_server, &met.at_server);
    every_cut_waits(|| client(b"canary"), &met.to_client, &met.at_client);
}

#[test]
fn no_password_is_ever_shown() {
    let long = Password::try_from(&[0; 256][..]);
    assert!(matches!(long, Err(crate::id::NameError::TooLong { len: 256, max: 255 })));
    let local = client(b"canary");
    assert!(!format!("{local:?}").contains("canary"));
    let met = meet(server(Verdict::Admit), local);
    let mut out = Vec::new();
    let mut handshake = Handshake::new(server(Verdict::Admit), &mut out);
    for octet in &met.to_server {
        let shown = format!("{handshake:?}");
        // As text, and as a list of its octets.
        assert!(!shown.contains("canary") && !shown.contains("99, 97, 110"), "{shown}");
        let _ = handshake.read(&mut &[*octet][..], &mut out);
    }
}
