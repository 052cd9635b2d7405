//! What somebody probably meant to write.

/// The one of `names` that `wanted` was probably meant to be.
pub(crate) fn nearest<'n>(wanted: &str, names: &[&'n str]) -> Option<&'n str> {
    // Two letters that changed places are one slip, and nothing to the other measure.
    let slip = |name: &str| strsim::osa_distance(wanted, name) <= 1;
    let near = |name: &&&str| if slip(name) { 1.0 } else { strsim::jaro_winkler(wanted, name) };
    let best = names.iter().max_by(|a, b| near(a).total_cmp(&near(b)))?;
    (near(&best) >= 0.75).then_some(*best)
}
