use super::*;
use crate::wire::frame::{COMMAND, MORE};

/// The vectors of RFC 26 with keys of repeated octets, made with libsodium.
fn secret(octet: u8) -> SecretKey {
    SecretKey::new([octet; 32])
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The channel of the vectors, on the side of whoever is asked for.
fn channel(side: Side, sent: u64, received: u64) -> Channel {
    let theirs = Dryoc::public_key(&secret(0x33));
    let key = Dryoc::agree(&theirs, &secret(0x44)).unwrap();
    Channel { side, key, sent, received }
}

#[test]
fn keys_are_those_of_the_vectors() {
    let public = |octet| hex(&Dryoc::public_key(&secret(octet)).0);
    assert_eq!(public(0x11), "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13");
    assert_eq!(public(0x44), "ff2ee45601ec1b67310c7790404585ae697331eee1c1f8cf2419731c1fff3e6b");
    assert_eq!(
        hex(channel(Side::Server, 1, 2).key.as_bytes()),
        "c512924888c2212f68dd352e9c1e6ac75632b3ceef30b26fa3cdecbf041e2107"
    );
}

#[test]
fn messages_are_those_of_the_vectors() {
    let (mut client, mut from_server) = channel(Side::Client, 2, 1).split();
    let (mut server, mut from_client) = channel(Side::Server, 1, 2).split();
    let mut out = Vec::new();
    client.seal(0, b"hello", &mut out);
    client.seal(COMMAND, b"\x04PING\0\0", &mut out);
    let (hello, ping) = out.split_at(2 + 38);
    assert_eq!(hello[..2], [0, 38]);
    assert_eq!(
        hex(&hello[2..]),
        hex(b"\x07MESSAGE") + "0000000000000003fccae2cba1476371fadb58907067ac5dd8be0946b820"
    );
    assert_eq!(
        hex(&ping[2..]),
        hex(b"\x07MESSAGE") + "0000000000000004270b162b2162ccff1e1825ea210f8f15fa6368c3ca6e10ef"
    );
    let mut plain = Vec::new();
    from_client.open(&hello[2..], &mut plain).unwrap();
    from_client.open(&ping[2..], &mut plain).unwrap();
    assert_eq!(plain, b"\0\x05hello\x04\x07\x04PING\0\0");

    let (mut out, mut plain) = (Vec::new(), Vec::new());
    server.seal(MORE, b"world", &mut out);
    assert_eq!(
        hex(&out[2..]),
        hex(b"\x07MESSAGE") + "0000000000000002177e3f876c93d52cb6093c1a351dacff9e9f9a97b4af"
    );
    from_server.open(&out[2..], &mut plain).unwrap();
    assert_eq!(plain, b"\x01\x05world");
}

#[test]
fn frames_of_all_sizes_come_back() {
    let (mut sealer, _) = channel(Side::Client, 2, 1).split();
    let (_, mut opener) = channel(Side::Server, 1, 2).split();
    for size in [0, 1, 254, 255, 256, 4096, 70_000] {
        let (mut out, mut plain) = (Vec::new(), b"before".to_vec());
        sealer.seal(0, &vec![7; size], &mut out);
        let header = crate::wire::frame::Header::decode(&out).unwrap().unwrap();
        opener.open(&out[header.len..], &mut plain).unwrap();
        let mut expected = b"before".to_vec();
        crate::wire::frame::Header::encode(0, size, &mut expected);
        expected.resize(expected.len() + size, 7);
        assert!(plain == expected, "{size}");
    }
}

#[test]
fn what_is_no_next_box_is_refused_and_leaves_nothing() {
    let (mut sealer, _) = channel(Side::Client, 2, 1).split();
    let (_, mut opener) = channel(Side::Server, 1, 2).split();
    let mut out = Vec::new();
    sealer.seal(0, b"hello", &mut out);
    let message = &out[2..];
    let mut plain = Vec::new();
    for at in 0..message.len() {
        let mut changed = message.to_vec();
        changed[at] ^= 1;
        assert!(opener.open(&changed, &mut plain).is_err(), "octet {at}");
        assert!(opener.open(&message[..at], &mut plain).is_err(), "{at} octets");
    }
    assert!(plain.is_empty());
    opener.open(message, &mut plain).unwrap();
    let again = opener.open(message, &mut plain);
    assert_eq!(again, Err(ChannelError::Replayed { nonce: 3, last: 3 }));
    // Flags that no frame has, in a box that opens.
    for flags in [0x03, 0x04, 0x80] {
        let key = channel(Side::Client, 0, 0).key;
        let nonce = *b"CurveZMQMESSAGEC\0\0\0\0\0\0\0\x09";
        let mut text = [flags];
        let tag = Dryoc::seal(&key, &nonce, &mut text);
        let message = [&b"\x07MESSAGE\0\0\0\0\0\0\0\x09"[..], &tag, &text].concat();
        assert_eq!(opener.open(&message, &mut plain), Err(ChannelError::Flags { flags }));
    }
}

#[test]
fn keys_of_low_order_make_no_box() {
    let mut one = [0; 32];
    one[0] = 1;
    for low in [[0; 32], one] {
        assert_eq!(Dryoc::agree(&crate::id::PublicKey(low), &secret(0x44)), None);
    }
}

/// Another library gives the same boxes.
#[test]
fn boxes_are_those_of_another_library() {
    use crypto_box::aead::AeadInPlace;
    let rounds = std::env::var("MAJORDOMO_BOXES").map_or(20_000, |text| text.parse().unwrap());
    let mut state = blake3::Hasher::new_keyed(&[9; 32]).finalize_xof();
    let mut key = [0; 32];
    let (mut ours, mut theirs, mut shared) = (secret(1), secret(2), None);
    for round in 0..rounds {
        if round % 64 == 0 {
            state.fill(&mut key);
            ours = SecretKey::new(key);
            state.fill(&mut key);
            theirs = SecretKey::new(key);
            shared = None;
        }
        let (key, oracle) = shared.get_or_insert_with(|| {
            let public = Dryoc::public_key(&theirs);
            let oracle = crypto_box::SalsaBox::new(
                &crypto_box::PublicKey::from(public.0),
                &crypto_box::SecretKey::from(*ours.as_bytes()),
            );
            (Dryoc::agree(&public, &ours).unwrap(), oracle)
        });
        let mut nonce = [0; 24];
        state.fill(&mut nonce);
        let mut len = [0; 2];
        state.fill(&mut len);
        let mut text = vec![0; usize::from(u16::from_be_bytes(len) % 300)];
        state.fill(&mut text);
        let mut expected = text.clone();
        let tag = oracle.encrypt_in_place_detached((&nonce).into(), b"", &mut expected).unwrap();
        let plain = text.clone();
        assert_eq!(Dryoc::seal(key, &nonce, &mut text)[..], tag[..], "round {round}");
        assert_eq!(text, expected, "round {round}");
        let tag = tag[..].try_into().unwrap();
        assert!(Dryoc::open(key, &nonce, tag, &mut text) && text == plain, "round {round}");
    }
}
