//! A connection before its first message: blocking, and with CURVE if the server wants that.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use majordomo::id::PublicKey;
use majordomo::proto::curve::{KeyPair, Opener, Sealer, SecretKey};
use majordomo::proto::handshake::{CurveClient, Fresh, Handshake, Local, Role, Security};
use majordomo::wire::Limits;
use majordomo::wire::command::SocketType;
use majordomo::wire::frame::{Header, LONG};

/// A connection before its first message.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    /// The key of the server, if it speaks CURVE.
    server: Option<PublicKey>,
    channel: Option<(Sealer, Opener)>,
}

impl Line {
    pub(super) fn open(addr: SocketAddr, server: Option<PublicKey>) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, server, channel: None })
    }

    /// The stream, to one who speaks no ZMTP.
    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(super) fn into_parts(self) -> (TcpStream, Option<(Sealer, Opener)>) {
        (self.stream, self.channel)
    }

    /// Shakes hands by CURVE; false if the server speaks NULL, and nothing was done.
    pub(super) fn shake_by_curve(&mut self) -> io::Result<bool> {
        let Some(server) = self.server else { return Ok(false) };
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        let own = Arc::new(KeyPair::new(SecretKey::new(secret)));
        let fresh = Fresh::filled(getrandom::fill)?;
        let local = Local {
            role: Role::Dial { socket_type: SocketType::Dealer, identity: None },
            security: Security::CurveClient(CurveClient { server, own, fresh }),
            limits: Limits::default(),
        };
        let mut out = Vec::new();
        let mut handshake = Handshake::new(local, &mut out);
        loop {
            self.stream.write_all(&out)?;
            out.clear();
            // An octet at a time: nothing that follows is taken.
            let mut octet = [0];
            self.stream.read_exact(&mut octet)?;
            let peer = handshake.read(&mut &octet[..], &mut out).expect("a CURVE server");
            if let Some(peer) = peer {
                self.channel = peer.channel.map(|channel| channel.split());
                return Ok(true);
            }
        }
    }

    /// Writes frames.
    pub(super) fn write_frames(&mut self, frames: &[u8]) -> io::Result<()> {
        match &mut self.channel {
            None => self.stream.write_all(frames),
            Some((sealer, _)) => {
                let mut sealed = Vec::new();
                seal(sealer, frames, &mut sealed);
                self.stream.write_all(&sealed)
            }
        }
    }
}

/// Puts whole frames into boxes.
pub(crate) fn seal(sealer: &mut Sealer, mut frames: &[u8], out: &mut Vec<u8>) {
    while let Some(header) = Header::decode(frames).expect("frames of ours") {
        let size = usize::try_from(header.size).expect("64 bits");
        let (body, rest) = frames[header.len..].split_at(size);
        sealer.seal(frames[0] & !LONG, body, out);
        frames = rest;
    }
}

/// Opens the whole boxes at the front of `octets`; returns what is left of it.
pub(crate) fn unseal<'a>(
    opener: &mut Opener,
    mut octets: &'a [u8],
    plain: &mut Vec<u8>,
) -> &'a [u8] {
    while let Some(header) = Header::decode(octets).expect("frames") {
        let size = usize::try_from(header.size).expect("64 bits");
        let Some((body, rest)) = octets[header.len..].split_at_checked(size) else { break };
        opener.open(body, plain).expect("a box of the server");
        octets = rest;
    }
    octets
}
