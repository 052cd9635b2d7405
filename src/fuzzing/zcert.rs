//! `zcert`: whatever is in a file, a certificate that is read has the keys of the file, and no
//! error tells anything of a key.

use std::path::Path;

use crate::keys::{Certificate, KeyError, public_from_text, text_of_public};
use crate::proto::curve::KeyPair;

/// The input is the text of a certificate, or of a bare key.
pub fn zcert(input: &[u8]) {
    let path = Path::new("x");
    let naive = std::str::from_utf8(input).ok().map(naive);
    match Certificate::parse(input, path) {
        Ok(certificate) => {
            let naive = naive.expect("it is text");
            let secret = certificate.secret.as_ref();
            if let Some(secret) = secret {
                assert_eq!(KeyPair::new(secret.clone()).public(), certificate.public, "a pair");
                assert_eq!(naive.secrets.len(), 1);
            }
            let public = text_of_public(&certificate.public);
            assert!(naive.publics.is_empty() && secret.is_some() || naive.publics == [&*public]);
            written(&certificate);
        }
        Err(error) => refused(&error, input, naive),
    }
}

fn refused(error: &KeyError, input: &[u8], naive: Option<Naive<'_>>) {
    let said = error.to_string();
    let text = String::from_utf8_lossy(input);
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '='));
    for word in words.filter(|word| word.len() >= 20) {
        assert!(!said.contains(word), "{said:?} tells {word:?}");
    }
    match (error, naive) {
        (KeyError::Syntax { line, .. }, _) => {
            assert!((1..=text.split('\n').count()).contains(line), "{said}");
        }
        (KeyError::NoPublicKey { .. }, Some(naive)) => {
            assert!(naive.publics.is_empty() && naive.secrets.is_empty(), "{said}");
        }
        (KeyError::NoPair { .. }, Some(naive)) => {
            assert_eq!((naive.publics.len(), naive.secrets.len()), (1, 1), "{said}");
        }
        (error, _) => panic!("{error:?}"),
    }
}

/// What is written is read again, and by readers that do not look at sections.
fn written(certificate: &Certificate) {
    let text = certificate.secret_text();
    let again = Certificate::parse(text.as_bytes(), Path::new("y")).expect("we wrote it");
    assert_eq!((again.public, &again.secret), (certificate.public, &certificate.secret));
    assert!(again.metadata.len() <= certificate.metadata.len());
    let once_more = again.secret_text();
    assert_eq!(text.as_str(), once_more.as_str(), "it settles");
    let public = certificate.public_text();
    for text in [text.as_str(), public.as_str()] {
        assert_eq!(like_pyzmq(text, "public-key").and_then(public_from_text), Some(again.public));
    }
    let secret = like_pyzmq(&text, "secret-key");
    assert_eq!(secret.is_some(), certificate.secret.is_some());
    assert_eq!(like_pyzmq(&public, "secret-key"), None);
}

/// The first line that begins so, in whatever section.
fn like_pyzmq<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let line = lines.find(|line| line.starts_with(name))?;
    let (_, value) = line.split_once('=').expect("a name has a value");
    Some(value.trim_matches([' ', '\t', '\'', '"']))
}

/// The keys of a file, by a reading that is as simple as can be.
struct Naive<'t> {
    publics: Vec<&'t str>,
    secrets: Vec<&'t str>,
}

fn naive(text: &str) -> Naive<'_> {
    let mut found = Naive { publics: Vec::new(), secrets: Vec::new() };
    if public_from_text(text.trim()).is_some() {
        found.publics.push(text.trim());
        return found;
    }
    let mut in_curve = false;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#'))
    {
        let (name, value) = match line.trim().split_once('=') {
            Some((name, value)) => (name.trim(), Some(value)),
            None => (line.trim().split('#').next().unwrap_or_default().trim(), None),
        };
        if !line.starts_with([' ', '\t']) {
            in_curve = name == "curve" && value.is_none();
            continue;
        }
        let keys = match name {
            "public-key" if in_curve => &mut found.publics,
            "secret-key" if in_curve => &mut found.secrets,
            _ => continue,
        };
        // Only what is a key is asked for: anything else was refused.
        let value = value.unwrap_or_default().trim();
        let value = value.strip_prefix(['"', '\'']).unwrap_or(value);
        keys.push(value.get(..40).unwrap_or(value));
    }
    found
}
