//! The leader looks after the health of its service (SPEC 17.6): it looks at the queue, hears whose
//! messages fail, and says and does what [`Health`] and [`Callers`] decide.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::builder::LEASE_PREFIX;
use super::client::{Caller, LineNow};
use super::instance::{Control, Properties};
use super::queues::Line;
use super::serve::Shop;
use crate::proto::container::{
    CallerSettings, Callers, Figures, Health, HealthSettings, Signal, Status, Tally,
};

/// The property in which the leader says how many instances are wanted.
const WANTED: &str = "wanted";
/// The property in which it says its figures.
const FIGURES: &str = "health";
/// How often it says them while nothing else happens.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// What other instances have told and was not yet looked at.
const TALLIES_MAX: usize = 64;
/// Hooks that run at a time; a signal that comes then has none.
const HOOKS_MAX: usize = 16;
/// How long an event may take to be published.
const EVENT_MAX: Duration = Duration::from_secs(5);

/// What is done about a signal, beside what is said.
pub(super) type Hook =
    Arc<dyn Fn(Signal, Figures) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// How a service is looked after.
#[derive(Clone, Default)]
pub(super) struct Care {
    pub(super) settings: HealthSettings,
    pub(super) callers: Option<CallerSettings>,
    pub(super) hook: Option<Hook>,
}

/// What is published of a signal.
#[derive(Serialize)]
struct Told<'a> {
    service: &'a str,
    /// The instance that leads, and its epoch.
    instance: &'a str,
    epoch: Option<u64>,
    #[serde(flatten)]
    signal: &'a Signal,
    figures: &'a Figures,
}

/// Looks after the health of a service while its instance leads, and tells the leader otherwise.
pub(super) struct Doctor {
    pub(super) care: Care,
    pub(super) instance: String,
    pub(super) shop: Arc<Shop>,
    pub(super) status: watch::Receiver<Status>,
    pub(super) properties: watch::Receiver<Properties>,
    pub(super) line: watch::Receiver<LineNow>,
    pub(super) control: mpsc::Sender<Control>,
    pub(super) caller: Caller,
    pub(super) figures: watch::Sender<Option<Figures>>,
    /// When the leader was told last.
    pub(super) told_at: Instant,
}

/// What a leader knows, from when it began to lead.
struct Term {
    epoch: Option<u64>,
    health: Health,
    callers: Option<Callers>,
    said: Option<(Instant, Figures)>,
}

impl Doctor {
    pub(super) async fn run(mut self) {
        let (tallies_to, mut tallies) = mpsc::channel(TALLIES_MAX);
        let mut ticks = interval(self.care.settings.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut term, mut hooks) = (None, JoinSet::new());
        // It has seen none of the lines yet.
        self.line.mark_changed();
        loop {
            tokio::select! {
                changed = self.line.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.hear(&tallies_to).await;
                }
                Some(tally) = tallies.recv() => {
                    if let Some(term) = &mut term {
                        self.judge(term, tally, &mut hooks).await;
                    }
                }
                _ = ticks.tick() => self.look(&mut term, &mut hooks).await,
                Some(_) = hooks.join_next() => {}
            }
        }
    }

    /// The line of the moment.
    fn line(&self) -> Option<Arc<dyn Line>> {
        self.line.borrow().as_ref().ok().cloned()
    }

    /// Other instances are heard over each new line.
    async fn hear(&mut self, to: &mpsc::Sender<Tally>) {
        let line = self.line.borrow_and_update().as_ref().ok().cloned();
        if let (Some(line), Some(_)) = (line, &self.care.callers)
            && let Err(why) = line.hear(to.clone()).await
        {
            warn!(why, "what other instances tell of their callers is not heard");
        }
    }

    async fn look(&mut self, place: &mut Option<Term>, hooks: &mut JoinSet<()>) {
        let status = self.status.borrow().clone();
        if !status.leading || !status.state.is_running() {
            *place = None;
            self.show(None);
            self.tell(status.leader.as_deref()).await;
            return;
        }
        let Some(line) = self.line() else { return };
        if place.as_ref().is_none_or(|term| term.epoch != status.epoch) {
            *place = Some(self.begin(status.epoch));
        }
        let Some(term) = place else { return };
        let own = self.tally();
        self.judge(term, own, hooks).await;
        if let Some(mark) = self.property("hw_mark") {
            term.health.set_hw_mark(mark);
        }
        match line.measure().await {
            Ok(reading) => {
                let signals = term.health.look(Instant::now().into_std(), reading);
                self.show(Some(term.health.figures()));
                for signal in signals {
                    self.carry_out(term, signal, hooks).await;
                }
                self.say_figures(term).await;
            }
            Err(why) => warn!(why, service = self.shop.service, "the queue cannot be looked at"),
        }
    }

    /// Shows figures, if they are others than before.
    fn show(&self, figures: Option<&Figures>) {
        self.figures.send_if_modified(|shown| {
            let other = shown.as_ref() != figures;
            if other {
                *shown = figures.cloned();
            }
            other
        });
    }

    fn begin(&self, epoch: Option<u64>) -> Term {
        let Care { settings, callers, hook: _ } = self.care.clone();
        let now = Instant::now().into_std();
        let callers = callers.map(|callers| Callers::new(now, callers, settings.window));
        let health = Health::new(settings, self.property(WANTED));
        Term { epoch, health, callers, said: None }
    }

    /// A property that is a number.
    fn property(&self, name: &str) -> Option<u64> {
        self.properties.borrow().get(name).and_then(|it| it.parse().ok())
    }

    /// What this instance has dealt with since it was asked last.
    fn tally(&self) -> Tally {
        let tally = self.shop.tally.as_ref();
        let tally = tally.map(|it| it.lock().unwrap_or_else(PoisonError::into_inner));
        tally.map(|mut it| std::mem::take(&mut *it)).unwrap_or_default()
    }

    /// Tells the leader, if there is something bad to tell; what is good is kept for as long as
    /// the leader would count it.
    async fn tell(&mut self, leader: Option<&str>) {
        let Some(tally) = &self.shop.tally else { return };
        let bad = tally.lock().unwrap_or_else(PoisonError::into_inner).is_bad();
        if !bad && self.told_at.elapsed() < self.care.settings.window {
            return;
        }
        self.told_at = Instant::now();
        let (tally, line) = (self.tally(), self.line());
        if let (true, Some(line), Some(leader)) = (bad, line, leader)
            && let Err(why) = line.tell(leader, &tally).await
        {
            warn!(why, leader, "the leader is not told whose messages have failed");
        }
    }

    async fn judge(&self, term: &mut Term, tally: Tally, hooks: &mut JoinSet<()>) {
        let Some(callers) = &mut term.callers else { return };
        for signal in callers.hear(Instant::now().into_std(), tally) {
            self.carry_out(term, signal, hooks).await;
        }
    }

    /// Says it to all instances, publishes it, and does what is to be done about it.
    async fn carry_out(&self, term: &mut Term, signal: Signal, hooks: &mut JoinSet<()>) {
        let (service, figures) = (&*self.shop.service, term.health.figures().clone());
        // To look at the queue takes time, and so does each of these: another one may lead by now.
        if !self.leads(term).await {
            return;
        }
        self.shop.counters.signalled(&signal);
        match &signal {
            Signal::ScaleUp { wanted } | Signal::ScaleDown { wanted } => {
                info!(service, wanted, instances = figures.instances, "{}", signal.name());
                self.put(WANTED, wanted.to_string()).await;
            }
            Signal::DeadLetters { dead, grown } => {
                warn!(service, dead, grown, "dead letters pile up");
            }
            Signal::EndCaller { caller, messages, failed } => {
                self.end_caller(caller, (*messages, *failed)).await;
            }
        }
        if !self.leads(term).await {
            return;
        }
        self.publish(term, &signal, &figures).await;
        let Some(hook) = &self.care.hook else { return };
        if !self.leads(term).await {
            return;
        }
        if hooks.len() < HOOKS_MAX {
            hooks.spawn(hook(signal, figures));
        } else {
            warn!(service, signal = signal.name(), "{HOOKS_MAX} hooks still run; there is none");
        }
    }

    /// Whether this instance leads at this moment, and has done so since the term began.
    async fn leads(&self, term: &Term) -> bool {
        let (done, leads) = oneshot::channel();
        let asked = self.control.send(Control::Leads { epoch: term.epoch, done }).await;
        asked.is_ok() && leads.await.unwrap_or(false)
    }

    async fn end_caller(&self, caller: &str, (messages, failed): (u64, u64)) {
        let service = &*self.shop.service;
        let Some(line) = self.line() else { return };
        let why = format!("{failed} of {messages} messages have failed");
        match line.end_caller(caller, &why).await {
            Ok(connections) => warn!(service, caller, connections, why, "a caller is ended"),
            Err(error) => warn!(service, caller, why, error, "a caller cannot be ended"),
        }
    }

    async fn publish(&self, term: &Term, signal: &Signal, figures: &Figures) {
        let (service, instance) = (&*self.shop.service, &*self.instance);
        let topic = format!("{LEASE_PREFIX}{service}.{}", signal.name());
        let told = Told { service, instance, epoch: term.epoch, signal, figures };
        let caller = self.caller.clone().with_timeout(EVENT_MAX);
        if let Err(error) = caller.publish_event(&topic, &told).await {
            warn!(%error, topic, "an event is not published");
        }
    }

    /// Says its figures, if they are others than before.
    async fn say_figures(&self, term: &mut Term) {
        let (now, figures) = (Instant::now(), term.health.figures());
        let known = term.said.as_ref().is_some_and(|(at, said)| {
            now.saturating_duration_since(*at) < SAY_EVERY || said == figures
        });
        if known {
            return;
        }
        if let Ok(text) = serde_json::to_string(figures) {
            term.said = Some((now, figures.clone()));
            self.put(FIGURES, text).await;
        }
    }

    /// Says something to all instances. One that leads no more is refused.
    async fn put(&self, name: &str, value: String) {
        let (done, outcome) = oneshot::channel();
        let put = Control::Put { name: name.into(), value, done };
        if self.control.send(put).await.is_ok()
            && let Ok(Err(error)) = outcome.await
        {
            warn!(%error, name, "it is not said");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::container::serve::tests::{Mute, shop};
    use crate::proto::container::{Machine, Reading, Settings, State};

    /// A leader that sees dead letters pile up, and leads as long as `leads` of its questions are
    /// answered: how many hooks it has run.
    async fn hooks_of(leads: u32) -> u32 {
        let (run, shop) = (Arc::new(AtomicU32::new(0)), Arc::new(shop()));
        let (control, mut controls) = mpsc::channel(1);
        let answers = tokio::spawn(async move {
            let mut left = leads;
            while let Some(asked) = controls.recv().await {
                if let Control::Leads { epoch: Some(7), done } = asked {
                    let _ = done.send(left > 0);
                    left = left.saturating_sub(1);
                }
            }
        });
        let counted = run.clone();
        let hook: Hook = Arc::new(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(async {})
        });
        let now = Instant::now();
        let status = Machine::new(now.into_std(), Settings::default(), 1).status();
        let (state, leading, epoch) = (State::RunningLeader, true, Some(7));
        let (_status, status) = watch::channel(Status { state, leading, epoch, ..status });
        let (_properties, properties) = watch::channel(Properties::new());
        let dead = |dead| Reading { dead: Some(dead), instances: 1, ..Reading::default() };
        let line: Arc<dyn Line> = Arc::new(Mute::measured([dead(0), dead(20)]));
        let (_line, line) = watch::channel(Ok(line));
        let mut doctor = Doctor {
            care: Care { hook: Some(hook), ..Care::default() },
            instance: "one".into(),
            shop,
            status,
            properties,
            caller: Caller::new(line.clone(), Arc::default()),
            line,
            control,
            figures: watch::Sender::new(None),
            told_at: now,
        };
        let (mut term, mut hooks) = (None, JoinSet::new());
        for _ in 0..2 {
            doctor.look(&mut term, &mut hooks).await;
        }
        answers.abort();
        run.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn one_that_leads_no_more_gives_no_signal_though_it_has_seen_reason_to() {
        assert_eq!(hooks_of(10).await, 1);
        for leads in 0..3 {
            assert_eq!(hooks_of(leads).await, 0, "it leads {leads} moments longer");
        }
    }
}
