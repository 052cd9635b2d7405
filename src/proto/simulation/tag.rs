//! What bodies carry, so that everybody can see whose they are and whether they are whole.

/// The first frame of every body: who asked, which question it is, and where it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag {
    pub(super) client: u32,
    pub(super) number: u32,
    /// The connection it was asked on.
    pub(super) conn: u32,
    /// Whoever takes it crashes.
    pub(super) poison: bool,
}

impl Tag {
    const LEN: usize = 13;

    pub(super) fn encode(self) -> Vec<u8> {
        let numbers = [self.client, self.number, self.conn];
        let mut octets: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
        octets.push(u8::from(self.poison));
        octets
    }

    pub(super) fn decode(frame: &[u8]) -> Option<Self> {
        if frame.first() == Some(&b'{') {
            return Self::decode_json(frame);
        }
        let number = |at: usize| Some(u32::from_be_bytes(*frame.get(at..)?.first_chunk()?));
        let poison = *frame.get(Self::LEN - 1)? == 1;
        Some(Self { client: number(0)?, number: number(4)?, conn: number(8)?, poison })
    }

    /// As a job, which every dialect can say to every other one.
    pub(super) fn to_job(self, timeout: Option<u64>) -> Vec<u8> {
        let tag: String = self.encode().iter().map(|octet| format!("{octet:02x}")).collect();
        let timeout = timeout.map(|seconds| format!(r#","timeout":{seconds}"#));
        format!(r#"{{"task":"tell","tag":"{tag}"{}}}"#, timeout.unwrap_or_default()).into_bytes()
    }

    fn decode_json(frame: &[u8]) -> Option<Self> {
        const KEY: &[u8] = br#""tag":""#;
        let at = frame.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
        let digits = std::str::from_utf8(frame.get(at..at + 2 * Self::LEN)?).ok()?;
        let octet = |at| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok();
        let octets: Option<Vec<u8>> = (0..Self::LEN).map(octet).collect();
        Self::decode(&octets?)
    }
}

/// A frame of an answer: the tag, and what part of the answer this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) tag: Tag,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The part of that number.
    Part(u8),
    /// The end, after so many parts.
    End(u8),
    /// Said by somebody who need not hold the request and cares for no order.
    Babble,
}

impl Piece {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut octets = self.tag.encode();
        octets.extend(match self.kind {
            Kind::Part(index) => [b'p', index],
            Kind::End(parts) => [b'e', parts],
            Kind::Babble => [b'b', 0],
        });
        octets
    }

    pub(super) fn decode(frame: &[u8]) -> Option<Self> {
        let (tag, rest) = frame.split_at_checked(Tag::LEN)?;
        let kind = match *rest {
            [b'p', index] => Kind::Part(index),
            [b'e', parts] => Kind::End(parts),
            [b'b', 0] => Kind::Babble,
            _ => return None,
        };
        Some(Self { tag: Tag::decode(tag)?, kind })
    }
}
