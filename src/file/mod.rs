//! The file role: a folder is served, and files are fetched from whoever serves one.
//!
//! ```
//! use majordomo::broker::Broker;
//! use majordomo::client::Client;
//! use majordomo::config::BrokerConfig;
//! use majordomo::file::{Remote, Store, serve};
//! use majordomo::worker::Worker;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(run())
//! # }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut config = BrokerConfig::default();
//! # config.broker.bind = vec!["tcp://127.0.0.1:0".parse()?];
//! # let broker = Broker::bind(config)?;
//! # let endpoint = broker.local_addrs()[0].to_string();
//! # let folder = std::env::temp_dir().join(format!("majordomo-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # std::fs::write(folder.join("hello.txt"), "hello")?;
//! let store = Store::open(&folder)?;
//! let worker = Worker::builder(&endpoint, "filesharing")?.credit(16).start(serve(store))?;
//!
//! let remote = Remote::new(Client::connect(&endpoint).await?, "filesharing");
//! assert_eq!(remote.list(&"nf://".parse()?).await?[0].name, "hello.txt");
//! let copy = folder.join("copy.txt");
//! let fetched = remote.fetch(&"nf://hello.txt".parse()?, &copy, |_, _| {}).await?;
//! assert_eq!((fetched.size, std::fs::read(&copy)?), (5, b"hello".to_vec()));
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Store`] is a folder and what can be asked of it, [`serve`] makes a service of it, [`Remote`] is
//! the other side. What the two say is in SPEC.md, "File service over MJP/1".

mod fetch;
mod remote;
mod serve;

pub use fetch::{FetchError, Fetched};
pub use remote::{Remote, RemoteError};
pub use serve::serve;

pub use crate::folder::{Chunk, Details, Entry, FileError, FileUrl, Store, UrlError};

pub use crate::folder::words::{self, CHUNK};

/// Chunks that are asked for at a time.
pub const CHUNKS_IN_FLIGHT: usize = 8;
