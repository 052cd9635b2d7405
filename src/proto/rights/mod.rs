//! Rights: who may do what, decided from rules (SPEC 12).
//!
//! - [`Verb`]: what can be done; [`Pattern`]: with which names.
//! - [`Rule`]: allows or denies a verb for a pattern, and says where that is written.
//! - [`Grants`]: the rules of one principal. A rule that denies beats all that allow, and what no
//!   rule allows is denied.
//! - [`built_in_role`]: the roles that need not be written.

mod grants;
mod pattern;
mod recent;
mod role;
mod rule;

pub use grants::{Decision, Grants, RULES_MAX, TooManyRules};
pub use pattern::{Pattern, PatternError};
pub(crate) use recent::Recent;
pub use role::built_in_role;
pub use rule::{Rule, Source, UnknownVerb, Verb};
