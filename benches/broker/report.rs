//! Medians, ratios, and the targets.

use std::fmt;

use crate::boxes;
use crate::compare::Sample;
use crate::mode::{Mode, Peer};

/// All that was measured.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    samples: &'a [Sample],
}

/// One line about a target.
#[derive(Debug)]
pub(crate) struct Target {
    what: &'static str,
    figure: Option<f64>,
    least: Option<f64>,
    most: Option<f64>,
}

pub(crate) fn at_least(what: &'static str, figure: Option<f64>, least: f64) -> Target {
    Target { what, figure, least: Some(least), most: None }
}

pub(crate) fn at_most(what: &'static str, figure: Option<f64>, most: f64) -> Target {
    Target { what, figure, least: None, most: Some(most) }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, bound) = match (self.least, self.most) {
            (Some(least), _) => (">=", least),
            (None, most) => ("<=", most.unwrap_or_default()),
        };
        let Some(figure) = self.figure else {
            return write!(f, "not measured  {} {sign} {bound}", self.what);
        };
        let met = self.least.is_none_or(|least| figure >= least)
            && self.most.is_none_or(|most| figure <= most);
        let met = if met { "met" } else { "NOT MET" };
        write!(f, "{met:12}  {} {sign} {bound}: {figure:.2}", self.what)
    }
}

pub(crate) fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = *figures.get(middle)?;
    if figures.len() % 2 == 1 { Some(upper) } else { Some((figures[middle - 1] + upper) / 2.0) }
}

type Figure = fn(&Sample) -> f64;
const RATE: Figure = |sample| sample.per_second;
const P50: Figure = |sample| sample.p50;
const CPU: Figure = |sample| sample.cpu;
const CLIENT_CPU: Figure = |sample| sample.client_cpu;

impl<'a> Report<'a> {
    pub(crate) fn new(samples: &'a [Sample]) -> Self {
        Self { samples }
    }

    fn of(&self, mode: Mode, peer: Peer) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.mode == mode && sample.peer == peer)
    }

    fn median(&self, mode: Mode, peer: Peer, figure: Figure) -> Option<f64> {
        median(self.of(mode, peer).map(figure).collect())
    }

    /// The way to write that served the relay best in this mode.
    fn best_relay(&self, mode: Mode) -> Peer {
        let rate = |peer| self.median(mode, peer, RATE);
        if rate(Peer::RelayTurn) > rate(Peer::Relay) { Peer::RelayTurn } else { Peer::Relay }
    }

    /// The median of the ratios in each round.
    fn ratio(&self, (mode, peer): (Mode, Peer), other: (Mode, Peer), fig: Figure) -> Option<f64> {
        let pairs = self.of(mode, peer).filter_map(|sample| {
            let other = self.of(other.0, other.1).find(|other| other.round == sample.round)?;
            Some(fig(sample) / fig(other))
        });
        median(pairs.collect())
    }

    /// What the broker has to reach.
    pub(crate) fn targets(&self) -> Vec<Target> {
        use Mode::{S1, S64, W1, W2, W3, W4};
        let own = Peer::Majordomo;
        let relay = |mode, figure| self.ratio((mode, own), (mode, self.best_relay(mode)), figure);
        let other = |mode, peer| self.ratio((mode, own), (mode, peer), RATE);
        let relay_w1 = (W1, self.best_relay(W1));
        let mjp = |mode, figure| self.ratio((mode, Peer::MajordomoMjp), (mode, own), figure);
        let straw = |mode| self.ratio((mode, self.best_relay(mode)), (mode, Peer::Zmq), RATE);
        vec![
            // Whether the relay is one worth being held against.
            at_least("the run counts: W2: the relay's rate to zmq_proxy", straw(W2), 4.0),
            at_least("the run counts: W1: the relay's rate to zmq_proxy", straw(W1), 1.5),
            at_least("W1: rate to the relay's", relay(W1, RATE), 0.95),
            at_most("W1: p50 to the relay's", relay(W1, P50), 1.05),
            at_least("W2: rate to the relay's, goal", relay(W2, RATE), 0.8),
            at_least("W2: rate to the relay's, floor", relay(W2, RATE), 0.65),
            at_least("W2: rate to that of nats-server", other(W2, Peer::Nats), 2.5),
            at_least("W2: rate to that of zmq_proxy", other(W2, Peer::Zmq), 4.0),
            at_most("W2: CPU per call to the relay's, goal", relay(W2, CPU), 1.6),
            at_most("W2: CPU per call in us, floor", self.median(W2, own, CPU), 0.6),
            at_least("W3: rate to the relay's", relay(W3, RATE), 0.8),
            at_least("W3: rate to that of zmq_proxy", other(W3, Peer::Zmq), 2.0),
            at_least("W3: rate to that of nats-server", other(W3, Peer::Nats), 3.0),
            at_least("S1: rate to our own at W1", self.ratio((S1, own), (W1, own), RATE), 0.9),
            // 50 thousand where the relay's W1 is 14 thousand.
            at_least(
                "S64: rate to the relay's at W1",
                self.ratio((S64, own), relay_w1, RATE),
                3.57,
            ),
            at_least("W4: rate to the relay's", relay(W4, RATE), 0.95),
            at_least("W1: rate of MJP to that of MDP", mjp(W1, RATE), 0.9),
            at_most("W2: CPU per call of MJP to that of MDP", mjp(W2, CPU), 1.5),
            at_most("W3: CPU per call of MJP to that of MDP", mjp(W3, CPU), 1.5),
        ]
    }

    /// What the broker has to reach over CURVE, where a box costs so many microseconds.
    pub(crate) fn curve(&self, cost: f64) -> Vec<Target> {
        let (own, null) = ((Mode::W2, Peer::MajordomoCurve), (Mode::W2, Peer::Majordomo));
        let per_core = |of: (Mode, Peer)| self.median(of.0, of.1, CPU);
        let proxy = per_core((Mode::W2, Peer::ZmqCurve));
        let ratio = proxy.zip(per_core(own)).map(|(proxy, own)| proxy / own);
        let boxes = boxes::PER_CALL as f64 * cost;
        let over = per_core(own).zip(per_core(null)).map(|(own, null)| (own - null) / boxes);
        vec![
            at_least("W2: calls per CPU second to those of zmq_proxy, floor", ratio, 1.2),
            at_least("W2: calls per CPU second to those of zmq_proxy, goal", ratio, 2.0),
            at_most("W2: CPU over that of NULL to that of its boxes", over, 1.15),
        ]
    }

    /// What flows have to reach.
    pub(crate) fn flows(&self) -> Vec<Target> {
        let own = Peer::Majordomo;
        let relay = |mode| self.ratio((mode, own), (mode, self.best_relay(mode)), RATE);
        // 50 times the 4,100 to 5,200 a second of ZIO's own broker.
        let times = self.median(Mode::Flow, own, RATE).map(|rate| rate / 4_500.0);
        let flat = self.ratio((Mode::Flows, own), (Mode::Flow, own), RATE);
        vec![
            at_least("Flow: rate to the relay's", relay(Mode::Flow), 0.5),
            at_least("Flow: rate to that of ZIO's own broker", times, 50.0),
            at_least("Tensors: octets to the relay's", relay(Mode::Tensors), 0.8),
            at_least("Flows: rate to the relay's", relay(Mode::Flows), 0.5),
            at_least("Flows: rate of 1,000 flows to that of one", flat, 0.5),
        ]
    }

    /// What the client library has to reach.
    pub(crate) fn library(&self) -> Vec<Target> {
        let (own, load) = ((Mode::W2, Peer::Library), (Mode::W2, Peer::MajordomoMjp));
        vec![at_least(
            "W2: rate of the library to that of the load generator",
            self.ratio(own, load, RATE),
            0.5,
        )]
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "mode     peer               calls/s  p50 us    p99 us  p99.9 us  CPU us  client  x relay  x zmq  x nats"
        )?;
        let mut rows: Vec<(Mode, Peer)> =
            self.samples.iter().map(|sample| (sample.mode, sample.peer)).collect();
        rows.sort_unstable();
        rows.dedup();
        for (mode, peer) in rows {
            let figure = |figure: Figure| self.median(mode, peer, figure).unwrap_or_default();
            write!(
                f,
                "{:7}  {:16} {:9.0} {:7.1} {:9.1} {:9.1} {:7.2} {:7.2}",
                format!("{mode:?}"),
                peer.name(),
                figure(RATE),
                figure(P50),
                figure(|sample| sample.p99),
                figure(|sample| sample.p999),
                figure(CPU),
                figure(CLIENT_CPU)
            )?;
            for (other, width) in [(self.best_relay(mode), 9), (Peer::Zmq, 7), (Peer::Nats, 8)] {
                match self.ratio((mode, peer), (mode, other), RATE) {
                    Some(ratio) => write!(f, "{ratio:width$.2}")?,
                    None => write!(f, "{:>width$}", "-")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
