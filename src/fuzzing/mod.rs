//! The bodies of the fuzz targets, for `fuzz/` and for the replay of its corpus in `cargo test`.
//!
//! Each takes whatever octets it is given and panics if the code under it breaks a promise.
#![expect(clippy::panic, clippy::expect_used, reason = "a target reports what it finds by a panic")]

mod acl;
mod authorized_keys;
mod curve_client;
mod curve_server;
mod damage;
mod file_url;
mod flow_machine;
mod frame_codec;
mod greeting_handshake;
pub mod handshakes;
mod mdp_command;
mod mjp_header;
mod mjp_machine;
mod nfp_command;
mod pieces;
mod router_ops;
mod store_record;
mod topics;
mod zcert;
mod zio_message;

pub use acl::acl;
pub use authorized_keys::authorized_keys;
pub use curve_client::curve_client;
pub use curve_server::curve_server;
pub use file_url::file_url;
pub use flow_machine::flow_machine;
pub use frame_codec::frame_codec;
pub use greeting_handshake::greeting_handshake;
pub use mdp_command::mdp_command;
pub use mjp_header::mjp_header;
pub use mjp_machine::mjp_machine;
pub use nfp_command::nfp_command;
pub use router_ops::router_ops;
pub use store_record::store_record;
pub use topics::topics;
pub use zcert::zcert;
pub use zio_message::zio_message;
