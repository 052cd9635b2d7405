//! Changes of a file of authorized keys: what is not meant stays as it is, octet by octet.

use std::ops::Range;
use std::path::Path;

use super::approval::{Approval, Lists};
use super::document::{Document, Entry, Reader, Word};
use super::problem::RingError;
use super::{KeyRing, RING_MAX, check_name};
use crate::id::PublicKey;
use crate::keys::disk::{self, Held, PRIVATE};
use crate::keys::error::KeyError;
use crate::keys::text::{public_from_text, text_of_public};

/// The beginning of a file that was not there.
const HEADER: &str = "\
# Who may come in, and what they may do. `majordomo key approve` adds to it and keeps what is here.
";

/// Why a file is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The file cannot be read or written, or is wrong as it is, or would be.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// Nobody of that name, fingerprint or key is in it.
    #[error("no key of the file goes by `{who}`; it knows names, fingerprints and keys in Z85")]
    NotFound {
        /// What was asked for.
        who: String,
    },
    /// The key is in it with other rights.
    #[error(
        "this key may come in already, as `{name}` in line {line}; change that, or revoke it first"
    )]
    Taken {
        /// The name it has.
        name: String,
        /// Where it stands.
        line: u32,
    },
    /// There is no file.
    #[error(
        "every key may come in here (`any`), so there is nothing to change; start the broker with --authorized-keys FILE"
    )]
    Any,
    /// What is to be written makes no sense.
    #[error("{0}")]
    Wrong(String),
}

impl From<KeyError> for EditError {
    fn from(error: KeyError) -> Self {
        Self::Ring(error.into())
    }
}

/// Lets a key in, and writes that into the file; into a new one, if there is none. A key that was
/// denied is denied no more. Returns false if all is so already. It blocks.
///
/// # Errors
/// [`EditError`]; the file is as it was.
pub fn approve(path: &Path, approval: &Approval) -> Result<bool, EditError> {
    edit(path, |text, path| approved(text, path, approval)).map(|done| done.is_some())
}

/// Denies keys for good, all of them or none. If they may come in, they may no more. Returns false if
/// all is so already. It blocks.
///
/// # Errors
/// [`EditError`]; the file is as it was.
pub fn deny(path: &Path, keys: &[PublicKey], name: Option<&str>) -> Result<bool, EditError> {
    edit(path, |text, path| denied(text, path, keys, name)).map(|done| done.is_some())
}

/// Takes out all keys that go by `who`: a name, a fingerprint or a key in Z85. They are nobody's
/// then, and may be approved again. Returns the keys. It blocks.
///
/// # Errors
/// [`EditError`]; the file is as it was.
pub fn revoke(path: &Path, who: &str) -> Result<Vec<PublicKey>, EditError> {
    let mut gone = Vec::new();
    edit(path, |text, path| {
        let (text, keys) = revoked(text, path, who)?;
        gone = keys;
        Ok(Some(text))
    })?;
    Ok(gone)
}

/// Reads a file, has it changed, looks whether it is right, and writes it.
fn edit(
    path: &Path,
    change: impl FnOnce(&str, &Path) -> Result<Option<String>, EditError>,
) -> Result<Option<()>, EditError> {
    let real = match disk::real(path) {
        Ok(real) => real,
        Err(KeyError::Missing { .. }) => {
            let Some(text) = change(HEADER, path)? else { return Ok(None) };
            check(&text, path)?;
            disk::create(path, PRIVATE, text.as_bytes())?;
            return Ok(Some(()));
        }
        Err(error) => return Err(error.into()),
    };
    let Held { file, metadata } = Held::open(&real)?;
    let octets = disk::read_from(&file, path, RING_MAX)?;
    // Somebody may have changed it by hand, and not well.
    KeyRing::parse(&octets, path)?;
    let text = std::str::from_utf8(&octets).unwrap_or_default();
    let Some(text) = change(text, path)? else { return Ok(None) };
    if text.len() > RING_MAX {
        return Err(KeyError::TooBig { path: path.into(), max: RING_MAX }.into());
    }
    check(&text, path)?;
    disk::replace(&real, PRIVATE, Some(&metadata), text.as_bytes())?;
    Ok(Some(()))
}

/// The file was right: what is wrong now has come with the change.
fn check(text: &str, path: &Path) -> Result<(), EditError> {
    match KeyRing::parse(text.as_bytes(), path) {
        Ok(_) => Ok(()),
        Err(RingError::Content(problems, _)) => {
            let what: Vec<_> = problems.into_iter().map(|problem| problem.what).collect();
            Err(EditError::Wrong(what.join("; ")))
        }
        Err(error) => Err(error.into()),
    }
}

/// A file that is about to be changed: its lines, and what is in it.
struct Draft<'t> {
    lines: Vec<&'t str>,
    document: Document,
    reader: Reader<'t>,
    /// Lines to be left out, from 0 on.
    cuts: Vec<Range<usize>>,
    added: String,
}

impl<'t> Draft<'t> {
    fn new(text: &'t str, path: &'t Path) -> Result<Self, EditError> {
        let mut reader = Reader::new(path, text);
        let document = reader.document();
        if let Some((title, at)) = document.inline.first() {
            let (path, line) = (path.display(), reader.line(*at));
            let why = format!("{path}:{line}: write `{title}` as [[{title}]] to have it changed");
            return Err(EditError::Wrong(why));
        }
        let lines = text.split_inclusive('\n').collect();
        Ok(Self { lines, document, reader, cuts: Vec::new(), added: String::new() })
    }

    /// The line of a place, from 0 on.
    fn line(&self, at: usize) -> usize {
        usize::try_from(self.reader.line(at)).unwrap_or(usize::MAX).saturating_sub(1)
    }

    /// Where sections begin, in order.
    fn headers(&self) -> Vec<usize> {
        let Document { roles, roles_at, keys, users, denied, .. } = &self.document;
        let starts = roles.iter().map(|role| role.name.at).chain(*roles_at);
        let starts = starts.chain(keys.iter().map(|key| key.at));
        let starts = starts.chain(users.iter().map(|user| user.at));
        let starts = starts.chain(denied.iter().map(|key| key.at));
        let mut headers: Vec<_> = starts.map(|at| self.line(at)).collect();
        headers.sort_unstable();
        headers
    }

    /// Leaves out the sections that begin there, each with the comment right above it. What stands
    /// above the next section belongs to that, and comments at the top of the file to all of it.
    fn cut(&mut self, starts: &[usize]) {
        let headers = self.headers();
        let said = |line: usize| self.lines.get(line).map_or("", |line| line.trim());
        let mut cuts = Vec::new();
        for at in starts {
            let header = self.line(*at);
            let next = headers.iter().copied().find(|line| *line > header);
            let mut end = next.unwrap_or(self.lines.len());
            while end > header + 1 && (said(end - 1).is_empty() || said(end - 1).starts_with('#')) {
                end -= 1;
            }
            let mut begin = header;
            while begin > 0 && said(begin - 1).starts_with('#') {
                begin -= 1;
            }
            if begin == 0 {
                begin = header;
            }
            // One blank line between its neighbours is enough.
            if begin > 0 && said(begin - 1).is_empty() && said(end).is_empty() {
                begin -= 1;
            }
            cuts.push(begin..end);
        }
        self.cuts.extend(cuts);
    }

    fn add(&mut self, section: &str, fields: &[(&str, toml::Value)]) {
        self.added.extend(["\n[[", section, "]]\n"]);
        for (name, value) in fields {
            self.added.extend([name, " = ", &value.to_string(), "\n"]);
        }
    }

    fn text(mut self) -> String {
        self.cuts.sort_unstable_by_key(|cut| cut.start);
        let mut cuts = self.cuts.into_iter().peekable();
        let mut text = String::new();
        for (number, line) in self.lines.into_iter().enumerate() {
            while cuts.peek().is_some_and(|cut| cut.end <= number) {
                cuts.next();
            }
            if cuts.peek().is_none_or(|cut| !cut.contains(&number)) {
                text.push_str(line);
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(
            self.added.strip_prefix('\n').filter(|_| text.is_empty()).unwrap_or(&self.added),
        );
        text
    }
}

pub(crate) fn approved(
    text: &str,
    path: &Path,
    approval: &Approval,
) -> Result<Option<String>, EditError> {
    let Approval { key, name, given } = approval;
    check_name(name).map_err(EditError::Wrong)?;
    let mut draft = Draft::new(text, path)?;
    let lists = given.lists(&draft.document);
    for rule in &lists.allow {
        super::build::rule(rule).map_err(EditError::Wrong)?;
    }
    if let Some(entry) = draft.document.keys.iter().find(|entry| entry.who == *key) {
        return if is_so(entry, name, &lists) {
            Ok(None)
        } else {
            let line = draft.reader.line(entry.at);
            Err(EditError::Taken { name: entry.name.text.clone(), line })
        };
    }
    let denied = draft.document.denied.iter().filter(|denied| denied.key == *key);
    let denied: Vec<_> = denied.map(|denied| denied.at).collect();
    draft.cut(&denied);
    let mut fields = vec![
        ("name", name.as_str().into()),
        ("key", text_of_public(key).into()),
        ("roles", lists.roles.into()),
    ];
    for (title, rules) in [("allow", lists.allow), ("deny", lists.deny)] {
        if !rules.is_empty() {
            fields.push((title, rules.into()));
        }
    }
    draft.add("key", &fields);
    Ok(Some(draft.text()))
}

fn is_so(entry: &Entry<PublicKey>, name: &str, lists: &Lists) -> bool {
    let same =
        |written: &[Word], wanted: &[String]| written.iter().map(|word| &word.text).eq(wanted);
    entry.name.text == name
        && same(&entry.roles, &lists.roles)
        && same(&entry.lists.allow, &lists.allow)
        && same(&entry.lists.deny, &lists.deny)
}

pub(crate) fn denied(
    text: &str,
    path: &Path,
    keys: &[PublicKey],
    name: Option<&str>,
) -> Result<Option<String>, EditError> {
    let mut draft = Draft::new(text, path)?;
    let mut changed = false;
    for key in keys {
        if draft.document.denied.iter().any(|denied| denied.key == *key) {
            continue;
        }
        let entry = draft.document.keys.iter().find(|entry| entry.who == *key);
        let name = name.or_else(|| entry.map(|entry| entry.name.text.as_str())).map(str::to_owned);
        if let Some(at) = entry.map(|entry| entry.at) {
            draft.cut(&[at]);
        }
        let mut fields = vec![("key", text_of_public(key).into())];
        if let Some(name) = name {
            check_name(&name).map_err(EditError::Wrong)?;
            fields.push(("name", name.into()));
        }
        draft.add("denied", &fields);
        changed = true;
    }
    Ok(changed.then(|| draft.text()))
}

pub(crate) fn revoked(
    text: &str,
    path: &Path,
    who: &str,
) -> Result<(String, Vec<PublicKey>), EditError> {
    let mut draft = Draft::new(text, path)?;
    let asked = public_from_text(who);
    let is_asked = |entry: &&Entry<PublicKey>| {
        entry.name.text == who || Some(entry.who) == asked || entry.who.fingerprint() == who
    };
    let found: Vec<_> = draft.document.keys.iter().filter(is_asked).collect();
    if found.is_empty() {
        return Err(EditError::NotFound { who: who.chars().take(64).collect() });
    }
    let (starts, keys): (Vec<_>, _) = found.iter().map(|entry| (entry.at, entry.who)).unzip();
    draft.cut(&starts);
    Ok((draft.text(), keys))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::super::approval::Given;
    use super::*;

    fn key(octet: u8) -> PublicKey {
        PublicKey([octet; 32])
    }

    fn file(text: &str) -> String {
        (1..9).fold(text.to_owned(), |text, octet| {
            text.replace(&format!("KEY{octet}"), &text_of_public(&key(octet)))
        })
    }

    fn shown(text: &str) -> String {
        (1..9).fold(text.to_owned(), |text, octet| {
            text.replace(&text_of_public(&key(octet)), &format!("KEY{octet}"))
        })
    }

    const FILE: &str = "\
# All of us.
[[key]]
name = \"anna\" # the first
key = \"KEY1\"

# Ben has a laptop.
[[key]]
name = \"ben\"
key = \"KEY2\"
allow = [
    # everything of his
    \"call ben.*\",
]

# Away.

# Not for us.
[[denied]]
key = \"KEY3\"

[roles.x]
allow = [\"call x\"]

[[key]]
name = \"anna\"
key = \"KEY4\"
# The end.
";

    #[test]
    fn only_what_is_meant_is_changed() {
        let path = Path::new("keys");
        let text = file(FILE);
        let without = |parts: &[&str]| {
            parts.iter().fold(FILE.to_owned(), |text, part| {
                assert!(text.contains(part), "{part}");
                text.replacen(part, "", 1)
            })
        };
        let anna = "[[key]]\nname = \"anna\" # the first\nkey = \"KEY1\"\n\n";
        let ben = "# Ben has a laptop.\n[[key]]\nname = \"ben\"\nkey = \"KEY2\"\nallow = [\n    # \
                   everything of his\n    \"call ben.*\",\n]\n\n";
        let mallory = "# Not for us.\n[[denied]]\nkey = \"KEY3\"\n\n";
        let last = "[[key]]\nname = \"anna\"\nkey = \"KEY4\"\n";
        let revoke = |who: &str| revoked(&text, path, who).map(|(text, keys)| (shown(&text), keys));
        assert_eq!(revoke("ben"), Ok((without(&[ben]), vec![key(2)])));
        assert_eq!(revoke(&key(4).fingerprint()), Ok((without(&[last]), vec![key(4)])));
        assert_eq!(revoke(&text_of_public(&key(4))), Ok((without(&[last]), vec![key(4)])));
        let (rest, keys) = revoke("anna").unwrap();
        assert_eq!(
            (rest.replace("us.\n\n", "us.\n"), keys),
            (without(&[anna, last]), vec![key(1), key(4)])
        );
        assert_eq!(revoke("carl"), Err(EditError::NotFound { who: "carl".into() }));

        let approve = |octet, name: &str, roles: &[&str], allow: &[&str]| {
            let [roles, allow] =
                [roles, allow].map(|list| list.iter().map(ToString::to_string).collect());
            let given = Given { roles, allow, ..Given::default() };
            let approval = Approval { key: key(octet), name: name.into(), given };
            approved(&text, path, &approval).map(|text| text.map(|text| shown(&text)))
        };
        let dora = "\n[[key]]\nname = 'do\"ra'\nkey = \"KEY5\"\nroles = [\"client\", \"x\"]\n\
                    allow = [\"serve y\"]\n";
        assert_eq!(
            approve(5, "do\"ra", &["client", "x"], &["serve y"]),
            Ok(Some(FILE.to_owned() + dora))
        );
        let mal = "\n[[key]]\nname = \"mal\"\nkey = \"KEY3\"\nroles = []\n";
        assert_eq!(approve(3, "mal", &[], &[]), Ok(Some(without(&[mallory]) + mal)));
        assert_eq!(approve(1, "anna", &[], &[]), Ok(None));
        assert_eq!(approve(2, "ben", &[], &["call ben.*"]), Ok(None));
        let taken = Err(EditError::Taken { name: "anna".into(), line: 2 });
        assert_eq!(approve(1, "anna", &["client"], &[]), taken);
        assert!(matches!(approve(5, "", &[], &[]), Err(EditError::Wrong(_))));
        assert!(matches!(approve(5, "x", &[], &["call"]), Err(EditError::Wrong(_))));

        let deny =
            |octet, name| denied(&text, path, &[key(octet)], name).unwrap().map(|it| shown(&it));
        let denied = "\n[[denied]]\nkey = \"KEY2\"\nname = \"ben\"\n";
        assert_eq!(deny(2, None), Some(without(&[ben]) + denied));
        let denied = "\n[[denied]]\nkey = \"KEY5\"\n";
        assert_eq!(deny(5, None), Some(FILE.to_owned() + denied));
        assert_eq!(deny(3, Some("x")), None);
    }

    #[test]
    fn lists_in_one_line_are_left_to_their_writer() {
        let path = Path::new("keys");
        let text = file("\nkey = [{ name = \"a\", key = \"KEY1\" }]\n");
        let said = revoked(&text, path, "a").unwrap_err().to_string();
        assert_eq!(said, "keys:2: write `key` as [[key]] to have it changed");
        let said = denied("denied = []", path, &[key(1)], None).unwrap_err().to_string();
        assert_eq!(said, "keys:1: write `denied` as [[denied]] to have it changed");
    }

    fn approval(octet: u8) -> Approval {
        let given = Given { roles: vec!["client".into()], ..Given::default() };
        Approval { key: key(octet), name: format!("k{octet}"), given }
    }

    #[test]
    fn files_are_changed_whole_and_keep_their_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        assert_eq!(approve(&path, &approval(1)), Ok(true));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# Who may come in") && text.contains("\n\n[[key]]\n"), "{text}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("keys.toml", &link).unwrap();
        assert_eq!(approve(&link, &approval(2)), Ok(true));
        assert_eq!(approve(&link, &approval(2)), Ok(false));
        assert!(link.is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(deny(&path, &[key(2)], None), Ok(true));
        assert_eq!(deny(&path, &[key(2)], None), Ok(false));
        assert_eq!(revoke(&path, "k1"), Ok(vec![key(1)]));
        let ring = KeyRing::read(&path).unwrap();
        assert_eq!((ring.keys_len(), ring.named("k2").len()), (0, 1));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left behind");
    }

    #[test]
    fn a_section_of_all_roles_is_no_part_of_the_one_above() {
        let path = Path::new("keys");
        let top = "# All of us.\n\n";
        let anna = "[[key]]\nname = \"anna\"\nkey = \"KEY1\"\n\n";
        let mallory = "[[denied]]\nkey = \"KEY2\"\n\n";
        let one = "[roles.x]\nallow = [\"call x\"]\n\n";
        let all = "# Ours.\n[ \"roles\" ]\nclient.allow = [\"call x\"]\n";
        for (before, after) in [(top, one), (top, all), (one, all)] {
            let rest = format!("{before}{after}");
            let text = file(&format!("{before}{anna}{after}"));
            let (gone, _) = revoked(&text, path, "anna").unwrap();
            assert_eq!(shown(&gone), rest);
            let gone = denied(&text, path, &[key(1)], None).unwrap().unwrap();
            assert!(gone.starts_with(&rest) && check(&gone, path).is_ok(), "{gone}");
            let text = file(&format!("{before}{mallory}{after}"));
            let gone = approved(&text, path, &approval(2)).unwrap().unwrap();
            assert!(gone.starts_with(&rest) && check(&gone, path).is_ok(), "{gone}");
        }
    }

    #[test]
    fn several_keys_are_denied_in_one_change() {
        let path = Path::new("keys");
        let keys = [key(1), key(3), key(4)];
        let text = denied(&file(FILE), path, &keys, None).unwrap().unwrap();
        let added = "\n[[denied]]\nkey = \"KEY1\"\nname = \"anna\"\n\n[[denied]]\nkey = \"KEY4\"\n\
                     name = \"anna\"\n";
        assert!(shown(&text).ends_with(added), "{text}");
        let ring = KeyRing::parse(text.as_bytes(), path).unwrap();
        assert_eq!((ring.keys_len(), ring.named("anna").len()), (1, 2));
        assert_eq!(denied(&text, path, &keys, None), Ok(None));
        let said = denied(&file(FILE), path, &keys, Some("\n")).unwrap_err().to_string();
        assert_eq!(said, "a name has no control characters");
    }

    #[test]
    fn a_wrong_file_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        for text in ["[[key]]\n", "x =", "\u{fe}["] {
            fs::write(&path, text).unwrap();
            let error = approve(&path, &approval(1)).unwrap_err();
            assert!(matches!(error, EditError::Ring(RingError::Content(..))), "{text:?}: {error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::write(&path, "").unwrap();
        let nobody = Approval {
            given: Given { roles: vec!["cleint".into()], ..Given::default() },
            ..approval(1)
        };
        let said = approve(&path, &nobody).unwrap_err().to_string();
        assert_eq!(said, "there is no role `cleint`; did you mean `client`?");
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        assert!(matches!(revoke(&dir.path().join("x"), "a"), Err(EditError::NotFound { .. })));
        assert!(!dir.path().join("x").exists());
        let nowhere = dir.path().join("x/y");
        let error = approve(&nowhere, &approval(1)).unwrap_err();
        assert!(matches!(error, EditError::Ring(RingError::File(KeyError::Unwritable { .. }))));
    }

    #[test]
    fn many_who_change_a_file_at_once_all_change_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        fs::write(&path, "").unwrap();
        std::thread::scope(|scope| {
            for octet in 1..9 {
                let path = &path;
                scope.spawn(move || assert_eq!(approve(path, &approval(octet)), Ok(true)));
            }
        });
        assert_eq!(KeyRing::read(&path).unwrap().keys_len(), 8);
    }
}
