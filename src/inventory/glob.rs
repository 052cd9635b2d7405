//! Shell globs over names, as Python's `fnmatch.fnmatchcase` reads them: `*`, `?`, `[abc]`,
//! `[a-z]`, `[!abc]`; everything else is itself, and case counts.

/// Whether the whole of `name` is what `glob` says. Takes at most glob x name steps.
pub(crate) fn matches(glob: &str, name: &str) -> bool {
    let tokens = tokens(glob);
    let name: Vec<char> = name.chars().collect();
    let (mut token, mut at) = (0, 0);
    // The last star, and where the name went on behind it.
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() || token < tokens.len() {
        match (tokens.get(token), name.get(at)) {
            (Some(Token::Any), _) => {
                star = Some((token, at));
                token += 1;
            }
            (Some(one), Some(c)) if one.takes(*c) => (token, at) = (token + 1, at + 1),
            _ => match star {
                Some((before, from)) if from < name.len() => {
                    star = Some((before, from + 1));
                    (token, at) = (before + 1, from + 1);
                }
                _ => return false,
            },
        }
    }
    true
}

enum Token {
    /// Any characters, or none.
    Any,
    /// Any character.
    One,
    This(char),
    /// One of these ranges, or none of them.
    Set(Vec<(char, char)>, bool),
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::This(this) => *this == c,
            Self::Set(ranges, inside) => {
                ranges.iter().any(|(low, high)| (low..=high).contains(&&c)) == *inside
            }
        }
    }
}

fn tokens(glob: &str) -> Vec<Token> {
    let chars: Vec<char> = glob.chars().collect();
    let mut rest = chars.as_slice();
    let mut tokens = Vec::new();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        tokens.push(match first {
            '*' => Token::Any,
            '?' => Token::One,
            '[' => match set(after) {
                Some((set, after)) => {
                    rest = after;
                    set
                }
                None => Token::This('['),
            },
            c => Token::This(*c),
        });
    }
    tokens
}

/// What stands behind `[`, if the bracket is closed. A `]` in front is a member.
fn set(after: &[char]) -> Option<(Token, &[char])> {
    let (inside, body) = match after.split_first() {
        Some(('!', body)) => (false, body),
        _ => (true, after),
    };
    let end = body.iter().skip(1).position(|c| *c == ']')? + 1;
    let (mut members, rest) = body.split_at_checked(end)?;
    let mut ranges = Vec::new();
    loop {
        match members {
            [low, '-', high, rest @ ..] => {
                ranges.push((*low, *high));
                members = rest;
            }
            [one, rest @ ..] => {
                ranges.push((*one, *one));
                members = rest;
            }
            [] => break,
        }
    }
    Some((Token::Set(ranges, inside), rest.get(1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_those_of_python() {
        // Each was asked of Python 3.11's fnmatch.fnmatchcase.
        for (glob, name, expected) in [
            ("nornir-*", "nornir-worker-1", true),
            ("nornir-*", "nornir-", true),
            ("nornir-*", "Nornir-1", false),
            ("nornir-*", "a-nornir-1", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?", "", false),
            ("w?", "w1", true),
            ("w?", "w12", false),
            ("*-*-1", "a-b-1", true),
            ("*-*-1", "a-b-11", false),
            ("*a*b*c", "xaxbxxbc", true),
            ("*/x", "a/b/x", true),
            ("*", "a\nb", true),
            ("w[12]", "w2", true),
            ("w[12]", "w3", false),
            ("w[!12]", "w3", true),
            ("w[!12]", "w1", false),
            ("w[^1]", "w^", true),
            ("w[^1]", "w1", true),
            ("w[0-9]", "w7", true),
            ("w[9-0]", "w5", false),
            ("w[!9-0]", "w5", true),
            ("w[]]", "w]", true),
            ("w[!]]", "w]", false),
            ("w[!]]", "w[", true),
            ("w[]-a]", "w^", true),
            ("w[a-]", "w-", true),
            ("w[-a]", "w-", true),
            ("w[", "w[", true),
            ("w[a", "w[a", true),
            ("w[]", "w[]", true),
            ("w[!]", "w[!]", true),
            ("ü*", "übung", true),
            ("?", "ü", true),
            (".*", ".x", true),
            ("w.1", "wx1", false),
            ("w\\*", "w\\x", true),
            ("**", "ab", true),
        ] {
            assert_eq!(matches(glob, name), expected, "{glob:?} {name:?}");
        }
    }

    #[test]
    fn a_glob_of_many_stars_does_not_run_away() {
        let glob = "*a".repeat(2_000) + "b";
        assert!(!matches(&glob, &"a".repeat(10_000)));
    }
}
