//! greeting -> mechanism -> READY -> peer.
