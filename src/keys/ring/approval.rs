//! A key that is to come in, and what is written of it.

use super::build;
use super::document::{Document, Word};
use crate::id::PublicKey;
use crate::proto::rights::{Verb, built_in_role};

/// The role that may offer every service.
const WORKER: &str = "worker";

/// What a key is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// Its roles.
    pub roles: Vec<String>,
    /// Services that it may offer. With the role `worker`: these and no others.
    pub services: Vec<String>,
    /// What it may do besides, as `call billing.*`.
    pub allow: Vec<String>,
}

/// A key that is to come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The key.
    pub key: PublicKey,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub given: Given,
}

/// What is written of a key besides its name.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) roles: Vec<String>,
    pub(super) allow: Vec<String>,
    pub(super) deny: Vec<String>,
}

impl Given {
    /// What is written in that file. A worker of some services has not the role, which is for all
    /// of them: what else the role says there is written out.
    pub(super) fn lists(&self, document: &Document) -> Lists {
        let Self { roles, services, allow } = self;
        let narrow = !services.is_empty() && roles.iter().any(|role| role == WORKER);
        let rest = if narrow { rest_of_worker(document) } else { Lists::default() };
        let serve = services.iter().map(|service| format!("{} {service}", Verb::Serve));
        Lists {
            roles: roles.iter().filter(|role| !narrow || *role != WORKER).cloned().collect(),
            allow: serve.chain(rest.allow).chain(allow.iter().cloned()).collect(),
            deny: rest.deny,
        }
    }
}

/// What a worker may do, and may not, besides offering services.
fn rest_of_worker(document: &Document) -> Lists {
    let texts = |words: &[Word]| words.iter().map(|word| word.text.clone()).collect::<Vec<_>>();
    let Some(role) = document.roles.iter().find(|role| role.name.text == WORKER) else {
        let rules = built_in_role(WORKER).into_iter().flatten();
        let rest = rules.filter(|rule| rule.verb != Verb::Serve);
        let allow = rest.map(|rule| format!("{} {}", rule.verb, rule.pattern)).collect();
        return Lists { allow, ..Lists::default() };
    };
    let mut allow = texts(&role.lists.allow);
    allow.retain(|text| build::rule(text).is_ok_and(|(verb, _)| verb != Verb::Serve));
    Lists { allow, deny: texts(&role.lists.deny), ..Lists::default() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::document::Reader;
    use super::*;

    fn written(file: &str, roles: &[&str], services: &[&str]) -> [Vec<String>; 3] {
        let own = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let given =
            Given { roles: own(roles), services: own(services), allow: own(&["call mine"]) };
        let Lists { roles, allow, deny } =
            given.lists(&Reader::new(Path::new("x"), file).document());
        [roles, allow, deny]
    }

    #[test]
    fn a_worker_of_some_services_is_no_worker_of_all() {
        let narrow = written("", &["worker", "client"], &["a", "b.*"]);
        let wanted = [
            &["client"][..],
            &[
                "serve a",
                "serve b.*",
                "publish *",
                "call mmi.*",
                "call sid.service.broker",
                "call fss.service.broker",
                "call filesharing",
                "call mine",
            ],
            &[],
        ];
        assert_eq!(narrow, wanted);
        assert_eq!(written("", &["worker"], &[]), [&["worker"][..], &["call mine"], &[]]);
        let alone = written("", &["client"], &["a"]);
        assert_eq!(alone, [&["client"][..], &["serve a", "call mine"], &[]]);
    }

    #[test]
    fn the_role_is_what_the_file_says() {
        let file =
            "[roles.worker]\nallow = [\"serve *\", \"call inventory\"]\ndeny = [\"serve root\"]\n";
        let narrow = written(file, &["worker"], &["a"]);
        assert_eq!(narrow, [&[][..], &["serve a", "call inventory", "call mine"], &["serve root"]]);
    }
}
