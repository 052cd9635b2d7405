//! Why a file cannot be had.

use std::io;
use std::path::PathBuf;

use super::url::{FileUrl, UrlError};

/// Why a file or folder cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// There is nothing of that name, or it is no file.
    #[error("{url}: there is no such file; list the folder to see what there is")]
    NoFile {
        /// Its name.
        url: FileUrl,
    },
    /// There is nothing of that name, or it is no folder.
    #[error("{url}: there is no such folder; list the one above to see what there is")]
    NoFolder {
        /// Its name.
        url: FileUrl,
    },
    /// A link that leads out of the folder, or an absolute one.
    #[error("{url}: a link leads out of the folder that is served; use a relative link within it")]
    Outside {
        /// Its name.
        url: FileUrl,
    },
    /// A dot file, or a name with `__` twice.
    #[error("{url}: hidden files are not served here")]
    Hidden {
        /// Its name.
        url: FileUrl,
    },
    /// The system does not let the server read it.
    #[error("{url}: the server may not read it; look at its rights")]
    NotAllowed {
        /// Its name.
        url: FileUrl,
    },
    /// More names than one answer may have.
    #[error("{url}: more than {max} {what}; ask for a folder further down")]
    TooMany {
        /// The folder.
        url: FileUrl,
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        max: usize,
    },
    /// More octets were asked for than one answer may have.
    #[error("a chunk of {length} octets is more than {max}; ask for less at a time")]
    ChunkTooBig {
        /// What was asked for.
        length: u64,
        /// What may be asked for.
        max: usize,
    },
    /// The folder that is to be served cannot be.
    #[error("{}: {reason}; name a folder that can be read", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The disk, or what is below it.
    #[error("{url}: {reason}; look at the disk of the server")]
    Io {
        /// Its name.
        url: FileUrl,
        /// What the system says.
        reason: String,
    },
}

impl FileError {
    /// What is wrong by name: `bad_url`, `not_found`, `not_allowed`, `too_many`, `bad_request`,
    /// `failed`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Url(UrlError::Outside) => "not_allowed",
            Self::Url(_) => "bad_url",
            Self::NoFile { .. } | Self::NoFolder { .. } => "not_found",
            Self::Outside { .. } | Self::Hidden { .. } | Self::NotAllowed { .. } => "not_allowed",
            Self::TooMany { .. } => "too_many",
            Self::ChunkTooBig { .. } => "bad_request",
            Self::Unusable { .. } | Self::Io { .. } => "failed",
        }
    }

    /// The text that NorFab's own file service has for it, which its peers know. `url`: as it was
    /// asked for.
    #[must_use]
    pub fn norfab(&self, url: &str) -> String {
        match self {
            Self::NoFolder { .. } => "Directory Not Found".into(),
            Self::NoFile { .. } => format!("'{url}' file not found"),
            Self::Url(UrlError::Scheme) => format!("'{url}' - invalid URL format"),
            Self::Url(_) | Self::Outside { .. } | Self::Hidden { .. } => {
                format!("'{url}' - invalid URL path")
            }
            other => other.to_string(),
        }
    }

    /// What the system said when something of that name was opened.
    pub(super) fn of(url: &FileUrl, error: rustix::io::Errno, wanted: Kind) -> Self {
        use rustix::io::Errno;
        let url = url.clone();
        match error {
            Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::NXIO | Errno::NODEV => {
                match wanted {
                    Kind::File => Self::NoFile { url },
                    Kind::Folder => Self::NoFolder { url },
                }
            }
            Errno::XDEV | Errno::LOOP => Self::Outside { url },
            Errno::ACCESS | Errno::PERM => Self::NotAllowed { url },
            error => Self::Io { url, reason: plain(&error.into()) },
        }
    }
}

/// What somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
}

/// What the system says, without its number.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
