//! `[flow]`: flows of ZIO (SPEC 13).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{Check, KIB, MONTH, ms};
use super::key::Key;
use super::units::Text;
use super::{BrokerConfig, units};
use crate::id::ServiceName;
use crate::proto::flow::{FlowRule, FlowSettings, Target};
use crate::transport::endpoint::Endpoint;
use crate::wire::zio::Direction;

/// Rules that there may be; they are tried one by one.
const RULES_MAX: usize = 1024;

/// `[flow]`: flows of ZIO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowSection {
    /// Where the external factory listens, `tcp://HOST:PORT` or `ipc:///PATH`. Default off.
    #[serde(with = "units::text")]
    pub factory: Option<Endpoint>,
    /// Who handles a flow; the first rule that matches holds. Default none.
    pub rules: Vec<FlowRuleSection>,
    /// Who handles it where no rule matches: a flow service, `factory` or `refuse`. Default auto:
    /// the factory if there is an external one, or else nobody.
    #[serde(with = "units::text")]
    pub otherwise: Otherwise,
    /// Flow services that the broker offers itself, by their names. Default none.
    pub handlers: BTreeMap<String, FlowHandler>,
    /// Endpoints of `broker.bind` where nothing but flows is spoken. Default none.
    #[serde(with = "units::texts")]
    pub only: Vec<Endpoint>,
    /// How long the factory may think about one flow, 10 ms to 1 h. Default 10 s.
    #[serde(with = "units::text")]
    pub decision_timeout: Duration,
    /// How long a client waits for a free handler, and then for that one to come, 10 ms to 1 d.
    /// Default 30 s.
    #[serde(with = "units::text")]
    pub handler_timeout: Duration,
    /// How long an end may be silent before it answers an EOT, 10 ms to 1 d. Default 1 min.
    #[serde(with = "units::text")]
    pub end_timeout: Duration,
    /// Time without traffic after which a flow is said to be idle, 10 ms to 30 d. Default 1 min.
    #[serde(with = "units::text")]
    pub idle_after: Option<Duration>,
    /// What waits for one end when the other one is not read any more, 1 KiB to 1 GiB; an end for
    /// which nothing waits takes any one message. Default 4 MiB.
    #[serde(with = "units::text")]
    pub queue: usize,
    /// A client's BOT, kept while it waits, 1 KiB to 512 KiB. Default 64 KiB.
    #[serde(with = "units::text")]
    pub bot: usize,
    /// Clients that wait for a handler, 1 to 65,536. Default 1,024.
    pub waiting: usize,
    /// Ends of flows that are connected, 1 to 1,000,000. Default 65,536.
    pub ends: usize,
    /// Offers of flow services, 1 to 65,536. Default 4,096.
    pub offers: usize,
    /// Ends within one connection of MJP, 1 to 65,536. Default 1,024.
    pub lanes: usize,
    /// What may be under way to all takers within one connection of MJP, by the credit that they
    /// have agreed on, 64 KiB to 1 GiB, and never more than half of `limits.outbox`. Default 32 MiB.
    #[serde(with = "units::text")]
    pub lane_bytes: usize,
    /// An end that gives or pays more than the credit allows has its flow ended. Default true.
    pub check_credit: bool,
}

impl Default for FlowSection {
    fn default() -> Self {
        let settings = FlowSettings::default();
        Self {
            factory: None,
            rules: Vec::new(),
            otherwise: Otherwise::default(),
            handlers: BTreeMap::new(),
            only: Vec::new(),
            decision_timeout: settings.decision_timeout,
            handler_timeout: settings.handler_timeout,
            end_timeout: settings.end_timeout,
            idle_after: settings.idle_after,
            queue: settings.queue_bytes_max,
            bot: settings.bot_bytes_max,
            waiting: settings.waiting_max,
            ends: settings.ends_max,
            offers: settings.handlers_max,
            lanes: settings.lanes_max,
            lane_bytes: 32 << 20,
            check_credit: settings.check_credit,
        }
    }
}

/// What a BOT has to say, and who handles its flow then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowRuleSection {
    /// What the client does, `extract` (it gives) or `inject` (it takes). Default either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<FlowDirection>,
    /// Attributes of the label, each with a glob over its whole value. Default none.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// A flow service, `factory` or `refuse`.
    #[serde(with = "units::text")]
    pub to: Target,
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowDirection {
    /// It gives.
    Extract,
    /// It takes.
    Inject,
}

/// Who handles a flow that no rule matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// The external factory, if there is one.
    #[default]
    Auto,
    /// That one.
    Is(Target),
}

/// A flow service that the broker offers itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowHandler {
    /// What becomes of what is given, and where what is taken comes from.
    pub kind: HandlerKind,
    /// Flows at a time, 1 to 4,096. Default 64.
    #[serde(default = "flows")]
    pub flows: u32,
    /// The largest credit of a flow, messages, 1 to 65,535. Default 100.
    #[serde(default = "credit")]
    pub credit: u32,
    /// `file`: the folder below which all its files are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// `file`: the name below that, a template over the attributes of the label. Default
    /// `{{ file }}`.
    #[serde(default = "name")]
    pub name: String,
    /// `service`: who is called with the payload of each DAT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

fn flows() -> u32 {
    64
}

fn credit() -> u32 {
    100
}

fn name() -> String {
    "{{ file }}".into()
}

/// What a flow service of the broker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandlerKind {
    /// Takes what is given, and forgets it.
    Dump,
    /// Writes what is given to a file, and gives what is in one.
    File,
    /// Calls a service with what is given.
    Service,
}

impl Text for Target {
    const LIKE: &'static str = "the name of a flow service, \"factory\" or \"refuse\"";

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "factory" => Ok(Self::Factory),
            "refuse" => Ok(Self::Refuse),
            name => match ServiceName::try_from(name.as_bytes()) {
                Ok(name) => Ok(Self::Service(name)),
                Err(error) => Err(format!("{error}; write {}", Self::LIKE)),
            },
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Factory => "factory".into(),
            Self::Refuse => "refuse".into(),
            Self::Service(name) => name.to_string(),
        }
    }
}

impl Text for Otherwise {
    const LIKE: &'static str = "\"auto\", the name of a flow service, \"factory\" or \"refuse\"";

    fn read(text: &str) -> Result<Self, String> {
        if text == "auto" { Ok(Self::Auto) } else { Target::read(text).map(Self::Is) }
    }

    fn write(&self) -> String {
        match self {
            Self::Auto => "auto".into(),
            Self::Is(target) => target.write(),
        }
    }
}

/// "off" is `None`.
impl Text for Option<Endpoint> {
    const LIKE: &'static str = "\"tcp://127.0.0.1:5600\" or \"off\"";

    fn read(text: &str) -> Result<Self, String> {
        if text == "off" { Ok(None) } else { Endpoint::read(text).map(Some) }
    }

    fn write(&self) -> String {
        self.as_ref().map_or_else(|| "off".into(), Text::write)
    }
}

impl FlowSection {
    /// What the core is told.
    pub(super) fn settings(&self, outbox: usize) -> FlowSettings {
        // Answers have a place in the outbox, too.
        let lane_bytes = self.lane_bytes.min(outbox / 2);
        FlowSettings {
            rules: self.rules.iter().map(FlowRuleSection::rule).collect(),
            otherwise: match &self.otherwise {
                Otherwise::Is(target) => target.clone(),
                Otherwise::Auto if self.factory.is_some() => Target::Factory,
                Otherwise::Auto => Target::Refuse,
            },
            decision_timeout: self.decision_timeout,
            handler_timeout: self.handler_timeout,
            end_timeout: self.end_timeout,
            idle_after: self.idle_after,
            queue_bytes_max: self.queue,
            bot_bytes_max: self.bot,
            waiting_max: self.waiting,
            ends_max: self.ends,
            handlers_max: self.offers,
            lanes_max: self.lanes,
            lane_bytes_max: u64::try_from(lane_bytes).unwrap_or(u64::MAX),
            outbox_bytes_max: outbox,
            check_credit: self.check_credit,
        }
    }
}

impl FlowRuleSection {
    fn rule(&self) -> FlowRule {
        let direction = self.direction.map(|direction| match direction {
            FlowDirection::Extract => Direction::Extract,
            FlowDirection::Inject => Direction::Inject,
        });
        let attributes = self.attributes.clone().into_iter().collect();
        FlowRule { direction, attributes, target: self.to.clone() }
    }
}

impl BrokerConfig {
    pub(super) fn check_flow(&self, check: &mut Check) {
        let key = |name| Key::new("flow", name);
        let flow = &self.flow;
        let (hour, day) = (ms(3_600_000), ms(86_400_000));
        check.text(key("decision_timeout"), flow.decision_timeout, ms(10)..=hour);
        check.text(key("handler_timeout"), flow.handler_timeout, ms(10)..=day);
        check.text(key("end_timeout"), flow.end_timeout, ms(10)..=day);
        if let Some(idle) = flow.idle_after {
            check.text(key("idle_after"), idle, ms(10)..=MONTH);
        }
        check.text(key("queue"), flow.queue, KIB..=1024 * 1024 * KIB);
        check.text(key("bot"), flow.bot, KIB..=512 * KIB);
        check.count(key("waiting"), flow.waiting, 1..=65_536);
        check.count(key("ends"), flow.ends, 1..=1_000_000);
        check.count(key("offers"), flow.offers, 1..=65_536);
        check.count(key("lanes"), flow.lanes, 1..=65_536);
        check.text(key("lane_bytes"), flow.lane_bytes, 64 * KIB..=1024 * 1024 * KIB);
        let rules = flow.rules.len();
        if rules > RULES_MAX {
            check.refuse(key("rules"), format!("{rules} rules; write {RULES_MAX} at most"));
        }
        for only in flow.only.iter().filter(|only| !self.broker.bind.contains(only)) {
            let reason = format!("{only} is not one of broker.bind; bind it there too");
            check.refuse(key("only"), reason);
        }
        if let Some(factory) = &flow.factory
            && (matches!(factory, Endpoint::TcpAny(_)) || factory.port() == Some(0))
        {
            let reason = format!("{factory} cannot be dialled; write tcp://127.0.0.1:5600");
            check.refuse(key("factory"), reason);
        }
        for (name, handler) in &flow.handlers {
            if let Err(reason) = handler.check(name) {
                check.refuse(key("handlers"), format!("`{name}`: {reason}"));
            }
        }
    }
}

impl FlowHandler {
    fn check(&self, name: &str) -> Result<(), String> {
        ServiceName::try_from(name.as_bytes()).map_err(|error| error.to_string())?;
        if matches!(name, "factory" | "refuse" | "auto") {
            return Err("the word has another meaning; choose another name".into());
        }
        let range = |what: &str, value, max| {
            let within = (1..=max).contains(&value);
            within.then_some(()).ok_or_else(|| format!("{what} = {value}; write 1 to {max}"))
        };
        range("flows", self.flows, 4096)?;
        range("credit", self.credit, 65_535)?;
        match self.kind {
            HandlerKind::Dump => Ok(()),
            HandlerKind::File if self.folder.is_none() => {
                Err("a handler of kind \"file\" needs a folder; write folder = \"/path\"".into())
            }
            HandlerKind::File => {
                let parsed = minijinja::Environment::new().template_from_str(&self.name).map(drop);
                parsed.map_err(|error| format!("its name is no template: {error}"))
            }
            HandlerKind::Service => {
                let service = self.service.as_deref().unwrap_or_default();
                let checked = ServiceName::try_from(service.as_bytes());
                checked.map(drop).map_err(|error| {
                    format!("a handler of kind \"service\" needs a service to call: {error}")
                })
            }
        }
    }
}
