//! Keys on disk, and who may come in with which rights (SPEC 14).
//!
//! ```text
//! NAME.secret, NAME.pub  <->  Certificate     a pair of keys, as CZMQ, pyzmq and NorFab write it
//! authorized keys        <->  KeyRing         keys, users and roles -> rights
//!                             Pending         keys that nobody knows yet
//! handshakes, operators  ->   Doorkeeper      both of them, asked and changed while a broker runs
//! ```
//!
//! What is secret is read from files that nobody else can read, and from nowhere else; it is
//! never printed, and wiped from memory.

mod broker_key;
mod certificate;
mod disk;
mod doorkeeper;
mod error;
mod pending;
pub mod ring;
mod text;

pub use broker_key::{BrokerKeys, OVERLAP, Rotated, rotate};
pub use certificate::{CERTIFICATE_MAX, Certificate, read_public, read_secret, write_pair};
pub use disk::read_secret as read_private;
pub use doorkeeper::{Done, Doorkeeper, default_name};
pub use error::KeyError;
pub use pending::{PENDING_FOR, PENDING_MAX, PENDING_PER_ADDRESS_MAX, Pending, Stranger};
pub use ring::approval::{Approval, Given};
pub use ring::edit::EditError;
pub use ring::{Changes, KeyRing, Known, RingError, Standing};
pub use text::{public_from_text, text_of_public};
