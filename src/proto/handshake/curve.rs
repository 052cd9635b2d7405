//! The steps of CURVE (RFC 26), of both sides.

mod client;
mod server;

pub(super) use client::{CurveReady, CurveWelcome};
pub(super) use server::{CurveHello, CurveInitiate};
