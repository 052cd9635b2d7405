//! Flows (SPEC 13): one-way streams with credit, and the broker that brings their ends together.
//!
//! ```text
//! client --BOT--> table --rules--> flow service --assign--> handler
//!                       \-factory: decide, later accept or refuse
//! handler --BOT with cid--> table: paired, BOT to the handler, BOT to the client
//! client <==DAT, PAY, EOT==> handler, octet by octet
//! ```
//!
//! [`Endpoint`] is one end of a flow, [`FlowTable`] the broker's part. No end can harm a flow that
//! is not its own: see the tests in `table/tests/failures.rs`.

mod cid;
mod endpoint;
mod output;
mod policy;
mod rules;
#[cfg(test)]
pub(in crate::proto) mod simulation;
mod table;
mod words;

pub use endpoint::{
    Action, Endpoint, Expired, Heard, Input, Load, Misuse, Side, Stamp, State, TABLE, Terms,
    Violation,
};
pub use output::{End, FACTORY, FlowEvent, FlowOutput, Outcome, Refusal, Seat, Words};
pub use policy::FlowSettings;
pub use rules::{FlowRule, Target};
pub use table::{
    Decision, EndRow, FlowCounts, FlowId, FlowRow, FlowTable, HandlerId, OfferError, Stage,
};
