//! Bodies of several frames on a pipe.

use clap::ValueEnum;
use majordomo::wire::message::{Frames, Message};

/// How the frames of a body stand on the command's input and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Framing {
    /// One after the other, a line end between them; the reply is one frame
    Lines,
    /// Each as `LENGTH:OCTETS,`, there and back
    Netstrings,
}

impl Framing {
    /// What the command reads.
    pub(super) fn write(self, frames: Frames<'_>) -> Vec<u8> {
        let mut input = Vec::with_capacity(frames.bytes());
        for (number, frame) in frames.enumerate() {
            match self {
                Self::Lines => {
                    if number > 0 {
                        input.push(b'\n');
                    }
                    input.extend_from_slice(frame);
                }
                Self::Netstrings => {
                    input.extend_from_slice(format!("{}:", frame.len()).as_bytes());
                    input.extend_from_slice(frame);
                    input.push(b',');
                }
            }
        }
        input
    }

    /// What the command wrote, as a body.
    pub(super) fn read(self, output: Vec<u8>) -> Result<Message, String> {
        match self {
            Self::Lines => Ok(output.into()),
            Self::Netstrings => {
                let (mut frames, mut rest) = (Vec::new(), output.as_slice());
                while !rest.is_empty() {
                    let Some((frame, after)) = netstring(rest) else {
                        let at = output.len() - rest.len();
                        return Err(format!("its output is no netstring at octet {at}"));
                    };
                    frames.push(frame.to_vec());
                    rest = after;
                }
                Ok(Message::new(frames))
            }
        }
    }
}

/// The first one, and what is behind it. White space between two of them is the shell's habit.
fn netstring(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = octets.iter().take(10).position(|octet| *octet == b':')?;
    let (length, rest) = octets.split_at_checked(colon)?;
    let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
    let (frame, rest) = rest.get(1..)?.split_at_checked(length)?;
    let rest = rest.strip_prefix(b",")?;
    Some((frame, rest.trim_ascii_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netstrings_come_back_as_the_frames_they_were() {
        let message = Message::new([&b"hello"[..], b"", b"1:x,", b"\0\n"].map(<[u8]>::to_vec));
        let input = Framing::Netstrings.write(message.frames());
        assert_eq!(input, b"5:hello,0:,4:1:x,,2:\0\n,");
        assert_eq!(Framing::Netstrings.read(input), Ok(message));
        let spaced = Framing::Netstrings.read(b"1:a,\n1:b,\n".to_vec());
        assert_eq!(spaced, Ok(Message::new(["a", "b"])));
    }

    #[test]
    fn what_is_no_netstring_is_refused_with_its_place() {
        for (output, at) in [
            (&b"hello"[..], 0),
            (b"5:hell,", 0),
            (b"1:a", 0),
            (b"1:a,x", 4),
            (b":,", 0),
            (b"-1:a,", 0),
            (b"99999999999999999999:a,", 0),
        ] {
            let error = format!("its output is no netstring at octet {at}");
            assert_eq!(Framing::Netstrings.read(output.to_vec()), Err(error));
        }
    }

    #[test]
    fn lines_have_an_end_between_them_and_none_behind() {
        let message = Message::new(["a", "b"]);
        assert_eq!(Framing::Lines.write(message.frames()), b"a\nb");
        assert_eq!(Framing::Lines.write(Message::new(["a\n"]).frames()), b"a\n");
    }
}
