//! Keys on disk, and who may come in with which rights (SPEC 12).
//!
//! ```text
//! NAME.secret, NAME.pub  <->  Certificate     a pair of keys, as CZMQ, pyzmq and NorFab write it
//! authorized keys        <->  KeyRing         keys, users and roles -> rights
//!                             Pending         keys that nobody knows yet
//! ```
//!
//! What is secret is read from files that nobody else can read, and from nowhere else; it is
//! never printed, and wiped from memory.

mod broker_key;
mod certificate;
mod disk;
mod error;
pub mod ring;
mod text;

pub use broker_key::{BrokerKeys, OVERLAP, Rotated, rotate};
pub use certificate::{CERTIFICATE_MAX, Certificate, read_public, read_secret, write_pair};
pub use error::KeyError;
pub use ring::{KeyRing, Known, RingError, Standing};
pub use text::{public_from_text, text_of_public};
