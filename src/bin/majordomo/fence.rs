//! `--lease` and `--epoch`: what is done as the holder of a lease.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use majordomo::lease::Fence;

#[derive(Debug, Args)]
pub(crate) struct FenceArgs {
    /// Do it as the holder of this lease, by the epoch of --epoch, or be refused (mjp)
    #[arg(long, value_name = "NAME", requires = "epoch")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    lease: Option<String>,
    /// The epoch by which the lease is held, as in MAJORDOMO_EPOCH
    #[arg(long, value_name = "NUMBER", requires = "lease")]
    epoch: Option<u64>,
}

impl FenceArgs {
    /// The lease that is held, if one was named.
    pub(crate) fn fence(&self) -> Option<Fence> {
        Some(Fence::new(self.lease.as_deref()?, self.epoch?))
    }
}
