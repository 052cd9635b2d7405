//! How things are called on the servers.

use serde::{Deserialize, Serialize};

/// Exchanges and queues of one virtual host, by NuroPb's names unless somebody says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// Where requests and commands go: direct, durable.
    pub rpc_exchange: String,
    /// Where events go: topic, durable.
    pub events_exchange: String,
    /// Where what is rejected or has expired goes: fanout, durable.
    pub dl_exchange: String,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            rpc_exchange: "nuropb-rpc-exchange".into(),
            events_exchange: "nuropb-events-exchange".into(),
            dl_exchange: "nuropb-dl-exchange".into(),
        }
    }
}

impl Topology {
    /// The queue that all instances of a service share: durable, its dead letters go to
    /// [`Topology::dl_exchange`].
    #[must_use]
    pub fn service_queue(service: &str) -> String {
        format!("nuropb-{service}-sq")
    }

    /// Where the dead letters of a virtual host are kept for a service: not durable, and bound to
    /// the dead letter exchange.
    #[must_use]
    pub fn dl_queue(service: &str) -> String {
        format!("nuropb-{service}-dl")
    }

    /// Where answers come for one instance: not durable, gone with its consumer.
    #[must_use]
    pub fn response_queue(service: &str, instance: &str) -> String {
        format!("nuropb-{service}-{instance}-rq")
    }

    /// What a client without a service is called.
    #[must_use]
    pub fn client_name(vhost: &str) -> String {
        format!("{vhost}-client")
    }
}

/// Keys of a service in the coordination store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyNames {
    prefix: String,
}

impl KeyNames {
    /// The key that says whether the queues are set up.
    pub const CONFIGURED: &str = "rmq-config-ok";

    /// Those of this service.
    #[must_use]
    pub fn new(service: &str) -> Self {
        Self { prefix: format!("/nuropb/{service}/") }
    }

    /// What all of them begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of the leader; its value is the instance id.
    #[must_use]
    pub fn leader(&self) -> String {
        format!("{}leader", self.prefix)
    }

    /// A property of the service.
    #[must_use]
    pub fn property(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// Whether the name of a service, an instance or a topic can be said in AMQP, with what is put
/// around it.
#[must_use]
pub fn fits_short_string(text: &str) -> bool {
    !text.is_empty() && text.len() <= 96 && !text.chars().any(char::is_control)
}

/// Whether a topic matches a binding of a topic exchange: words between dots, `*` is one word, `#`
/// any number of them.
///
/// ```
/// use majordomo::wire::nuropb::topic_matches;
///
/// assert!(topic_matches("orders.*.paid", "orders.17.paid"));
/// assert!(topic_matches("orders.#", "orders"));
/// assert!(!topic_matches("orders.*", "orders.17.paid"));
/// ```
#[must_use]
pub fn topic_matches(pattern: &str, topic: &str) -> bool {
    // reached[n]: the patterns so far match the first n words.
    let words: Vec<&str> = topic.split('.').collect();
    let mut reached = vec![false; words.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for piece in pattern.split('.') {
        let mut next = vec![false; reached.len()];
        let mut before = false;
        for (at, place) in next.iter_mut().enumerate() {
            let here = reached.get(at).copied().unwrap_or(false);
            let word = at.checked_sub(1).and_then(|at| words.get(at));
            let last = at.checked_sub(1).and_then(|at| reached.get(at)).copied().unwrap_or(false);
            *place = match piece {
                "#" => here || before,
                "*" => last && word.is_some(),
                exact => last && word == Some(&exact),
            };
            before = *place;
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_match_as_those_of_rabbitmq_do() {
        for (pattern, topic, matches) in [
            ("a", "a", true),
            ("a", "b", false),
            ("*", "a", true),
            ("*", "a.b", false),
            ("#", "", true),
            ("#", "a.b.c", true),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("#.c", "a.b.c", true),
            ("#.c", "c", true),
            ("a.#.c", "a.c", true),
            ("a.#.c", "a.b.b.c", true),
            ("a.#.c", "a.b", false),
            ("a.*.c", "a..c", true),
            ("*.*", "a", false),
            ("#.#", "a", true),
        ] {
            assert_eq!(topic_matches(pattern, topic), matches, "{pattern} {topic}");
        }
    }

    #[test]
    fn names_are_those_of_nuropb() {
        assert_eq!(Topology::service_queue("orders"), "nuropb-orders-sq");
        assert_eq!(Topology::dl_queue("orders"), "nuropb-orders-dl");
        assert_eq!(Topology::response_queue("orders", "i1"), "nuropb-orders-i1-rq");
        assert_eq!(Topology::client_name("mesh"), "mesh-client");
        let keys = KeyNames::new("orders");
        assert_eq!(keys.leader(), "/nuropb/orders/leader");
        assert_eq!(keys.property(KeyNames::CONFIGURED), "/nuropb/orders/rmq-config-ok");
        assert!(fits_short_string("orders") && !fits_short_string("") && !fits_short_string("a\n"));
        assert!(!fits_short_string(&"x".repeat(97)));
    }
}
