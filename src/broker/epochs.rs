//! Where the epochs of leases begin, so that none of an earlier run comes back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bits of an epoch that are parts of a second.
const BITS: u32 = 20;

/// A time in 2^-20 seconds since 1970. A run of the broker does not give as many
/// epochs as pass of these, and so none comes back in the next run.
pub(super) fn epoch_at(now: SystemTime) -> u64 {
    epoch_of(now.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn epoch_of(since: Duration) -> u64 {
    let part = (u64::from(since.subsec_nanos()) << BITS) / 1_000_000_000;
    since.as_secs() << BITS | part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_microsecond_later_is_another_epoch_and_json_can_say_it() {
        let at = Duration::from_micros(1_800_000_000_999_998);
        let [one, next, later] = [0, 1, 2].map(|us| epoch_of(at + Duration::from_micros(us)));
        assert!(one < next && next < later, "{one} {next} {later}");
        assert!(later < 1 << 53, "it is a number of JSON");
        assert_eq!(later, 1_800_000_001 << BITS);
    }
}
