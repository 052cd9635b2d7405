//! What a box costs on this machine.

use std::time::Instant;

use majordomo::proto::curve::{Channel, SharedKey, Side};

/// Bodies of the frames of one MDP/0.1 call with 64 octets on its whole way through a broker.
const FRAMES: [usize; 20] = [0, 6, 5, 64, 0, 6, 1, 8, 0, 64, 0, 6, 1, 8, 0, 64, 0, 6, 5, 64];

/// Boxes that a broker opens or makes for such a call.
pub(crate) const PER_CALL: usize = FRAMES.len();

/// Microseconds for a box of such a frame, made or opened, on the average.
pub(crate) fn cost() -> f64 {
    const ROUNDS: usize = 20_000;
    let channel = |side| Channel { side, key: SharedKey::new([7; 32]), sent: 2, received: 2 };
    let (mut sealer, _) = channel(Side::Client).split();
    let (_, mut opener) = channel(Side::Server).split();
    let body = [0; 64];
    let (mut out, mut plain) = (Vec::new(), Vec::new());
    let started = Instant::now();
    for _ in 0..ROUNDS {
        for size in FRAMES {
            out.clear();
            plain.clear();
            sealer.seal(0, &body[..size], &mut out);
            opener.open(&out[2..], &mut plain).expect("its own box");
        }
    }
    started.elapsed().as_secs_f64() * 1e6 / (2 * ROUNDS * FRAMES.len()) as f64
}
