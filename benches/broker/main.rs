#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]
//! The broker from end to end, against what the machine can do and against its peers.
//!
//! Broker, clients and workers are processes of their own; this program plays all of them but the
//! broker by starting itself again. `cargo bench --bench broker -- --help` lists what it can do.

mod beats;
mod boxes;
mod compare;
mod flow;
mod group;
mod idle;
mod lease;
mod load;
mod mode;
mod outbox;
mod process;
mod relay;
mod report;
mod server;
mod start;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "broker", about = "Compares the broker with its peers, end to end")]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    compare: compare::Options,
    /// Given by `cargo bench`, not by `cargo test`.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Resident memory of an idle connection
    Memory(idle::Options),
    /// CPU that heartbeats take, against a bare loop with the same reads and writes
    Heartbeats(idle::Options),
    /// What a call costs while many others are connected and idle
    Crowd(idle::Options),
    /// Calls a second of a thousand callers of the client library over one connection, against the
    /// load generator's own client
    Library(compare::Rounds),
    /// The broker over CURVE, against itself over NULL and against libzmq's proxy over CURVE
    Curve(compare::Rounds),
    /// Flows through the broker: small messages, tensors, and a thousand flows at a time, against
    /// the raw relay
    Flow(compare::Rounds),
    /// Time that groups take to join, to have another leader and to decide, and what many of them
    /// cost
    Group(group::Options),
    /// Time from the end of one holder of a lease to the next one
    Lease(lease::Options),
    /// Time until the broker has answered, its memory when idle, and its size on disk
    Start(start::Options),
    /// Clients of the load generator
    #[command(hide = true)]
    Clients(load::ClientArgs),
    /// Workers of the load generator
    #[command(hide = true)]
    Workers(load::LoadArgs),
    /// Ends of flows that give
    #[command(hide = true)]
    Givers(load::FlowArgs),
    /// Ends of flows that take
    #[command(hide = true)]
    Takers(load::FlowArgs),
    /// The raw relay
    #[command(hide = true)]
    Relay { flush: relay::Flush },
    /// The bare loop
    #[command(hide = true)]
    Beat {
        #[arg(value_parser = load::millis)]
        interval: std::time::Duration,
    },
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    // A task that panics must end its process, so that the run fails.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::exit(1);
    }));
    match cli.role {
        None if !cli.bench => eprintln!("to compare, run `cargo bench --bench broker`"),
        None => compare::run(&cli.compare)?,
        Some(Role::Memory(options)) => idle::memory(&options)?,
        Some(Role::Heartbeats(options)) => idle::heartbeats(&options)?,
        Some(Role::Crowd(options)) => idle::crowd(&options)?,
        Some(Role::Library(rounds)) => compare::library(&rounds)?,
        Some(Role::Curve(rounds)) => compare::curve(&rounds)?,
        Some(Role::Flow(rounds)) => compare::flow(&rounds)?,
        Some(Role::Group(options)) => group::run(&options)?,
        Some(Role::Lease(options)) => lease::run(&options)?,
        Some(Role::Start(options)) => start::run(&options)?,
        Some(Role::Clients(args)) => load::clients(&args),
        Some(Role::Workers(args)) => load::workers(&args),
        Some(Role::Givers(args)) => load::givers(&args),
        Some(Role::Takers(args)) => load::takers(&args),
        Some(Role::Relay { flush }) => relay::run(flush)?,
        Some(Role::Beat { interval }) => beats::run(interval)?,
    }
    Ok(())
}
