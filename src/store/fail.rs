//! Named points at which a test has the process end, as if it had been killed there.
//!
//! With the feature `fail-points` the environment says where: `MAJORDOMO_FAIL_POINT=name:count`
//! ends the process without a word when it comes to that point for that many times. Without the
//! feature there is nothing.

/// A point of that name.
#[cfg(not(feature = "fail-points"))]
#[inline]
pub(crate) fn point(_name: &str) {}

/// A point of that name.
#[cfg(feature = "fail-points")]
pub(crate) fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static CHOSEN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let chosen = CHOSEN.get_or_init(|| {
        let text = std::env::var("MAJORDOMO_FAIL_POINT").ok()?;
        let (name, count) = text.split_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    if let Some((chosen, count)) = chosen
        && chosen == name
        && SEEN.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        std::process::abort();
    }
}
