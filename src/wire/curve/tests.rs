use super::*;
use crate::id::PublicKey;
use crate::wire::frame::Header;

const TAG: [u8; 16] = [0xaa; 16];

/// What stands behind the name of the one command in `out`.
fn data(out: &[u8]) -> Vec<u8> {
    let header = Header::decode(out).unwrap().unwrap();
    assert_eq!(out.len(), header.len + usize::try_from(header.size).unwrap());
    assert!(header.command && !header.more);
    let body = &out[header.len..];
    body[1 + usize::from(body[0])..].to_vec()
}

#[test]
fn fields_stand_where_rfc_26_puts_them() {
    let mut out = Vec::new();
    let hello = Hello { short_term: PublicKey([1; 32]), number: 2, tag: &TAG, boxed: &[3; 64] };
    hello.encode(&mut out);
    let body = &out[2..];
    assert_eq!((out[0], body.len()), (4, 200));
    assert_eq!(body[..8], *b"\x05HELLO\x01\0");
    assert_eq!(body[8..80], [0; 72]);
    assert_eq!((&body[80..112], &body[112..120]), (&[1; 32][..], &2_u64.to_be_bytes()[..]));
    assert_eq!((&body[120..136], &body[136..]), (&TAG[..], &[3; 64][..]));
    assert_eq!(Hello::decode(&body[6..]), Ok(hello));

    out.clear();
    let cookie = PairBox { nonce: &[5; 16], tag: &TAG, boxed: &[6; 64] }.octets();
    assert_eq!(cookie, [&[5; 16][..], &TAG, &[6; 64]].concat()[..]);
    let text = Welcome::text(&PublicKey([7; 32]), &cookie);
    let welcome = Welcome { nonce: &[8; 16], tag: &TAG, boxed: &text };
    welcome.encode(&mut out);
    let body = &out[2..];
    assert_eq!((out[0], body.len()), (4, 168));
    assert_eq!((&body[..8], &body[8..24]), (&b"\x07WELCOME"[..], &[8; 16][..]));
    assert_eq!((&body[24..40], &body[40..72]), (&TAG[..], &[7; 32][..]));
    assert_eq!(body[72..], cookie);
    assert_eq!(Welcome::decode(&body[8..]), Ok(welcome));
    assert_eq!(Welcome::read_text(&text), Some((PublicKey([7; 32]), &cookie)));

    out.clear();
    let text = pair(&[1; 32], &[9; 32]);
    assert_eq!(pair_halves(&text), [&[1; 32], &[9; 32]]);
    let parts = PairBox { nonce: &[10; 16], tag: &TAG, boxed: &text };
    let vouch = parts.octets();
    assert_eq!(PairBox::read(&vouch), Some(parts));
    let text = Initiate::text(&PublicKey([11; 32]), &vouch, b"metadata");
    Initiate::encode(&cookie, 12, &TAG, &text, &mut out);
    let body = &out[9..];
    assert_eq!((out[0], body.len()), (6, 257 + 8));
    assert_eq!((&body[..9], &body[9..105]), (&b"\x08INITIATE"[..], &cookie[..]));
    assert_eq!((&body[105..113], &body[113..129]), (&12_u64.to_be_bytes()[..], &TAG[..]));
    assert_eq!(body[129..], text);
    let read = Initiate::read_text(&text).unwrap();
    assert_eq!(read.key, PublicKey([11; 32]));
    assert_eq!((read.vouch, read.metadata), (&vouch, &b"metadata"[..]));

    out.clear();
    Ready::encode(13, &TAG, b"metadata", &mut out);
    assert_eq!(out[..8], *b"\x04\x26\x05READY");
    assert_eq!(out[8..16], 13_u64.to_be_bytes());
    assert_eq!(out[16..], [&TAG[..], b"metadata"].concat());
}

#[test]
fn a_command_of_another_length_is_refused() {
    let mut out = Vec::new();
    Hello { short_term: PublicKey([1; 32]), number: 2, tag: &TAG, boxed: &[3; 64] }
        .encode(&mut out);
    Welcome { nonce: &[8; 16], tag: &TAG, boxed: &[0; 128] }.encode(&mut out);
    let (hello, welcome) = out.split_at(202);
    let (hello, welcome) = (data(hello), data(welcome));
    for len in (0..220).filter(|len| *len != 194) {
        let octets = [&hello[..], &[0; 30]].concat();
        let error = LayoutError::Length { command: "HELLO", len: len + 6, expected: 200 };
        assert_eq!(Hello::decode(&octets[..len]), Err(error));
    }
    for len in (0..180).filter(|len| *len != 160) {
        let octets = [&welcome[..], &[0; 30]].concat();
        let error = LayoutError::Length { command: "WELCOME", len: len + 8, expected: 168 };
        assert_eq!(Welcome::decode(&octets[..len]), Err(error));
    }
    for len in 0..260 {
        let mut octets = vec![0; len];
        let error = LayoutError::Short { command: "INITIATE", len: len + 9, least: 257 };
        let read = Initiate::decode(&mut octets).map(|read| read.boxed.len());
        assert_eq!(read, if len < 248 { Err(error) } else { Ok(len - 120) });
        assert_eq!(Initiate::read_text(&octets).is_some(), len >= 128);
        let error = LayoutError::Short { command: "READY", len: len + 6, least: 30 };
        let read = Ready::decode(&mut octets).map(|read| read.boxed.len());
        assert_eq!(read, if len < 24 { Err(error) } else { Ok(len - 24) });
    }
}

#[test]
fn only_version_1_0_is_spoken_and_padding_is_not_looked_at() {
    let mut out = Vec::new();
    Hello { short_term: PublicKey([1; 32]), number: 2, tag: &TAG, boxed: &[3; 64] }
        .encode(&mut out);
    let whole = data(&out);
    for (major, minor) in [(0, 0), (0, 1), (1, 1), (2, 0), (255, 255)] {
        let mut hello = whole.clone();
        hello[..2].copy_from_slice(&[major, minor]);
        assert_eq!(Hello::decode(&hello), Err(LayoutError::Version { major, minor }));
    }
    let mut padded = whole.clone();
    padded[2..74].fill(0xff);
    assert_eq!(Hello::decode(&padded), Hello::decode(&whole));
}
