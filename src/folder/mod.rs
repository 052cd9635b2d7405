//! A folder that is served: safe names of what is below it, listings, digests, chunks. Knows
//! nothing of who asks, nor in which dialect.
//!
//! [`url`] is what a name of a file is (pure), [`Store`] a folder and what can be asked of it.

mod beneath;
mod digest;
mod error;
mod store;
pub mod url;
pub mod words;

pub use digest::Details;
pub use error::FileError;
pub(crate) use error::plain;
pub use store::{CHUNK_MAX, Chunk, Entry, NAMES_BYTES_MAX, NAMES_MAX, Store};
pub use url::{FileUrl, UrlError};
