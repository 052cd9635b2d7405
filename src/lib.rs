#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! majordomo: a service broker in pure Rust.
//!
//! Clients ask for a service by name, workers offer it, the broker stands between.
//!
//! # Layers
//!
//! ```text
//! bytes -> frames -> message -> command -> decision -> command -> message -> frames -> bytes
//! id <- wire <- proto <- transport <- broker, client, worker, flow, group <- file <- bin
//!                                                              imports go left only
//! ```
//!
//! [`wire`] is what is said, [`proto`] what is decided (both pure: no socket, no clock, no
//! randomness), [`transport`] moves octets, [`broker`], [`client`], [`worker`], [`flow`],
//! [`group`] and [`mod@file`] are what a user holds. [`folder`] and [`inventory`] know none of the
//! others, [`keys`] and [`store`] only what is pure. [`lease`] is what any store of leases can do.

pub mod broker;
pub mod client;
pub mod config;
pub mod container;
pub mod engine;
pub mod file;
pub mod flow;
pub mod folder;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod group;
mod http;
pub mod id;
pub mod inventory;
pub mod keys;
pub mod lease;
mod nearest;
pub mod proto;
pub mod store;
pub mod transport;
pub mod wire;
pub mod worker;

/// The Rust code of README.md, compiled and run with the tests of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
