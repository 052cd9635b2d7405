//! `acl`: whatever rules there are, what is allowed, and why, is what a naive reading of them says;
//! and who may subscribe to a pattern may hear every subject that it means.

use crate::proto::rights::{
    Decision, Grants, Pattern, PatternError, RULES_MAX, Recent, Rule, Source, Verb,
};
use crate::proto::topics::{Pattern as Subjects, Subject};

/// A rule as it was written.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    deny: bool,
    verb: &'a str,
    pattern: &'a str,
    number: u32,
}

/// The input is lines: `allow VERB PATTERN` and `deny VERB PATTERN` are rules, anything else is a
/// question about all of them: `VERB NAME`, or `subscribe PATTERN` with wildcards.
pub fn acl(input: &[u8]) {
    const LINES_MAX: usize = 3000;
    let text = String::from_utf8_lossy(input);
    let (mut rules, mut lines, mut questions) = (Vec::new(), Vec::new(), Vec::new());
    for (number, line) in (1_u32..).zip(text.split('\n').take(LINES_MAX)) {
        let words: Vec<_> = line.splitn(3, ' ').collect();
        match words[..] {
            [allow @ ("allow" | "deny"), verb, pattern] => {
                let line = Line { deny: allow == "deny", verb, pattern, number };
                if let Some(rule) = read(line) {
                    assert_eq!(rule.to_string(), format!("{allow} {verb} {pattern}"));
                    rules.push(rule);
                    lines.push(line);
                }
            }
            [verb, name] => questions.push((verb, name)),
            _ => {}
        }
    }
    let count = rules.len();
    let grants = match Grants::new(rules) {
        Ok(grants) => grants,
        Err(why) => return assert!(count > RULES_MAX && why.count == count),
    };
    assert!(count <= RULES_MAX);
    let mut recent = Recent::default();
    for (verb, name) in questions {
        let Some(known) = Verb::ALL.into_iter().find(|known| known.as_str() == verb) else {
            assert!(verb.parse::<Verb>().is_err(), "{verb}");
            continue;
        };
        ask(&grants, &lines, &mut recent, known, name);
        if known == Verb::Subscribe && Subjects::parse(name).is_ok() {
            subscribe(&grants, &lines, name);
        }
    }
}

fn ask(grants: &Grants, lines: &[Line<'_>], recent: &mut Recent, verb: Verb, name: &str) {
    // Of what a member of a group may do, its membership decides if nothing is said of that.
    let silent = lines.iter().all(|line| line.verb != verb.as_str());
    let word = match verb.as_str().strip_prefix("group.") {
        Some(_) if silent => "group",
        _ => verb.as_str(),
    };
    let about = |deny: bool| {
        let is_it =
            |line: &&Line<'_>| line.deny == deny && line.verb == word && means(line.pattern, name);
        lines.iter().find(is_it).map(|line| line.number)
    };
    let (denied, allowed) = (about(true), about(false));
    let expected = denied.is_none() && allowed.is_some();
    assert_eq!(grants.allows(verb, name.as_bytes()), expected, "{verb} {name:?}");
    // Twice: the second time it is remembered.
    for _ in 0..2 {
        let again = recent.allows(grants, verb, name.as_bytes());
        assert_eq!(again, expected, "{verb} {name:?}");
    }
    let reason = match grants.explain(verb, name.as_bytes()) {
        Decision::Denied(Source { line, .. }) => (Some(line), None),
        Decision::Allowed(Source { line, .. }) => (None, Some(line)),
        Decision::Default => (None, None),
    };
    let allowed = allowed.filter(|_| denied.is_none());
    assert_eq!(reason, (denied, allowed), "{verb} {name:?}");
    assert!(!expected || grants.allows_some(verb));
}

/// By the rule of SPEC 12.3, and by what it is for.
fn subscribe(grants: &Grants, lines: &[Line<'_>], wanted: &str) {
    let tokens: Vec<_> = wanted.split('.').collect();
    let wild = tokens.iter().position(|token| matches!(*token, "*" | ">"));
    let granted = grants.allows_subscription(wanted.as_bytes());
    let about = || lines.iter().filter(|line| line.verb == "subscribe");
    if let Some(wild) = wild {
        let beginning: String = tokens.iter().take(wild).map(|it| format!("{it}.")).collect();
        let covers = |line: &Line<'_>| match line.pattern.strip_suffix('*') {
            Some(start) => beginning.starts_with(start),
            None => false,
        };
        let meets = |line: &Line<'_>| {
            let start = line.pattern.trim_end_matches('*');
            let apart = beginning.is_empty() && start.starts_with('$');
            !apart && (covers(line) || start.starts_with(&beginning))
        };
        let expected = about().any(|line| !line.deny && covers(line))
            && !about().any(|line| line.deny && meets(line));
        assert_eq!(granted, expected, "{wanted:?}");
    }
    if !granted {
        return;
    }
    let subjects = Subjects::parse(wanted).expect("it was parsed before");
    let starts = about().map(|line| line.pattern.trim_end_matches('*'));
    let near = starts.flat_map(|start| ["", "x", ".x", "x.x.x"].map(|end| format!("{start}{end}")));
    let filled = ["x", "$", "zz"].map(|token| wanted.replace(['*', '>'], token));
    for name in near.chain(filled).chain([wanted.replace('>', "a.b.c.d")]) {
        if Subject::parse(&name).is_ok_and(|subject| subjects.matches(subject)) {
            let may = grants.allows(Verb::Subscribe, name.as_bytes());
            assert!(may, "{wanted:?} means {name:?}, which is not allowed");
        }
    }
}

/// Character by character.
fn means(pattern: &str, name: &str) -> bool {
    let mut name = name.chars();
    for wanted in pattern.chars() {
        if wanted == '*' {
            return true;
        }
        if name.next() != Some(wanted) {
            return false;
        }
    }
    name.next().is_none()
}

/// The rule that a line is; what is none is wrong in the way that is said.
fn read(line: Line<'_>) -> Option<Rule> {
    let Line { deny, verb, pattern, number } = line;
    let known = verb.parse::<Verb>();
    assert_eq!(known.is_ok(), Verb::ALL.iter().any(|it| it.as_str() == verb), "{verb:?}");
    let parsed = Pattern::try_from(pattern);
    let stars = pattern.matches('*').count();
    let broken = match &parsed {
        Ok(_) => None,
        Err(PatternError::Empty) => Some(0),
        Err(PatternError::TooLong { len }) => Some(usize::from(*len == pattern.len())),
        Err(PatternError::StarInside { at }) => {
            Some(if pattern.find('*') == Some(*at) { 2 } else { 9 })
        }
        Err(PatternError::Control { .. }) => Some(3),
    };
    let checks = [
        !pattern.is_empty(),
        pattern.len() <= 255,
        stars == 0 || stars == 1 && pattern.ends_with('*'),
        !pattern.chars().any(char::is_control),
    ];
    assert_eq!(broken, checks.iter().position(|holds| !holds), "{pattern:?}");
    let (verb, pattern) = (known.ok()?, parsed.ok()?);
    Some(Rule { deny, verb, pattern, source: Source { place: "fuzz".into(), line: number } })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand rules over few names, so that they meet.
    #[test]
    fn a_thousand_rules_decide_as_a_naive_reading_of_them_does() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = |most: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % 1_000_003).unwrap() % most
        };
        let tokens = ["a", "b", "ab", "$a", "billing", "\u{fc}"];
        for _ in 0..4 {
            let mut name = |wild: &[&str]| {
                let count = 1 + draw(3);
                let mut name: Vec<_> = (0..count).map(|_| tokens[draw(tokens.len())]).collect();
                if draw(2) == 0 && !wild.is_empty() {
                    name.push(wild[draw(wild.len())]);
                }
                (name.join("."), draw(8), Verb::ALL[draw(Verb::ALL.len())])
            };
            let mut text = String::new();
            for _ in 0..1000 {
                let (pattern, dice, verb) = name(&["*"]);
                let deny = if dice == 0 { "deny" } else { "allow" };
                text += &format!("{deny} {verb} {pattern}\n");
            }
            for _ in 0..1900 {
                let (wanted, dice, verb) = name(&["*", ">", "*.a"]);
                let verb = if dice < 3 { Verb::Subscribe } else { verb };
                text += &format!("{verb} {wanted}\n");
            }
            acl(text.as_bytes());
        }
    }
}
