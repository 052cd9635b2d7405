//! `fss.service.broker`: the file service that NorFab's broker had up to 0.14.0.

use serde_json::{Value, json};

use crate::folder::{FileError, FileUrl, Store};

use super::{Asked, Call, Service, failed, unsupported, written};

/// Octets of a piece of a file, if nobody says how many.
const PIECE: usize = 256_000;

/// Answers from a folder.
#[derive(Debug)]
pub(super) struct Folder {
    store: Store,
}

impl Folder {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }

    async fn carry_out(&self, asked: &Asked) -> Result<Vec<u8>, String> {
        let url = asked.needed("url")?;
        let said = |error: FileError| error.norfab(url);
        let parsed = || url.parse::<FileUrl>().map_err(|error| said(error.into()));
        let value = match &asked.task[..] {
            "list_files" => {
                let entries = self.store.list(&parsed()?).await.map_err(said)?;
                entries.into_iter().map(|entry| entry.name).collect()
            }
            "file_details" => {
                let details = match url.parse::<FileUrl>() {
                    Ok(url) => self.store.details(&url).await,
                    Err(error) => Err(error.into()),
                };
                match details {
                    Ok(is) => json!({ "md5hash": is.md5, "size_bytes": is.size, "exists": true }),
                    Err(_) => json!({ "md5hash": null, "size_bytes": null, "exists": false }),
                }
            }
            "walk" => {
                let urls = self.store.walk(&parsed()?).await.map_err(said)?;
                urls.iter().map(ToString::to_string).collect()
            }
            "fetch_file" => {
                let offset = asked.count("offset")?.unwrap_or_default();
                let length = asked.count("chunk_size")?.unwrap_or(PIECE);
                let (offset, length) = (offset as u64, length as u64);
                let piece = self.store.read(&parsed()?, offset, length).await.map_err(said)?;
                return Ok(piece.octets.into());
            }
            other => unsupported(other),
        };
        Ok(written(&value))
    }
}

impl Service for Folder {
    const NAME: &str = "fss.service.broker";

    async fn answer(&mut self, call: &Call) -> Vec<u8> {
        let answer = match call.read() {
            Ok(asked) => self.carry_out(&asked).await.map_err(Value::String),
            Err(why) => Err(failed(&why)),
        };
        answer.unwrap_or_else(|why| written(&why))
    }
}
