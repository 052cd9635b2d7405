//! Topics: who hears what is published (SPEC 9.11).
//!
//! - [`Subject`] and [`Pattern`]: what is said, and what is listened for.
//! - [`Trie`]: finds the patterns that mean a subject.
//! - [`Topics`]: the subscriptions, what each has been told, and what it has missed.

mod subject;
mod table;
mod trie;

pub use subject::{Pattern, Subject, SubjectError, TOKENS_MAX};
pub use table::{Counts, Due, Refused, Topics};
pub use trie::{Reach, TooMany, Trie};
