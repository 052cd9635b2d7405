//! `topics`: whatever is subscribed to and published, a look-up finds the patterns that a naive
//! matcher finds, and what is no subject is wrong in the way that is said.

use crate::proto::topics::{Pattern, Reach, Subject, SubjectError, TOKENS_MAX, TooMany, Trie};

/// The input is lines: `+` and a pattern that is added, `-` and one that is taken out, or a subject.
pub fn topics(input: &[u8]) {
    const LINES_MAX: usize = 300;
    let text = String::from_utf8_lossy(input);
    let (mut trie, mut known) = (Trie::new(), Vec::new());
    for (number, line) in text.split('\n').take(LINES_MAX).enumerate() {
        if let Some(pattern) = line.strip_prefix('+') {
            if let Some(parsed) = read(Pattern::parse(pattern), pattern, true) {
                assert!(trie.insert(parsed, number));
                known.push((pattern, number));
            }
        } else if let Some(pattern) = line.strip_prefix('-') {
            let Some(parsed) = read(Pattern::parse(pattern), pattern, true) else { continue };
            let at = known.iter().position(|(other, _)| *other == pattern);
            let key = at.map_or(usize::MAX, |at| known.remove(at).1);
            assert_eq!(trie.remove(parsed, key), at.is_some(), "{pattern:?}");
        } else if let Some(subject) = read(Subject::parse(line), line, false) {
            look_up(&mut trie, subject, &known);
        }
        assert_eq!(trie.len(), known.len());
    }
    for (pattern, key) in known {
        let parsed = Pattern::parse(pattern).expect("it was parsed before");
        assert!(trie.remove(parsed, key), "{pattern:?}");
    }
    assert_eq!(trie.nodes(), 1, "nothing stays behind");
}

fn look_up(trie: &mut Trie<usize>, subject: Subject<'_>, known: &[(&str, usize)]) {
    let tokens: Vec<_> = subject.tokens().collect();
    let expected: Vec<_> = known
        .iter()
        .filter(|(pattern, _)| {
            let means = means(pattern, &tokens);
            let parsed = Pattern::parse(pattern).expect("it was parsed before");
            assert_eq!(parsed.matches(subject), means, "{pattern:?} {subject}");
            means
        })
        .map(|(_, key)| *key)
        .collect();
    let far = Reach { found_max: expected.len(), looked_max: trie.nodes() };
    let mut found = Vec::new();
    let looked = trie.find(subject, far, &mut found);
    assert!(looked.is_ok_and(|looked| looked <= trie.nodes()), "{subject}");
    assert_eq!(found, expected, "{subject}");
    if let Some(found_max) = expected.len().checked_sub(1) {
        let short = Reach { found_max, ..far };
        assert_eq!(trie.find(subject, short, &mut Vec::new()), Err(TooMany), "{subject}");
    }
}

/// By dynamic programming over the tokens, as no matcher of ours does it: `reached` says with how
/// many tokens of the subject the pattern so far can be done.
fn means(pattern: &str, subject: &[&str]) -> bool {
    let own = subject.first().is_some_and(|token| token.starts_with('$'));
    let mut reached = vec![false; subject.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for (at, wanted) in pattern.split('.').enumerate() {
        let wild = !(own && at == 0);
        let step = |done: usize| match (wanted, subject.get(done)) {
            ("*", Some(_)) => wild,
            (wanted, Some(token)) => wanted == *token,
            (_, None) => false,
        };
        let mut next = vec![false; subject.len() + 1];
        for done in (0..subject.len()).filter(|done| reached.get(*done) == Some(&true)) {
            let until = if wanted == ">" { subject.len() } else { done + 1 };
            if wanted == ">" && wild || wanted != ">" && step(done) {
                next.get_mut(done + 1..=until).into_iter().flatten().for_each(|it| *it = true);
            }
        }
        reached = next;
    }
    reached.last() == Some(&true)
}

/// What was parsed; what is refused is wrong in that way, by a reading that is as simple as can be.
fn read<T>(parsed: Result<T, SubjectError>, text: &str, wild: bool) -> Option<T> {
    let tokens: Vec<_> = text.split('.').collect();
    let rest = tokens.iter().position(|token| *token == ">");
    let fits = |token: &&str| {
        let whole = wild && matches!(*token, "*" | ">");
        whole || !token.contains(['*', '>'])
    };
    let checks = [
        !text.is_empty() && text.len() <= 255,
        tokens.iter().all(|token| !token.is_empty()),
        tokens.len() <= TOKENS_MAX,
        !text.chars().any(|c| c.is_whitespace() || c.is_control()),
        tokens.iter().all(fits) && rest.is_none_or(|at| at + 1 == tokens.len()),
    ];
    let broken = match &parsed {
        Ok(_) => None,
        Err(SubjectError::Length { .. }) => Some(0),
        Err(SubjectError::EmptyToken) => Some(1),
        Err(SubjectError::TooManyTokens) => Some(2),
        Err(SubjectError::BadCharacter) => Some(3),
        Err(SubjectError::Wildcard) => Some(4),
    };
    assert_eq!(broken, checks.iter().position(|holds| !holds), "{text:?}");
    parsed.ok()
}
