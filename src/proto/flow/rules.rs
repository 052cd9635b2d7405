//! Who handles a flow, by what its BOT says.

use std::borrow::Cow;
use std::cell::LazyCell;
use std::collections::BTreeMap;

use crate::id::ServiceName;
use crate::inventory::glob;
use crate::proto::flow::output::FACTORY;
use crate::wire::zio::{Direction, FlowLabel, Value};

/// Longest value that a glob is tried on, octets; a longer one matches none.
const VALUE_MAX: usize = 1024;

/// Who is asked for a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Those who offer that flow service.
    Service(ServiceName),
    /// The factory.
    Factory,
    /// Nobody: the client is told EOT.
    Refuse,
}

/// A rule: what a BOT has to say, and who is asked then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowRule {
    /// What the client does; any if there is none.
    pub direction: Option<Direction>,
    /// Attributes of the label that have to be there, each with a glob that its value has to match:
    /// the text of a string, anything else as the JSON that it is written as.
    pub attributes: Vec<(String, String)>,
    /// Who is asked.
    pub target: Target,
}

impl Target {
    /// The name by which rights to such flows are asked for.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        match self {
            Self::Service(name) => name.as_bytes(),
            Self::Factory | Self::Refuse => FACTORY,
        }
    }
}

/// The attributes of a label by name; of several of one name the last one.
type Attributes<'a> = BTreeMap<Cow<'a, str>, Value<'a>>;

/// The first rule that matches a client's BOT. The label is read once, however many there are, and
/// only if one of them looks at it.
pub(super) fn first<'r>(rules: &'r [FlowRule], bot: &FlowLabel<'_>) -> Option<&'r FlowRule> {
    let attributes = LazyCell::new(|| -> Attributes<'_> {
        bot.label().members().map(|member| (member.name(), member.value)).collect()
    });
    rules.iter().find(|rule| {
        let wanted = rule.direction.is_none_or(|direction| bot.direction() == Some(direction));
        wanted && rule.attributes.iter().all(|(name, glob)| has(&attributes, name, glob))
    })
}

fn has(attributes: &Attributes<'_>, name: &str, glob: &str) -> bool {
    let Some(value) = attributes.get(name) else { return false };
    if value.as_str().len() > VALUE_MAX {
        return false;
    }
    match value.chars() {
        Some(chars) => glob::matches(glob, &chars.collect::<String>()),
        None => glob::matches(glob, value.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::flow::FlowSettings;

    fn rule(direction: Option<Direction>, attributes: &[(&str, &str)], service: &str) -> FlowRule {
        let attributes = attributes.iter().map(|(name, glob)| ((*name).into(), (*glob).into()));
        let target = Target::Service(ServiceName::try_from(service.as_bytes()).unwrap());
        FlowRule { direction, attributes: attributes.collect(), target }
    }

    #[test]
    fn the_first_rule_that_matches_names_the_service() {
        use Direction::{Extract, Inject};
        let settings = FlowSettings {
            rules: vec![
                rule(Some(Inject), &[("stream", "raw-*")], "reader"),
                rule(Some(Extract), &[("stream", "raw-*"), ("run", "[1-3]")], "writer"),
                rule(None, &[("stream", "*")], "any"),
                rule(None, &[("live", "true")], "live"),
                rule(None, &[("box", "{*}")], "box"),
            ],
            ..FlowSettings::default()
        };
        for (bot, expected) in [
            (r#""direction": "inject", "stream": "raw-1""#, Some("reader")),
            (r#""direction": "extract", "stream": "raw-1", "run": 2"#, Some("writer")),
            (r#""direction": "extract", "stream": "raw-1", "run": "2""#, Some("writer")),
            (r#""direction": "extract", "stream": "raw-1", "run": 2.0"#, Some("any")),
            (r#""direction": "extract", "stream": "raw-1""#, Some("any")),
            (r#""direction": "extract", "stream": "raw-1", "stream": 7"#, Some("any")),
            (r#""direction": "extract", "live": true"#, Some("live")),
            (r#""direction": "extract", "live": "tru\u0065""#, Some("live")),
            (r#""direction": "extract", "live": false"#, None),
            (r#""direction": "extract", "box": {"a": [1]}"#, Some("box")),
            (r#""direction": "extract", "l\u0069ve": true"#, Some("live")),
            (r#""direction": "extract", "Stream": "x""#, None),
        ] {
            let text = format!(r#"{{"flow": "BOT", "credit": 2, {bot}}}"#);
            let target = settings.target_of(&FlowLabel::read(&text).unwrap());
            let name = match target {
                Target::Service(name) => Some(name.to_string()),
                Target::Factory | Target::Refuse => None,
            };
            assert_eq!(name.as_deref(), expected, "{bot}");
        }
    }

    #[test]
    fn a_value_beyond_the_limit_matches_nothing() {
        let rule = rule(None, &[("stream", "*")], "any");
        let matches = |len: usize| {
            let text = format!(r#"{{"flow": "BOT", "stream": "{}"}}"#, "x".repeat(len));
            first(std::slice::from_ref(&rule), &FlowLabel::read(&text).unwrap()).is_some()
        };
        assert!(matches(VALUE_MAX - 2) && !matches(VALUE_MAX - 1));
    }
}
