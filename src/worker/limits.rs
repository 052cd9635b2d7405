//! How much an answer may be. A broker ends the connection of who says more than it takes, and
//! gives the request to the next worker, which would do the same.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::proto::serve::words::{Failure, Taken};
use crate::wire::Limits;
use crate::wire::message::Message;
use crate::wire::mjp::{Code, HEADER_MAX};

/// What the broker takes: as it says (MJP), or else as much as the worker takes itself.
#[derive(Debug)]
pub(super) struct AnswerLimits {
    frame: AtomicUsize,
    message: AtomicUsize,
    frames: AtomicUsize,
    header: AtomicUsize,
    talk: AtomicBool,
}

impl AnswerLimits {
    /// Frames and octets that a protocol puts before a body.
    const HEADER_FRAMES: usize = 8;
    const HEADER_BYTES: usize = 1 << 10;

    pub(super) fn new(limits: Limits) -> Self {
        Self {
            frame: limits.frame_bytes_max.into(),
            message: limits.message_bytes_max.into(),
            frames: limits.message_frames_max.into(),
            header: HEADER_MAX.into(),
            talk: true.into(),
        }
    }

    pub(super) fn set(&self, taken: Taken) {
        self.talk.store(taken.talk.unwrap_or(true), Ordering::Relaxed);
        for (limit, taken) in [
            (&self.frame, taken.frame),
            (&self.message, taken.message),
            (&self.frames, taken.frames),
            (&self.header, taken.header),
        ] {
            if let Some(taken) = taken {
                limit.store(usize::try_from(taken).unwrap_or(usize::MAX), Ordering::Relaxed);
            }
        }
    }

    /// Whether the broker has events and questions.
    pub(super) fn takes_talk(&self) -> bool {
        self.talk.load(Ordering::Relaxed)
    }

    /// Whether the broker takes a header of so many octets.
    pub(super) fn check_header(&self, size: usize) -> Result<(), TooBig> {
        let max = self.header.load(Ordering::Relaxed);
        let what = "a header of octets";
        if size > max { Err(TooBig { what, size, max }) } else { Ok(()) }
    }

    /// Whether the broker takes an answer, or what is too much about it.
    pub(super) fn check(&self, body: &Message) -> Result<(), TooBig> {
        let (mut frames, mut largest, mut octets) = (0, 0, 0_usize);
        for frame in body.frames() {
            frames += 1;
            largest = largest.max(frame.len());
            octets = octets.saturating_add(frame.len());
        }
        for (what, size, limit, spare) in [
            ("a frame of octets", largest, &self.frame, 0),
            ("octets", octets, &self.message, Self::HEADER_BYTES),
            ("frames", frames, &self.frames, Self::HEADER_FRAMES),
        ] {
            let max = limit.load(Ordering::Relaxed).saturating_sub(spare);
            if size > max {
                return Err(TooBig { what, size, max });
            }
        }
        Ok(())
    }
}

/// An answer that the broker would not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is too big, {what}: {size} of at most {max}; send it in parts or ask for less")]
pub struct TooBig {
    /// What there is too much of.
    pub what: &'static str,
    /// How much there is.
    pub size: usize,
    /// How much there may be.
    pub max: usize,
}

impl TooBig {
    pub(super) fn failure(self) -> Failure {
        Failure::known(Code::TooBig, self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_too_big_by_its_largest_frame_its_sum_or_its_frames() {
        let limits = AnswerLimits::new(Limits::default());
        let says = Taken {
            frame: Some(100),
            message: Some(1024 + 250),
            frames: Some(8 + 4),
            header: Some(50),
            talk: Some(false),
        };
        let check = |sizes: &[usize]| {
            let frames = sizes.iter().map(|size| vec![0; *size]);
            limits.check(&Message::new(frames)).map_err(|too_big| (too_big.what, too_big.size))
        };
        assert_eq!(check(&[101]), Ok(()));
        limits.set(says);
        assert_eq!(check(&[100, 100, 50]), Ok(()));
        assert_eq!(check(&[1; 4]), Ok(()));
        assert_eq!(check(&[1, 101]), Err(("a frame of octets", 101)));
        assert_eq!(check(&[100, 100, 51]), Err(("octets", 251)));
        assert_eq!(check(&[1; 5]), Err(("frames", 5)));
        assert!(limits.check_header(50).is_ok() && limits.check_header(51).is_err());
        assert!(!limits.takes_talk());
        limits.set(Taken::default());
        assert_eq!(check(&[1; 5]), Err(("frames", 5)));
    }
}
