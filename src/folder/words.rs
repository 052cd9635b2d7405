//! What is said between who asks for files and who serves them: SPEC.md, "File service over MJP/1".

use serde::{Deserialize, Serialize};

use bytes::Bytes;

use super::{Details, Entry, FileError, FileUrl, Store};

/// The service that serves files unless it has another name.
pub const SERVICE: &str = "filesharing";
/// Octets of the pieces that are asked for.
pub const CHUNK: usize = 256 << 10;
/// Octets of the body of a request.
pub const REQUEST_MAX: usize = 16 << 10;

/// What is asked for: one frame of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "lowercase")]
pub enum Ask {
    /// What is in a folder.
    List {
        /// The folder.
        url: String,
    },
    /// Size and digests of a file.
    Details {
        /// The file.
        url: String,
    },
    /// All files below a folder.
    Walk {
        /// The folder.
        url: String,
    },
    /// A piece of a file.
    Read {
        /// The file.
        url: String,
        /// Octets before the piece. Default 0.
        #[serde(default)]
        offset: u64,
        /// Octets of the piece, up to 1 MiB. Default 256 KiB.
        #[serde(default = "chunk")]
        length: u64,
    },
}

impl Ask {
    /// Reads a request.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        if body.len() > REQUEST_MAX {
            return Err(format!("a request of more than {REQUEST_MAX} octets"));
        }
        serde_json::from_slice(body).map_err(|error| error.to_string())
    }

    /// Answers it: one frame of JSON, and behind that the octets of a piece.
    ///
    /// # Errors
    /// Those of the folder.
    ///
    /// # Cancel safety
    /// As that of what it asks of [`Store`].
    pub async fn answer(self, store: &Store) -> Result<Vec<Bytes>, FileError> {
        let url = |url: String| url.parse::<FileUrl>();
        match self {
            Self::List { url: of } => {
                let entries = store.list(&url(of)?).await?;
                Ok(vec![json(&Listed { entries })])
            }
            Self::Details { url: of } => {
                let details = store.details(&url(of)?).await?;
                Ok(vec![json(&Detailed::from(details))])
            }
            Self::Walk { url: of } => {
                let urls = store.walk(&url(of)?).await?;
                Ok(vec![json(&Walked { urls: urls.iter().map(ToString::to_string).collect() })])
            }
            Self::Read { url: of, offset, length } => {
                let chunk = store.read(&url(of)?, offset, length).await?;
                Ok(vec![json(&Read { offset, size: chunk.size }), chunk.octets])
            }
        }
    }
}

fn json(value: &impl Serialize) -> Bytes {
    // Texts and numbers: there is nothing that JSON could not say.
    serde_json::to_vec(value).unwrap_or_default().into()
}

fn chunk() -> u64 {
    CHUNK as u64
}

/// Answers to [`Ask::List`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// What is in the folder, by name.
    pub entries: Vec<Entry>,
}

/// Answers to [`Ask::Details`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detailed {
    /// Octets.
    pub size: u64,
    /// 32 hexadecimal digits.
    pub md5: String,
    /// 64 hexadecimal digits.
    pub blake3: String,
}

impl From<Details> for Detailed {
    fn from(Details { size, md5, blake3 }: Details) -> Self {
        Self { size, md5, blake3 }
    }
}

/// Answers to [`Ask::Walk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walked {
    /// The files, folder by folder.
    pub urls: Vec<String>,
}

/// The first frame of an answer to [`Ask::Read`]; the second one is the octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// As it was asked for.
    pub offset: u64,
    /// Octets of the whole file.
    pub size: u64,
}
