//! Whether the values of a configuration can be accepted, alone and beside one another.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::key::Key;
use super::problem::{ConfigError, Origin, Problem};
use super::units::Text;
use super::{BrokerConfig, Memory, ServicePatch};
use crate::id::ServiceName;
use crate::proto::dead::Cause;
use crate::wire::mjp::Level;

pub(super) const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
const TIB: usize = KIB.saturating_pow(4);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = DAY.saturating_mul(365);
pub(super) const MONTH: Duration = DAY.saturating_mul(30);

impl BrokerConfig {
    /// Whether a broker can start with it.
    ///
    /// # Errors
    /// Every value that cannot be accepted, with the reason and what to do.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check { refusals: self.refusals() }.into_result()
    }

    pub(super) fn refusals(&self) -> Vec<Refusal> {
        let mut check = Check::default();
        self.check_listeners(&mut check);
        self.check_auth(&mut check);
        self.check_limits(&mut check);
        let mdp = |name| Key::new("mdp", name);
        check.text(mdp("heartbeat"), self.mdp.heartbeat, ms(10)..=ms(600_000));
        check.count(mdp("liveness"), self.mdp.liveness, 1..=100);
        let nfp = |name| Key::new("nfp", name);
        check.text(nfp("keepalive"), self.nfp.keepalive, ms(10)..=ms(600_000));
        check.count(nfp("multiplier"), self.nfp.multiplier, 1..=100);
        check.text(nfp("job_ttl"), self.nfp.job_ttl, ms(1000)..=MONTH);
        for old in self.nfp.old.iter().filter(|old| !self.broker.bind.contains(old)) {
            check.refuse(nfp("old"), format!("{old} is not one of broker.bind; bind it there too"));
        }
        self.check_flow(&mut check);
        let client = |name| Key::new("client", name);
        check.count(client("requests_max"), self.client.requests_max, 1..=10_000_000);
        check.count(client("services_max"), self.client.services_max, 1..=65_536);
        check.count(client("rate"), self.client.rate, 0..=1_000_000);
        check.count(client("burst"), self.client.burst, 1..=1_000_000);
        check.text(client("bytes_max"), self.client.bytes_max, KIB..=TIB);
        check.policy(|name| Key::new("service", name), &ServicePatch::from(&self.service));
        for (pattern, patch) in &self.services {
            check.pattern(pattern);
            check.policy(|name| Key::service(pattern, name), patch);
        }
        self.check_store(&mut check);
        if let Err(reason) = check_filter(&self.log.level) {
            check.refuse(Key::new("log", "level"), reason);
        }
        check.count(Key::new("log", "ring"), self.log.ring, 0..=1_000_000);
        check.text(Key::new("log", "ring_bytes"), self.log.ring_bytes, 64 * KIB..=GIB);
        check.refusals
    }

    fn check_store(&self, check: &mut Check) {
        if self.store.path.is_none() {
            let kept = |level: Option<Level>| level.is_some_and(|level| level != Level::Memory);
            let why = "a service of level disk needs a store; give store.path a directory";
            if kept(Some(self.service.level)) {
                check.refuse(Key::new("service", "level"), why.into());
            }
            for (pattern, _) in self.services.iter().filter(|(_, patch)| kept(patch.level)) {
                check.refuse(Key::service(pattern, "level"), why.into());
            }
        }
        let (key, store) = (|name| Key::new("store", name), &self.store);
        check.text(key("min_free"), store.min_free, MIB..=TIB);
        check.text(key("cache"), store.cache, MIB..=64 * GIB);
        check.count(key("requests"), store.requests, 1..=100_000_000);
        check.text(key("requests_bytes"), store.requests_bytes, MIB..=16 * TIB);
        check.text(key("requests_for"), store.requests_for, ms(1000)..=MONTH);
        check.count(key("outcomes"), store.outcomes, 1..=10_000_000);
        check.text(key("outcomes_bytes"), store.outcomes_bytes, MIB..=TIB);
        check.text(key("outcomes_for"), store.outcomes_for, ms(1000)..=MONTH);
        check.count(key("titanic_requests"), store.titanic_requests, 1..=10_000_000);
        check.text(key("titanic_bytes"), store.titanic_bytes, MIB..=TIB);
        check.text(key("titanic_window"), store.titanic_window, 0..=TIB);
        check.text(key("titanic_ttl"), store.titanic_ttl, ms(1000)..=MONTH);
    }

    fn check_listeners(&self, check: &mut Check) {
        let key = |name| Key::new("broker", name);
        let broker = &self.broker;
        check.count(key("threads"), broker.threads, 1..=256);
        check.text(key("drain"), broker.drain, Duration::ZERO..=ms(3_600_000));
        let count = broker.bind.len();
        if !(1..=64).contains(&count) {
            check.refuse(key("bind"), format!("{count} endpoints; give it 1 to 64"));
        }
        for (index, endpoint) in broker.bind.iter().enumerate() {
            let twice = broker.bind.iter().take(index).any(|other| other == endpoint);
            if twice && endpoint.port() != Some(0) {
                check.refuse(key("bind"), format!("{endpoint} stands there twice; remove one"));
            }
        }
        if let Some(http) = broker.http.filter(|http| !http.ip().to_canonical().is_loopback())
            && !broker.insecure
        {
            check.refuse(key("http"), open(&http, "127.0.0.1:9464"));
        }
    }

    fn check_limits(&self, check: &mut Check) {
        let handshake = |name| Key::new("handshake", name);
        let unfinished = self.handshake.unfinished_max;
        check.text(handshake("timeout"), self.handshake.timeout, ms(100)..=ms(60_000));
        check.count(handshake("unfinished_max"), unfinished, 1..=65_536);
        let per_address = self.handshake.unfinished_per_address_max;
        check.count(handshake("unfinished_per_address_max"), per_address, 1..=65_536);
        check.text(handshake("silence"), self.handshake.silence, ms(100)..=ms(60_000));
        check.count(handshake("connects"), self.handshake.connects, 1..=1_000_000);
        let per_address = self.handshake.connects_per_address;
        check.count(handshake("connects_per_address"), per_address, 1..=1_000_000);
        check.count(handshake("hellos"), self.handshake.hellos, 1..=1_000_000);
        let per_address = self.handshake.hellos_per_address;
        check.count(handshake("hellos_per_address"), per_address, 1..=1_000_000);
        check.count(handshake("curve_queue"), self.handshake.curve_queue, 1..=65_536);
        let (command, metadata) = (self.handshake.command, self.handshake.metadata);
        check.text(handshake("command"), command, KIB..=4 * KIB);
        check.text(handshake("metadata"), metadata, 128..=2 * KIB);
        // INITIATE of CURVE has 257 octets besides.
        check.at_most_half(("handshake", "metadata"), metadata, ("handshake", "command"), command);
        self.lease.check(check);
        self.group.check(check);
        let key = |name| Key::new("limits", name);
        let limits = &self.limits;
        check.text(key("frame"), limits.frame, KIB..=GIB);
        check.text(key("message"), limits.message, KIB..=2 * GIB);
        check.count(key("frames"), limits.frames, 8..=65_536);
        check.text(key("command"), limits.command, 512..=64 * KIB);
        check.text(key("mjp_header"), limits.mjp_header, KIB..=16 * KIB);
        check.count(key("credit"), limits.credit, 1..=65_535);
        check.count(key("asks"), limits.asks, 1..=1024);
        check.count(key("stored_in_memory"), limits.stored_in_memory, 1..=1_000_000);
        check.text(key("outbox"), limits.outbox, 64 * KIB..=GIB);
        check.count(key("connections"), limits.connections, 1..=1_000_000);
        check.count(key("services"), limits.services, 1..=10_000_000);
        check.count(key("jobs"), limits.jobs, 1..=10_000_000);
        check.count(key("jobs_per_client"), limits.jobs_per_client, 1..=10_000_000);
        check.count(key("job_targets"), limits.job_targets, 1..=1_000_000);
        check.text(key("jobs_ended"), limits.jobs_ended, 64 * KIB..=TIB);
        check.count(key("subscriptions"), limits.subscriptions, 1..=10_000_000);
        check.count(key("subscriptions_per_peer"), limits.subscriptions_per_peer, 1..=10_000_000);
        check.text(key("subscriber_outbox"), limits.subscriber_outbox, 4 * KIB..=GIB);
        check.count(key("fan_out"), limits.fan_out, 1..=1_000_000);
        check.count(key("keys"), limits.keys, 1..=10_000_000);
        check.count(key("keys_per_principal"), limits.keys_per_principal, 0..=10_000_000);
        check.text(key("keys_bytes"), limits.keys_bytes, 64 * KIB..=TIB);
        check.text(key("key_ttl"), limits.key_ttl, ms(1000)..=MONTH);
        check.count(key("key_callers"), limits.key_callers, 1..=10_000);
        check.count(key("dead_letters"), limits.dead_letters, 0..=10_000_000);
        check.text(key("dead_letters_bytes"), limits.dead_letters_bytes, 64 * KIB..=TIB);
        check.text(key("spares"), limits.spares, 0..=GIB);
        if let Memory::Bytes(octets) = limits.memory {
            check.text(key("memory"), octets, 16 * MIB..=TIB);
            // New work is taken up to 85 %: the largest message must fit in beside others.
            check.at_most_half(("limits", "message"), limits.message, ("limits", "memory"), octets);
        }
        check.at_most(("limits", "frame"), limits.frame, ("limits", "message"), limits.message);
    }
}

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn open(address: &dyn Display, instead: &str) -> String {
    format!(
        "{address} can be reached from other machines and nobody is authenticated; bind \
         {instead}, give the broker a key (auth.secret, --curve-secret), or say broker.insecure = true (--insecure) if you trust the whole network"
    )
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// `level` or `target=level`, separated by commas. Without this check a mistyped level would be
/// taken as the name of a target and the log would fall silent.
fn check_filter(filter: &str) -> Result<(), String> {
    for directive in filter.split(',') {
        let level = directive.split_once('=').map_or(directive, |(_, level)| level).trim();
        if !LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known)) {
            return Err(format!(
                "`{level}` is no level; write one of {}, or such as info,majordomo::wire=trace",
                LEVELS.join(", ")
            ));
        }
    }
    Ok(())
}

/// A value that was refused, alone or beside another one.
pub(super) struct Refusal {
    key: Key,
    other: Option<Key>,
    reason: String,
}

impl Refusal {
    /// The problem, at the first of its keys that somebody set.
    pub(super) fn blame(self, origin: impl Fn(&Key) -> Option<Origin>) -> Problem {
        let Self { key, other, reason } = self;
        let keys = [Some(&key), other.as_ref()];
        let set = keys.into_iter().flatten().find_map(|key| Some((origin(key)?, key.clone())));
        let (at, key) = set.unwrap_or((Origin::Default, key));
        Problem::Refused { at, key, reason }
    }
}

#[derive(Default)]
pub(super) struct Check {
    refusals: Vec<Refusal>,
}

impl Check {
    /// What was refused, where nobody knows who set it.
    pub(super) fn into_result(self) -> Result<(), ConfigError> {
        let problems: Vec<_> = self.refusals.into_iter().map(|it| it.blame(|_| None)).collect();
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }

    pub(super) fn refuse(&mut self, key: Key, reason: String) {
        self.refusals.push(Refusal { key, other: None, reason });
    }

    pub(super) fn count<T: PartialOrd + Display>(
        &mut self,
        key: Key,
        value: T,
        range: RangeInclusive<T>,
    ) {
        if !range.contains(&value) {
            let (from, to) = range.into_inner();
            self.refuse(key, format!("{value} is out of range; write {from} to {to}"));
        }
    }

    pub(super) fn text<T: PartialOrd + Text>(
        &mut self,
        key: Key,
        value: T,
        range: RangeInclusive<T>,
    ) {
        if !range.contains(&value) {
            let (from, to) = (range.start().write(), range.end().write());
            let value = value.write();
            self.refuse(key, format!("{value} is out of range; write {from} to {to}"));
        }
    }

    fn at_most(&mut self, low: (&str, &str), value: usize, high: (&str, &str), max: usize) {
        if value > max {
            let (key, other) = (Key::new(low.0, low.1), Key::new(high.0, high.1));
            let (value, max) = (value.write(), max.write());
            let reason = format!("{key} = {value} is more than {other} = {max}; change one");
            self.refusals.push(Refusal { key, other: Some(other), reason });
        }
    }

    fn at_most_half(&mut self, low: (&str, &str), value: usize, high: (&str, &str), max: usize) {
        if value > max / 2 {
            let (key, other) = (Key::new(low.0, low.1), Key::new(high.0, high.1));
            let (value, max) = (value.write(), max.write());
            let reason =
                format!("{key} = {value} is more than half of {other} = {max}; change one");
            self.refusals.push(Refusal { key, other: Some(other), reason });
        }
    }

    fn pattern(&mut self, pattern: &str) {
        let key = Key::service(pattern, "");
        let name = pattern.strip_suffix('*').unwrap_or(pattern);
        if name.contains('*') {
            let reason = "`*` may only stand at the end; write a name or such as \"billing.*\"";
            self.refuse(key, reason.into());
        } else if let Err(error) = ServiceName::try_from(pattern.as_bytes()) {
            self.refuse(key, error.to_string());
        }
    }

    fn policy(&mut self, key: impl Fn(&str) -> Key, patch: &ServicePatch) {
        if let Some(prefetch) = patch.prefetch {
            self.count(key("prefetch"), prefetch, 1..=65_535);
        }
        if let Some(attempts) = patch.attempts {
            self.count(key("attempts"), attempts, 1..=100);
        }
        if let Some(messages) = patch.queue_messages_max {
            self.count(key("queue_messages_max"), messages, 1..=100_000_000);
        }
        if let Some(octets) = patch.queue_bytes_max {
            self.text(key("queue_bytes_max"), octets, KIB..=TIB);
        }
        if let Some(busy) = patch.busy_timeout.flatten() {
            self.text(key("busy_timeout"), busy, ms(10)..=MONTH);
        }
        if let Some(wait) = patch.unserved_ttl.flatten() {
            self.text(key("unserved_ttl"), wait, ms(10)..=MONTH);
        }
        self.retries(&key, patch);
        self.dead(&key, patch);
    }

    fn retries(&mut self, key: impl Fn(&str) -> Key, patch: &ServicePatch) {
        if let Some(base) = patch.backoff {
            self.text(key("backoff"), base, ms(1)..=DAY);
        }
        if let Some(factor) = patch.backoff_factor {
            self.count(key("backoff_factor"), factor, 1..=100);
        }
        if let Some(max) = patch.backoff_max {
            self.text(key("backoff_max"), max, ms(1)..=MONTH);
        }
        if let Some(jitter) = patch.backoff_jitter {
            self.count(key("backoff_jitter"), jitter, 0..=100);
        }
        if let Some(ttl) = patch.ttl.flatten() {
            self.text(key("ttl"), ttl, ms(10)..=MONTH);
        }
    }

    fn dead(&mut self, key: impl Fn(&str) -> Key, patch: &ServicePatch) {
        for cause in patch.dead_letters.iter().flatten() {
            if Cause::from_name(cause).is_none() {
                let all = Cause::ALL.map(Cause::as_str).join(", ");
                let reason = format!("`{cause}` is no end of a request; write one of {all}");
                self.refuse(key("dead_letters"), reason);
            }
        }
        if let Some(letters) = patch.dead_letters_max {
            self.count(key("dead_letters_max"), letters, 1..=10_000_000);
        }
        if let Some(kept) = patch.dead_letters_ttl.flatten() {
            self.text(key("dead_letters_ttl"), kept, ms(1000)..=YEAR);
        }
        if let Some(queue) = patch.dead_letters_queue.as_ref().filter(|queue| !queue.is_empty())
            && let Err(error) = ServiceName::try_from(queue.as_bytes())
        {
            self.refuse(key("dead_letters_queue"), error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DEFAULT_TOML, Sources};
    use super::*;

    /// The keys of `default.toml`: section, name, default, and the sentences above it.
    fn documented() -> Vec<(String, String, String, String)> {
        let (mut section, mut words, mut keys) = (String::new(), String::new(), Vec::new());
        for line in DEFAULT_TOML.lines() {
            if let Some(title) = line.strip_prefix('[') {
                section = title.trim_end_matches(']').into();
            } else if let Some(text) = line.strip_prefix("# ") {
                words = words + text + " ";
                continue;
            } else if let Some((name, value)) =
                line.strip_prefix('#').unwrap_or("").split_once(" = ")
            {
                keys.push((section.clone(), name.into(), value.into(), words.trim().into()));
            }
            words.clear();
        }
        keys
    }

    #[test]
    fn default_toml_names_every_key_and_its_default_and_nothing_else() {
        let mut uncommented = String::new();
        let mut before = String::new();
        for (section, name, value, words) in documented() {
            assert!(words.ends_with('.'), "{section}.{name} is not explained: {words}");
            if section != before {
                uncommented += &format!("[{section}]\n");
                before = section;
            }
            uncommented += &format!("{name} = {value}\n");
        }
        let documented: toml::Table = uncommented.parse().unwrap();
        let mut defaults = toml::Table::try_from(BrokerConfig::default()).unwrap();
        defaults.remove("services");
        assert_eq!(documented, defaults);
        assert_eq!(toml::from_str::<BrokerConfig>(DEFAULT_TOML).unwrap(), BrokerConfig::default());
    }

    fn accepted(key: &str, value: &str) -> Result<(), ConfigError> {
        // The neighbours that a value must not pass are moved out of its way.
        let roomy = [("limits.frame", "1KiB"), ("limits.message", "2GiB")];
        let tight = [("limits.frame", "1KiB"), ("limits.message", "1KiB")];
        let around = if key == "limits.frame" { roomy } else { tight };
        let set = around.into_iter().chain([(key, value)]);
        let set = set.map(|(key, value)| (key.into(), value.into())).collect();
        let file = Some("/dev/null".into());
        Sources { set, file, ..Sources::default() }.load().map(drop)
    }

    #[test]
    fn the_ranges_in_default_toml_are_the_ranges_that_are_enforced() {
        let mut ranges = 0;
        for (section, name, _, words) in documented() {
            let key = format!("{section}.{name}");
            let sentence = words.trim_end_matches('.').rsplit(". ").next().unwrap();
            let Some((kind, range)) = sentence.split_once(", ") else { continue };
            let Some((low, high)) = range.split_once(" to ") else { continue };
            let beyond = |value: &str, step: i128| match kind {
                "Count" => (value.parse::<i128>().unwrap() + step).to_string(),
                "Size" => format!("{}B", usize::read(value).unwrap() as i128 + step),
                "Duration" => {
                    let nanos = Duration::read(value).unwrap().as_nanos();
                    format!("{}ns", i128::try_from(nanos).unwrap() + step)
                }
                other => panic!("{key}: {other}"),
            };
            for value in [low, high] {
                assert_eq!(accepted(&key, value), Ok(()), "{key} = {value}");
            }
            for value in [beyond(low, -1), beyond(high, 1)] {
                let error = accepted(&key, &value).unwrap_err().to_string();
                assert!(error.contains(&key), "{key} = {value}: {error}");
            }
            ranges += 1;
        }
        assert_eq!(ranges, 109, "a range is no longer written as the test reads it");
    }

    #[test]
    fn a_mistyped_level_is_refused_instead_of_silencing_the_log() {
        for good in ["info", "off", "info,majordomo::wire=trace", "warn, majordomo=DEBUG"] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for bad in ["", "inof", "majordomo", "majordomo=verbose", "info,,warn"] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
    }
}
