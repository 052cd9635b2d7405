//! What a group takes its time for: joining, another leader, a poll; and what many groups cost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::future::try_join_all;
use hdrhistogram::Histogram;
use majordomo::group::{Event, Events, Group, GroupKind, Groups, Vote};
use tokio::runtime::{Builder, Runtime};

use crate::idle::settle;
use crate::process::{cpu_of, resident};
use crate::server::{self, Server};

/// Electors of the polls that are measured.
const SIZES: [usize; 4] = [3, 5, 8, 100];
/// Leaders that fall silent at a time: each takes a time to live.
const SILENT: u8 = 20;
/// Memberships of one connection, where there are many.
const EACH: usize = 500;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs of each figure
    #[arg(long, default_value_t = 200)]
    runs: u64,
    /// Groups that only beat, of ten members each
    #[arg(long, default_value_t = 1000)]
    groups: usize,
    /// Seconds for which they are looked at
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let server = server::majordomo(&[], false)?;
    let endpoint = format!("tcp://{}", server.front);
    let runtime = runtime()?;
    println!("{} runs each:", options.runs);
    print("join, connection there", &each(options, || runtime.block_on(joins(&endpoint)))?)?;
    print("leader resigns", &each(options, || runtime.block_on(resigns(&endpoint)))?)?;
    let ends = each(options, || breaks_off(&endpoint, "Lost.1", false))?;
    print("connection of the leader ends", &ends)?;
    print("leader falls silent, ttl 1000 ms", &silences(&endpoint, options.runs)?)?;
    for size in SIZES {
        let took = runtime.block_on(polls(&endpoint, size, options.runs))?;
        print(&format!("poll, {size} members"), &took)?;
    }
    drop(server);
    many(&runtime, options)
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

fn each(options: &Options, run: impl FnMut() -> Result<Duration>) -> Result<Vec<Duration>> {
    std::iter::repeat_with(run).take(usize::try_from(options.runs)?).collect()
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

fn led() -> GroupKind {
    // One that is alone leads, too: there has to be another leader when one of two has gone.
    GroupKind::default().leader(true).min_size(1)
}

async fn member(groups: &Groups, group: &str, name: &str) -> Result<(Group, Events)> {
    let group = groups.group(group).member(name).kind(led()).join().await?;
    let events = group.events();
    Ok((group, events))
}

/// Reads until that one leads.
async fn until_led_by(events: &mut Events, name: &str) -> Result<()> {
    loop {
        match events.next().await.context("it is no member any more")? {
            Event::LeaderElected(leader) if leader.member.name() == name => return Ok(()),
            _ => {}
        }
    }
}

async fn joins(endpoint: &str) -> Result<Duration> {
    let groups = Groups::connect(endpoint).await?;
    let begin = Instant::now();
    let (_group, _events) = member(&groups, "Joined.1", "anna").await?;
    Ok(begin.elapsed())
}

async fn resigns(endpoint: &str) -> Result<Duration> {
    let (one, two) = (Groups::connect(endpoint).await?, Groups::connect(endpoint).await?);
    let (leader, mut own) = member(&one, "Resigned.1", "anna").await?;
    let (_next, mut events) = member(&two, "Resigned.1", "bert").await?;
    until_led_by(&mut own, "anna").await?;
    let begin = Instant::now();
    leader.resign().await?;
    until_led_by(&mut events, "bert").await?;
    let took = begin.elapsed();
    one.close().await;
    two.close().await;
    Ok(took)
}

/// Leaders of as many groups fall silent at a time, so that it does not take all day.
fn silences(endpoint: &str, runs: u64) -> Result<Vec<Duration>> {
    let one_after_the_other = |group: u8| {
        let runs = (u64::from(group)..runs).step_by(SILENT.into());
        runs.map(|_| breaks_off(endpoint, &format!("Silent.{group}"), true)).collect()
    };
    std::thread::scope(|scope| {
        let groups = (0..SILENT).map(|group| scope.spawn(move || one_after_the_other(group)));
        let took = groups.collect::<Vec<_>>().into_iter().map(|run| run.join().expect("no panic"));
        took.collect::<Result<Vec<Vec<_>>>>().map(|took| took.concat())
    })
}

/// The runtime of the leader is gone, and its sockets with it; or it is only not driven any more.
fn breaks_off(endpoint: &str, group: &str, stays: bool) -> Result<Duration> {
    let (own, runtime) = (runtime()?, runtime()?);
    let (one, leader) = own.block_on(async {
        let one = Groups::connect(endpoint).await?;
        let leader = member(&one, group, "anna").await?;
        Ok::<_, anyhow::Error>((one, leader))
    })?;
    let (two, mut events) = runtime.block_on(async {
        let two = Groups::connect(endpoint).await?;
        let (next, events) = member(&two, group, "bert").await?;
        Ok::<_, anyhow::Error>(((two, next), events))
    })?;
    let (leader, mut own_events) = leader;
    own.block_on(until_led_by(&mut own_events, "anna"))?;
    let begin = Instant::now();
    let kept = if stays {
        Some(own)
    } else {
        own.shutdown_background();
        None
    };
    runtime.block_on(until_led_by(&mut events, "bert"))?;
    let took = begin.elapsed();
    drop((events, own_events, leader, one, kept));
    runtime.block_on(two.0.close());
    Ok(took)
}

/// From the question to its result at whoever has asked it, when all say yes at once.
async fn polls(endpoint: &str, size: usize, runs: u64) -> Result<Vec<Duration>> {
    let name = format!("Polled.{size}");
    let mut members = Vec::new();
    for number in 0..size {
        let groups = Groups::connect(endpoint).await?;
        let (group, mut events) = member(&groups, &name, &format!("m{number}")).await?;
        let voter = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let Event::VoteRequest(ballot) = event {
                    let _ = ballot.vote(Vote::Yes).await;
                }
            }
        });
        members.push((groups, group, voter));
    }
    let (_, asks, _) = members.last().context("no members")?;
    asks.leader_known().await?;
    let mut took = Vec::new();
    for _ in 0..runs {
        let poll = asks.poll("?").timeout(Duration::from_secs(10));
        let begin = Instant::now();
        let result = poll.open().await?;
        took.push(begin.elapsed());
        ensure!(result.is_yes(), "{result:?}");
    }
    try_join_all(members.into_iter().map(|(groups, _, voter)| async move {
        groups.close().await;
        voter.await
    }))
    .await?;
    Ok(took)
}

/// What groups cost whose members do nothing but beat.
fn many(runtime: &Runtime, options: &Options) -> Result<()> {
    let Options { groups: count, seconds, .. } = *options;
    let limit = format!("--set=group.groups={}", count.max(1));
    let server: Server = server::majordomo(&[&limit, "--set=group.per_peer=100000"], false)?;
    let endpoint = format!("tcp://{}", server.front);
    let process = server.process.id();
    settle();
    let before = resident(process)?;
    // A connection is a member of many groups, and of each of them once.
    let _held = runtime.block_on(async {
        let mut held = Vec::new();
        for number in 0..10 {
            for first in (0..count).step_by(EACH) {
                let groups = Groups::connect(&endpoint).await?;
                for group in first..count.min(first + EACH) {
                    let join = groups.group(format!("Many.{group}")).member(format!("m{number}"));
                    held.push(join.kind(led()).join().await?);
                }
            }
        }
        Ok::<_, anyhow::Error>(held)
    })?;
    let time = Duration::from_secs_f64(seconds);
    runtime.block_on(async { tokio::time::sleep(Duration::from_secs(3)).await });
    let begin = cpu_of(process)?;
    runtime.block_on(async { tokio::time::sleep(time).await });
    let cpu = (cpu_of(process)? - begin) / seconds;
    let each = resident(process)?.saturating_sub(before) as f64 / 1024.0 / (10 * count) as f64;
    println!(
        "{count} groups of 10 members, beats every 1 s: {:.1} % of a core, {each:.2} KiB a member",
        100.0 * cpu
    );
    Ok(())
}
