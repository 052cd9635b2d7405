//! `authorized_keys`: whatever is in a file of keys, a change changes what is meant, and nothing
//! else.

use std::path::Path;

use crate::id::{Principal, PublicKey};
use crate::keys::ring::approval::{Approval, Given};
use crate::keys::ring::edit::{EditError, approved, denied, revoked};
use crate::keys::ring::{RingError, Standing};
use crate::keys::{KeyRing, text_of_public};

/// The input is the text of the file.
pub fn authorized_keys(input: &[u8]) {
    let path = Path::new("x");
    // Files of passwords are not for us to read.
    if input.windows(8).any(|word| word == b"password") {
        return;
    }
    let ring = match KeyRing::parse(input, path) {
        Ok(ring) => ring,
        Err(error) => return refused(&error, input),
    };
    let text = std::str::from_utf8(input).expect("it is text");
    let key = PublicKey([0x5a; 32]);
    let approval = Approval {
        key,
        name: "a \"new\" one".into(),
        given: Given {
            roles: vec!["client".into(), "worker".into()],
            services: vec!["s".into()],
            allow: vec!["call x".into()],
        },
    };
    let stranger = ring.judge(&Principal::Key(key)) == Standing::Unknown;
    let is_new = ring.named(&approval.name).is_empty() && stranger;
    let Some(more) = changed(approved(text, path, &approval)) else { return };
    let added = KeyRing::parse(more.as_bytes(), path).expect("we wrote it");
    assert!(matches!(added.judge(&Principal::Key(key)), Standing::Known(_)));
    if is_new {
        assert!(more.starts_with(text), "what was there stays");
        let (back, keys) = revoked(&more, path, &approval.name).expect("it is there");
        assert_eq!(keys, [key]);
        same(&ring, &back, path);
    }
    let no_more = changed(denied(&more, path, &[key], None)).expect("it was not denied");
    let ring = KeyRing::parse(no_more.as_bytes(), path).expect("we wrote it");
    assert_eq!(ring.judge(&Principal::Key(key)), Standing::Denied);
    let others: Vec<_> = added.diff(&ring).list;
    assert!(others.iter().all(|it| it.fingerprint == Some(key.fingerprint())), "{others:?}");
    first_of(text, path);
}

/// The text of a change; none if it is written in a way that we do not change.
fn changed(change: Result<Option<String>, EditError>) -> Option<String> {
    match change {
        Ok(text) => Some(text.expect("it was another way")),
        Err(EditError::Wrong(_) | EditError::Taken { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn same(ring: &KeyRing, text: &str, path: &Path) {
    let again = KeyRing::parse(text.as_bytes(), path).expect("we wrote it");
    let changes = ring.diff(&again);
    assert!(changes.is_empty(), "{:?}", changes.list);
}

/// Takes out somebody who was there before.
fn first_of(text: &str, path: &Path) {
    let ring = KeyRing::parse(text.as_bytes(), path).expect("it was read before");
    let all = ring.diff(&KeyRing::parse(b"", path).expect("nothing is right"));
    let Some(gone) = all.list.iter().find(|change| change.what == "key") else { return };
    let fingerprint = gone.fingerprint.as_deref().unwrap_or_default();
    let Ok((rest, keys)) = revoked(text, path, fingerprint) else { return };
    let [key] = keys[..] else { panic!("{keys:?}") };
    let after = KeyRing::parse(rest.as_bytes(), path).expect("we wrote it");
    let changes = ring.diff(&after).list;
    assert_eq!(changes, std::slice::from_ref(gone));
    assert!(
        !rest.contains(&text_of_public(&key)) || text.matches(&text_of_public(&key)).count() > 1
    );
}

fn refused(error: &RingError, input: &[u8]) {
    let RingError::Content(problems, _) = error else { panic!("{error}") };
    let lines = String::from_utf8_lossy(input).split('\n').count();
    assert!(!problems.is_empty());
    for problem in problems {
        let line = usize::try_from(problem.line).unwrap_or(usize::MAX);
        assert!((1..=lines).contains(&line) && problem.column > 0, "{problem}");
        assert!(!problem.what.is_empty());
    }
}
