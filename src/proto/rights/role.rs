//! The roles that need not be written.

use super::pattern::Pattern;
use super::rule::{Rule, Source, Verb};

/// What a client does.
const CLIENT: &[(Verb, &str)] =
    &[(Verb::Call, "*"), (Verb::Publish, "*"), (Verb::Subscribe, "*"), (Verb::Flow, "*")];

/// What a worker does, and what one of NorFab asks the broker for.
const WORKER: &[(Verb, &str)] = &[
    (Verb::Serve, "*"),
    (Verb::Publish, "*"),
    (Verb::Call, "mmi.*"),
    (Verb::Call, "sid.service.broker"),
    (Verb::Call, "fss.service.broker"),
    (Verb::Call, "filesharing"),
];

/// The rules of a role that is known without being written: `client`, `worker` or `admin`.
///
/// `client` may call all services, publish and subscribe to all subjects, and open all flows; `worker` may serve all
/// services, publish, and call what the broker answers about services, inventories and files;
/// `admin` may do everything.
#[must_use]
pub fn built_in_role(name: &str) -> Option<Vec<Rule>> {
    let all = Verb::ALL.map(|verb| (verb, "*"));
    let rules = match name {
        "client" => CLIENT,
        "worker" => WORKER,
        "admin" => &all,
        _ => return None,
    };
    let rule = |(verb, pattern): &(Verb, &str)| {
        let pattern = Pattern::try_from(*pattern).ok()?;
        Some(Rule { deny: false, verb: *verb, pattern, source: Source::built_in() })
    };
    rules.iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Decision, Grants};
    use super::*;

    #[test]
    fn the_built_in_roles_are_what_their_names_say() {
        let role = |name| Grants::new(built_in_role(name).unwrap()).unwrap();
        let cases = [
            ("client", Verb::Call, "billing", true),
            ("client", Verb::Serve, "billing", false),
            ("client", Verb::Flow, "writers", true),
            ("worker", Verb::Flow, "writers", false),
            ("client", Verb::Admin, "service.pause", false),
            ("worker", Verb::Serve, "billing", true),
            ("worker", Verb::Call, "billing", false),
            ("worker", Verb::Call, "mmi.service", true),
            ("worker", Verb::Call, "sid.service.broker", true),
            ("worker", Verb::Subscribe, "a", false),
            ("worker", Verb::Publish, "a", true),
            ("admin", Verb::Admin, "service.pause", true),
            ("admin", Verb::Lease, "a", true),
        ];
        for (name, verb, what, expected) in cases {
            assert_eq!(role(name).allows(verb, what.as_bytes()), expected, "{name} {verb} {what}");
        }
        let built_in = Decision::Allowed(Source::built_in());
        assert_eq!(role("client").explain(Verb::Call, b"a"), built_in);
        assert_eq!(built_in_role("Client"), None);
    }
}
