//! The commands of PLAIN and CURVE.

use std::sync::Arc;

use majordomo::proto::curve::{KeyPair, SecretKey};
use majordomo::proto::handshake::{
    Authority, Claim, CurveClient, CurveServer, Fresh, Handshake, Local, Role, Security, Verdict,
};
use majordomo::wire::Limits;
use majordomo::wire::command::{self, CommandReader, SocketType};
use majordomo::wire::curve::{Hello, Initiate, Ready, Welcome};
use majordomo::wire::plain;

use super::{Example, SPEC, examples, quoted};

/// What a command says, as far as it can be seen from outside; and the octets that are written.
pub(super) fn command(octets: &[u8]) -> (String, Option<Vec<u8>>) {
    let mut input = octets;
    let body = CommandReader::new(1024).read(&mut input).expect("a command").expect("a whole one");
    assert!(input.is_empty(), "octets are left behind the command");
    let (name, data) = command::split(&body).expect("a name");
    let mut data = data.to_vec();
    let mut written = Vec::new();
    let says = match name {
        b"HELLO" if data.len() == 194 => {
            let hello = Hello::decode(&data).expect("HELLO");
            hello.encode(&mut written);
            format!("CURVE HELLO, number {}", hello.number)
        }
        b"HELLO" => {
            let hello = plain::Hello::decode(&data).expect("HELLO");
            hello.encode(&mut written);
            let (user, password) = (quoted(hello.user), quoted(hello.password));
            format!("PLAIN HELLO, user {user}, password {password}")
        }
        b"WELCOME" if data.is_empty() => {
            plain::encode_welcome(&mut written);
            "PLAIN WELCOME".into()
        }
        b"WELCOME" => {
            Welcome::decode(&data).expect("WELCOME").encode(&mut written);
            "CURVE WELCOME".into()
        }
        b"INITIATE" => {
            let Initiate { cookie, number, tag, boxed } =
                Initiate::decode(&mut data).expect("INITIATE");
            Initiate::encode(cookie, number, tag, boxed, &mut written);
            let metadata = boxed.len() - Initiate::TEXT_LEN_MIN;
            format!("CURVE INITIATE, number {number}, metadata of {metadata} octets")
        }
        b"READY" => {
            let Ready { number, tag, boxed } = Ready::decode(&mut data).expect("READY");
            Ready::encode(number, tag, boxed, &mut written);
            format!("CURVE READY, number {number}, metadata of {} octets", boxed.len())
        }
        other => panic!("{} is no command of PLAIN or CURVE", other.escape_ascii()),
    };
    (says, Some(written))
}

#[derive(Debug)]
struct Everybody;

impl Authority for Everybody {
    fn judge(&self, _: &Claim<'_>) -> Verdict {
        Verdict::Admit
    }
}

fn pair(octet: u8) -> Arc<KeyPair> {
    Arc::new(KeyPair::new(SecretKey::new([octet; 32])))
}

fn fresh(short_term: u8) -> Box<Fresh> {
    let (cookie_key, welcome_nonce) = ([0x55; 32], [0x66; 16]);
    let (cookie_nonce, vouch_nonce) = ([0x77; 16], [0x88; 16]);
    let mut fresh = Fresh::filled(|_| Ok::<_, ()>(())).unwrap();
    fresh.short_term = [short_term; 32];
    (fresh.cookie_key, fresh.welcome_nonce) = (cookie_key, welcome_nonce);
    (fresh.cookie_nonce, fresh.vouch_nonce) = (cookie_nonce, vouch_nonce);
    fresh
}

#[test]
fn with_the_keys_of_spec_md_our_two_sides_say_what_it_says() {
    let is_curve = |example: &Example| example.says.starts_with("CURVE");
    let said: Vec<_> = examples(SPEC).into_iter().filter(is_curve).collect();
    let [hello, welcome, initiate, ready] = &said[..] else { panic!("{} commands", said.len()) };
    let limits = Limits::default();
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    let security = Security::CurveServer(CurveServer {
        present: pair(0x11),
        old: None,
        fresh: fresh(0x44),
        authority: Arc::new(Everybody),
    });
    let local = Local { role: Role::Accept, security, limits };
    let mut server = Handshake::new(local, &mut to_client);
    let security = Security::CurveClient(CurveClient {
        server: pair(0x11).public(),
        own: pair(0x22),
        fresh: fresh(0x33),
    });
    let role = Role::Dial { socket_type: SocketType::Dealer, identity: None };
    let mut client = Handshake::new(Local { role, security, limits }, &mut to_server);
    for (from_server, from_client) in [(None, Some(hello)), (Some(welcome), Some(initiate))] {
        let heard = std::mem::take(&mut to_client);
        let expected = from_server.map(|example| &example.octets);
        assert!(expected.is_none_or(|octets| *octets == heard));
        client.read(&mut &heard[..], &mut to_server).unwrap();
        let mut heard = std::mem::take(&mut to_server);
        let commands = heard.split_off(if from_server.is_none() { 64 } else { 0 });
        assert_eq!(Some(&commands), from_client.map(|example| &example.octets));
        heard.extend(commands);
        server.read(&mut &heard[..], &mut to_client).unwrap();
    }
    assert_eq!(to_client, ready.octets);
}
