//! A ZMTP 3.1 peer of few words, on a blocking socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

pub(crate) struct Peer {
    stream: TcpStream,
}

impl Peer {
    /// Connects to a broker and shakes hands as a DEALER.
    pub(crate) fn dealer(broker: SocketAddr) -> Self {
        Self::named(broker, b"")
    }

    /// The same, with an identity.
    pub(crate) fn named(broker: SocketAddr, identity: &[u8]) -> Self {
        let mut peer = Self { stream: connect(broker) };
        let mut greeting = [0; 64];
        greeting[0] = 0xff;
        greeting[9..12].copy_from_slice(&[0x7f, 3, 1]);
        greeting[12..16].copy_from_slice(b"NULL");
        peer.write(&greeting);
        peer.read(64);
        let mut ready = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER".to_vec();
        ready.extend_from_slice(b"\x08Identity\x00\x00\x00");
        ready.push(u8::try_from(identity.len()).unwrap());
        ready.extend_from_slice(identity);
        peer.write(&[4, u8::try_from(ready.len()).unwrap()]);
        peer.write(&ready);
        let header = peer.read(2);
        peer.read(usize::from(header[1]));
        peer
    }

    /// A worker of MDP/0.2 that has said READY.
    pub(crate) fn worker(broker: SocketAddr, service: &[u8]) -> Self {
        let mut peer = Self::dealer(broker);
        peer.send(&[b"MDPW02", b"\x01", service]);
        peer
    }

    pub(crate) fn request(&mut self, service: &[u8]) {
        self.send(&[b"MDPC02", b"\x01", service, b"body"]);
    }

    /// Takes one request, as a worker, and answers it.
    pub(crate) fn serve(&mut self) {
        let request = self.receive();
        assert_eq!(request[1], b"\x02", "{request:?}");
        self.send(&[b"MDPW02", b"\x04", &request[2], b"", b"answer"]);
    }

    pub(crate) fn send(&mut self, frames: &[&[u8]]) {
        let mut octets = Vec::new();
        for (index, frame) in frames.iter().enumerate() {
            let more = u8::from(index + 1 < frames.len());
            match u8::try_from(frame.len()) {
                Ok(len) => octets.extend_from_slice(&[more, len]),
                Err(_) => {
                    octets.push(more | LONG);
                    octets.extend_from_slice(&(frame.len() as u64).to_be_bytes());
                }
            }
            octets.extend_from_slice(frame);
        }
        self.write(&octets);
    }

    pub(crate) fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        loop {
            let flags = self.read(1)[0];
            let len = self.read(if flags & LONG == 0 { 1 } else { 8 });
            let len = len.iter().fold(0, |len, octet| len << 8 | usize::from(*octet));
            let body = self.read(len);
            if flags & COMMAND != 0 {
                continue;
            }
            frames.push(body);
            if flags & MORE == 0 {
                return frames;
            }
        }
    }

    pub(crate) fn write(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).unwrap();
    }

    fn read(&mut self, count: usize) -> Vec<u8> {
        let mut octets = vec![0; count];
        self.stream.read_exact(&mut octets).unwrap();
        octets
    }
}

pub(crate) fn connect(broker: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(broker).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}
