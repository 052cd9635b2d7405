//! How long nobody leads: from the end of one holder of a lease to the next one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use futures::future::try_join_all;
use hdrhistogram::Histogram;
use majordomo::client::Client;
use majordomo::lease::Coordinator;
use tokio::runtime::{Builder, Runtime};

use crate::server;

/// Candidates of the third figure that are measured at a time: each takes a time to live.
const AT_ONCE: u64 = 50;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Holders that end, for each figure
    #[arg(long, default_value_t = 200)]
    runs: u64,
    /// Time to live, ms
    #[arg(long, default_value_t = 1000)]
    ttl: u64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let server = server::majordomo(&[], false)?;
    let endpoint = format!("tcp://{}", server.front);
    let runtime = runtime()?;
    println!("from the end of a holder to the next one, {} runs each:", options.runs);
    let took = runtime.block_on(async {
        let mut took = Vec::new();
        for _ in 0..options.runs {
            took.push(resigns(&endpoint, options).await?);
        }
        Ok::<_, anyhow::Error>(took)
    })?;
    print("it resigns", &took)?;
    let mut took = Vec::new();
    for _ in 0..options.runs {
        took.push(breaks_off(&runtime, &endpoint, options)?);
    }
    print("its connection ends", &took)?;
    let took = runtime.block_on(async {
        let (mut took, mut left) = (Vec::new(), options.runs);
        while left > 0 {
            let count = left.min(AT_ONCE);
            let all = (0..count).map(|number| falls_silent(&endpoint, options, number));
            took.extend(try_join_all(all).await?);
            left -= count;
        }
        Ok::<_, anyhow::Error>(took)
    })?;
    print(&format!("it falls silent, with {} ms to live", options.ttl), &took)
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

fn print(what: &str, took: &[Duration]) -> Result<()> {
    let mut all = Histogram::<u64>::new(3)?;
    for took in took {
        all.record(u64::try_from(took.as_micros())?)?;
    }
    let [p50, p99] = [0.5, 0.99].map(|at| all.value_at_quantile(at) as f64 / 1e3);
    println!("{what:<38} p50 {p50:9.3} ms, p99 {p99:9.3} ms");
    Ok(())
}

/// Waits until somebody is in line.
async fn is_in_line(client: &Client, lease: &str) -> Result<()> {
    loop {
        let rows = client.leases(lease).await?;
        if rows.iter().any(|row| row.lease == lease && row.waiting > 0) {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
}

async fn resigns(endpoint: &str, options: &Options) -> Result<Duration> {
    let (one, two) = (Client::connect(endpoint).await?, Client::connect(endpoint).await?);
    let ttl = Duration::from_millis(options.ttl);
    let held = one.lease("resigns").ttl(ttl).campaign().await?;
    let next = two.lease("resigns").ttl(ttl);
    let next = tokio::spawn(async move { next.campaign().await.map(|held| (held, now())) });
    is_in_line(&one, "resigns").await?;
    let begin = now();
    held.resign().await?;
    let (_next, end) = next.await??;
    Ok(end.saturating_duration_since(begin))
}

/// The runtime of the holder is gone, and its sockets with it: nothing is said any more.
fn breaks_off(runtime: &Runtime, endpoint: &str, options: &Options) -> Result<Duration> {
    let (own, ttl) = (self::runtime()?, Duration::from_millis(options.ttl));
    let held = own.block_on(async {
        let one = Client::connect(endpoint).await?;
        Ok::<_, anyhow::Error>(one.lease("breaks").ttl(ttl).campaign().await?)
    })?;
    runtime.block_on(async {
        let two = Client::connect(endpoint).await?;
        let next = two.lease("breaks").ttl(ttl);
        let next = tokio::spawn(async move { next.campaign().await.map(|held| (held, now())) });
        is_in_line(&two, "breaks").await?;
        let begin = now();
        own.shutdown_background();
        let (_next, end) = next.await??;
        drop(held);
        Ok(end.saturating_duration_since(begin))
    })
}

/// It holds, and never renews.
async fn falls_silent(endpoint: &str, options: &Options, number: u64) -> Result<Duration> {
    let (one, two) = (Client::connect(endpoint).await?, Client::connect(endpoint).await?);
    let (name, ttl) = (format!("silent.{number}"), Duration::from_millis(options.ttl));
    let begin = now();
    let lease = one.lease(&name).ttl(ttl);
    let granted = one.campaign(lease.candidacy()).await?;
    let next = two.lease(&name).ttl(ttl).campaign().await.context("the next one")?;
    let end = now();
    drop((granted, next));
    Ok(end.saturating_duration_since(begin))
}

fn now() -> Instant {
    Instant::now()
}
