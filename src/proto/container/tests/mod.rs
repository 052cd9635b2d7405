//! Scenarios of SPEC 17.1, one after the other, and many instances with a store that fails.

mod health;
mod scenarios;
mod simulation;
