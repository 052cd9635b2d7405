//! What a disk does by itself: so many synchronisations a second.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

/// Octets that are written before each.
pub(super) const SIZE: usize = 4096;

/// Synchronisations a second of a file in that directory, each behind one write.
pub(super) fn synchronisations(dir: &Path, time: Duration) -> Result<f64> {
    /// The file goes round in so many octets.
    const ROUND: u64 = 16 << 20;
    let path = dir.join("raw");
    let cannot = || format!("cannot write {}", path.display());
    let options = OpenOptions::new().create(true).truncate(true).write(true).open(&path);
    let file = options.with_context(cannot)?;
    file.set_len(ROUND).and_then(|()| file.sync_all()).with_context(cannot)?;
    let (began, mut count) = (Instant::now(), 0_u64);
    while began.elapsed() < time {
        let at = count * SIZE as u64 % ROUND;
        let done = file.write_all_at(&[7; SIZE], at).and_then(|()| file.sync_data());
        done.with_context(cannot)?;
        count += 1;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    fs::remove_file(&path).with_context(cannot)?;
    Ok(rate)
}
