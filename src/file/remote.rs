//! A folder that somebody else serves.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::words::{Ask, Detailed, Listed, Read, Walked};
use crate::client::{CallError, Client};
use crate::folder::{Chunk, Entry, FileUrl, UrlError};
use crate::wire::message::Message;

/// Why a question about files has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// No answer, or the server said no: then it is [`CallError::Refused`] with a code of
    /// [`FileError::code`](super::FileError::code).
    #[error(transparent)]
    Call(#[from] CallError),
    /// An answer that cannot be read.
    #[error("the server gave an answer that is none: {reason}; it may serve something else")]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
}

/// A folder that some worker serves, by way of a broker. A clone is the same folder.
#[derive(Debug, Clone)]
pub struct Remote {
    client: Client,
    service: String,
}

impl Remote {
    /// Asks that service, by a client that speaks MJP/1.
    #[must_use]
    pub fn new(client: Client, service: impl Into<String>) -> Self {
        Self { client, service: service.into() }
    }

    /// What is in a folder, by name.
    ///
    /// # Errors
    /// [`RemoteError`].
    ///
    /// # Cancel safety
    /// The question is given up. So are all of this type.
    pub async fn list(&self, url: &FileUrl) -> Result<Vec<Entry>, RemoteError> {
        let listed: Listed = self.ask(&Ask::List { url: url.to_string() }).await?;
        Ok(listed.entries)
    }

    /// Size and digests of a file.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn details(&self, url: &FileUrl) -> Result<Detailed, RemoteError> {
        let details: Detailed = self.ask(&Ask::Details { url: url.to_string() }).await?;
        let is_digest =
            |text: &str| text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit());
        if is_digest(&details.blake3) { Ok(details) } else { Err(no_answer("no digest in it")) }
    }

    /// All files below a folder.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn walk(&self, url: &FileUrl) -> Result<Vec<FileUrl>, RemoteError> {
        let walked: Walked = self.ask(&Ask::Walk { url: url.to_string() }).await?;
        let urls = walked.urls.iter().map(|url| url.parse());
        urls.collect::<Result<_, UrlError>>().map_err(|error| no_answer(&error.to_string()))
    }

    /// Up to `length` octets of a file from `offset` on; fewer only at its end.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub async fn read(
        &self,
        url: &FileUrl,
        offset: u64,
        length: u64,
    ) -> Result<Chunk, RemoteError> {
        let answer = self.call(&Ask::Read { url: url.to_string(), offset, length }).await?;
        let mut frames = answer.frames();
        let head: Read = read_json(frames.take_first().unwrap_or_default())?;
        let octets = frames.take_first().ok_or_else(|| no_answer("no octets in it"))?;
        let end = length.min(head.size.saturating_sub(offset));
        if head.offset != offset || octets.len() as u64 != end {
            return Err(no_answer("another piece of the file was asked for"));
        }
        Ok(Chunk { octets: Bytes::copy_from_slice(octets), size: head.size })
    }

    async fn ask<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T, RemoteError> {
        read_json(self.call(ask).await?.first())
    }

    async fn call(&self, ask: &Ask) -> Result<Message, RemoteError> {
        let body = serde_json::to_vec(ask).map_err(|error| no_answer(&error.to_string()))?;
        Ok(self.client.call(&self.service, body).await?)
    }
}

fn read_json<T: DeserializeOwned>(octets: &[u8]) -> Result<T, RemoteError> {
    serde_json::from_slice(octets).map_err(|error| no_answer(&error.to_string()))
}

fn no_answer(reason: &str) -> RemoteError {
    RemoteError::Answer { reason: reason.into() }
}
