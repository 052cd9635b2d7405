//! Certificates: a key or a pair of keys in a text file, as CZMQ, pyzmq and NorFab write it.
//!
//! ```text
//! #   comments, and blank lines
//! metadata
//!     name = "anna"
//! curve
//!     public-key = "40 characters of Z85"
//!     secret-key = "40 characters of Z85"
//! ```

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::disk::{self, PRIVATE, PUBLIC};
use super::error::KeyError;
use super::text::{KEY_LEN, public_from_text, secret_from_text, text_of_public, text_of_secret};
use crate::id::PublicKey;
use crate::proto::curve::{Crypto, Dryoc, SecretKey};

/// Octets of a file that may be a certificate.
pub const CERTIFICATE_MAX: usize = 64 << 10;

const SECRET_BANNER: &str = "\
#   The secret key of a CURVE certificate, made by majordomo.
#   Whoever has this file is you. Give it to nobody, and leave its mode at 0600.

";

const PUBLIC_BANNER: &str = "\
#   The public key of a CURVE certificate, made by majordomo.
#   Give it to whom you want to speak with. Compare its fingerprint by another way.

";

/// A key or a pair of keys, and what is said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The public key.
    pub public: PublicKey,
    /// The secret key, which the public one belongs to.
    pub secret: Option<SecretKey>,
    /// Names and values of the section `metadata`, in their order. They are not secret.
    pub metadata: Vec<(String, String)>,
}

impl Certificate {
    /// A new pair.
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut octets = Zeroizing::new([0; SecretKey::LEN]);
        getrandom::fill(&mut *octets)
            .map_err(|error| KeyError::NoRandomness { reason: error.to_string() })?;
        Ok(Self::of_secret(SecretKey::new(*octets)))
    }

    /// The pair of a secret key.
    #[must_use]
    pub fn of_secret(secret: SecretKey) -> Self {
        Self { public: Dryoc::public_key(&secret), secret: Some(secret), metadata: Vec::new() }
    }

    /// Reads the text of a certificate, or of a bare public key. `path` is for what is said if it
    /// is none.
    ///
    /// # Errors
    /// What is wrong, and in which line. No error holds anything of a key.
    pub fn parse(text: &[u8], path: &Path) -> Result<Self, KeyError> {
        let path = || path.to_owned();
        let text = std::str::from_utf8(text).map_err(|error| {
            let before = text.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().filter(|octet| **octet == b'\n').count();
            KeyError::Syntax { path: path(), line, reason: "is no UTF-8".into() }
        })?;
        if let Some(public) = public_from_text(text.trim()) {
            return Ok(Self { public, secret: None, metadata: Vec::new() });
        }
        let mut found = Found::default();
        for (line, text) in (1..).zip(text.lines()) {
            found.line(text).map_err(|reason| KeyError::Syntax {
                path: path(),
                line,
                reason: reason.into(),
            })?;
        }
        let Found { public, secret, metadata, .. } = found;
        match (public, secret) {
            (None, None) => Err(KeyError::NoPublicKey { path: path() }),
            (Some(public), None) => Ok(Self { public, secret: None, metadata }),
            (public, Some(secret)) => {
                let pair = Self { metadata, ..Self::of_secret(secret) };
                if public.is_some_and(|public| public != pair.public) {
                    return Err(KeyError::NoPair { path: path() });
                }
                Ok(pair)
            }
        }
    }

    /// The text of the file that holds the public key alone.
    #[must_use]
    pub fn public_text(&self) -> String {
        let mut text = PUBLIC_BANNER.to_owned();
        self.write_beginning(&mut text);
        text
    }

    /// The text of the file that holds both keys; without a secret key that of the public one.
    #[must_use]
    pub fn secret_text(&self) -> Zeroizing<String> {
        // It does not grow when the secret is written: no copy is left behind.
        let metadata = self.metadata.iter().map(|(name, value)| name.len() + value.len() + 16);
        let mut text = Zeroizing::new(String::with_capacity(512 + metadata.sum::<usize>()));
        text.push_str(SECRET_BANNER);
        self.write_beginning(&mut text);
        if let Some(secret) = &self.secret {
            text.push_str("    secret-key = \"");
            text.push_str(&text_of_secret(secret));
            text.push_str("\"\n");
        }
        text
    }

    fn write_beginning(&self, text: &mut String) {
        text.push_str("metadata\n");
        for (name, value) in self.metadata.iter().filter(|(name, _)| is_plain(name)) {
            // Other readers know no escapes.
            let wrong = |c: char| matches!(c, '"' | '\'') || c.is_control();
            let value = value.replace(wrong, " ");
            text.extend(["    ", name, " = \"", &value, "\"\n"]);
        }
        text.extend(["curve\n    public-key = \"", &text_of_public(&self.public), "\"\n"]);
    }
}

/// Whether other readers understand it as the name of something: some look for keys in all lines,
/// whatever section they are in.
fn is_plain(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_key = name.starts_with("public-key") || name.starts_with("secret-key");
    !name.is_empty() && name.chars().all(good) && !is_key
}

/// What was found line by line.
#[derive(Default)]
struct Found {
    section: Section,
    public: Option<PublicKey>,
    secret: Option<SecretKey>,
    metadata: Vec<(String, String)>,
}

#[derive(Default, Clone, Copy)]
enum Section {
    Curve,
    Metadata,
    #[default]
    Other,
}

impl Found {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(value.trim_start())),
            None => (text.split('#').next().unwrap_or_default().trim_end(), None),
        };
        if !line.starts_with([' ', '\t']) {
            self.section = match (name, value) {
                ("curve", None) => Section::Curve,
                ("metadata", None) => Section::Metadata,
                _ => Section::Other,
            };
            return Ok(());
        }
        match (self.section, name, value) {
            (Section::Curve, "public-key", Some(value)) => {
                let key = public_from_text(key_in(value)?).ok_or(NO_KEY)?;
                if self.public.replace(key).is_some() {
                    return Err("`public-key` is there twice");
                }
            }
            (Section::Curve, "secret-key", Some(value)) => {
                let key = secret_from_text(key_in(value)?).ok_or(NO_KEY)?;
                if self.secret.replace(key).is_some() {
                    return Err("`secret-key` is there twice");
                }
            }
            (Section::Curve, "public-key" | "secret-key", None) => return Err(NO_KEY),
            (Section::Metadata, name, Some(value)) => {
                self.metadata.push((name.to_owned(), value_in(value)?.to_owned()));
            }
            // Other programs may say more.
            (Section::Curve | Section::Metadata | Section::Other, _, _) => {}
        }
        Ok(())
    }
}

const NO_KEY: &str = "no key of 40 characters in Z85";
const OPEN_QUOTE: &str = "a quotation mark is not closed";
const BEHIND: &str = "there is something behind the value";

/// A value in quotation marks, and whether there is nothing but a comment behind it.
fn quoted(value: &str) -> Option<Result<&str, &'static str>> {
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    let Some((inside, rest)) = value.get(1..).and_then(|value| value.split_once(quote)) else {
        return Some(Err(OPEN_QUOTE));
    };
    let rest = rest.trim_start();
    Some(if rest.is_empty() || rest.starts_with('#') { Ok(inside) } else { Err(BEHIND) })
}

/// A key, which may hold a `#` itself.
fn key_in(value: &str) -> Result<&str, &'static str> {
    if let Some(quoted) = quoted(value) {
        return quoted;
    }
    let key = value.get(..KEY_LEN).ok_or(NO_KEY)?;
    let rest = value.get(KEY_LEN..).unwrap_or_default();
    let ends = rest.is_empty() || rest.starts_with(char::is_whitespace);
    let rest = rest.trim_start();
    if ends && (rest.is_empty() || rest.starts_with('#')) { Ok(key) } else { Err(NO_KEY) }
}

fn value_in(value: &str) -> Result<&str, &'static str> {
    let bare = || Ok(value.split('#').next().unwrap_or_default().trim_end());
    quoted(value).unwrap_or_else(bare)
}

/// Reads a certificate with a secret key. The file is a regular one, ours, and nobody else can
/// read it.
///
/// # Errors
/// It is not so, or it is no such certificate.
pub fn read_secret(path: &Path) -> Result<Certificate, KeyError> {
    let certificate = Certificate::parse(&disk::read_secret(path, CERTIFICATE_MAX)?, path)?;
    if certificate.secret.is_none() {
        return Err(KeyError::NoSecretKey { path: path.into() });
    }
    Ok(certificate)
}

/// Reads the public key of a certificate, or of a file with nothing but 40 characters of Z85. A
/// secret key that is there, too, is not kept, and its file may be readable by others.
///
/// # Errors
/// There is no such key.
pub fn read_public(path: &Path) -> Result<Certificate, KeyError> {
    let certificate = Certificate::parse(&disk::read(path, CERTIFICATE_MAX)?, path)?;
    Ok(Certificate { secret: None, ..certificate })
}

/// Makes a new pair, and writes it: `NAME.secret` with mode 0600, `NAME.pub`. Returns the public
/// part, and the paths of the two.
///
/// # Errors
/// One of them is there already, or cannot be written. There is none of the two then.
pub fn write_pair(dir: &Path, name: &str) -> Result<(Certificate, PathBuf, PathBuf), KeyError> {
    if !is_name(name) {
        return Err(KeyError::BadName { name: name.escape_debug().take(128).collect() });
    }
    let metadata = vec![("name".to_owned(), name.to_owned())];
    let pair = Certificate { metadata, ..Certificate::generate()? };
    let [secret, public] = ["secret", "pub"].map(|kind| dir.join(format!("{name}.{kind}")));
    disk::create(&secret, PRIVATE, pair.secret_text().as_bytes())?;
    disk::create(&public, PUBLIC, pair.public_text().as_bytes()).inspect_err(|_| {
        // Half a pair is of no use. Nobody has seen it.
        let _ = std::fs::remove_file(&secret);
    })?;
    Ok((Certificate { secret: None, ..pair }, secret, public))
}

/// Whether a key may have that name.
#[must_use]
pub(super) fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&name.len()) && !name.starts_with(['.', '-', '_']) && name.chars().all(good)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// The keys of the vectors of RFC 26: 0x11 and 0x22, 32 times.
    const PUBLIC: &str = "DRPV(ZjlbI-atU=1asNq<5?U%9@f<CE@{I#U>Hu}";
    const SECRET: &str = "5FkP!5FkP!5FkP!5FkP!5FkP!5FkP!5FkP!5FkP!";

    fn parse(text: &str) -> Result<Certificate, String> {
        let parsed = Certificate::parse(text.as_bytes(), Path::new("x"));
        parsed.map_err(|error| {
            let said = error.to_string();
            assert!(!said.contains(SECRET) && !said.contains(PUBLIC), "{said}");
            said
        })
    }

    fn pair() -> Certificate {
        Certificate::of_secret(SecretKey::new([0x11; 32]))
    }

    #[test]
    fn files_of_other_programs_are_read() {
        let keys = format!("    public-key = \"{PUBLIC}\"\n    secret-key = \"{SECRET}\"\n");
        let both = pair();
        let public = Certificate { secret: None, ..pair() };
        let with = |name: &str, value: &str, pair: &Certificate| Certificate {
            metadata: vec![(name.into(), value.into())],
            ..pair.clone()
        };
        let pyzmq = "#   ****  Generated on 2026-11-29 19:23:30.437708 by pyzmq  ****\n\
                     #   ZeroMQ CURVE **Secret** Certificate\n\
                     #   DO NOT PROVIDE THIS FILE TO OTHER USERS nor change its permissions.\n\n";
        for (what, text, expected) in [
            ("pyzmq", format!("{pyzmq}metadata\ncurve\n{keys}"), both.clone()),
            (
                "pyzmq with metadata, which it does not quote",
                format!("{pyzmq}metadata\n    role = a tester\ncurve\n{keys}"),
                with("role", "a tester", &both),
            ),
            (
                "CZMQ",
                format!("{pyzmq}metadata\n    email = \"a#b@c.d\"\ncurve\n{keys}"),
                with("email", "a#b@c.d", &both),
            ),
            (
                "NorFab, from shared_key",
                format!("metadata\ncurve\n    public-key = \"{PUBLIC}\""),
                public.clone(),
            ),
            ("a bare key", format!("{PUBLIC}\r\n"), public.clone()),
            (
                "no quotes, and comments",
                format!("curve # x\r\n\tpublic-key={PUBLIC} # yes\r\n"),
                public.clone(),
            ),
            ("the secret key alone", format!("curve\n    secret-key = '{SECRET}'\n"), both.clone()),
            (
                "what is not for us",
                format!("version = 1\nother\n    public-key = 1\ncurve\n    x\n{keys}"),
                both.clone(),
            ),
        ] {
            assert_eq!(parse(&text), Ok(expected), "{what}:\n{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_without_a_key() {
        let public = format!("    public-key = \"{PUBLIC}\"\n");
        let other = SECRET.replace("5FkP!", "Hello");
        let said = |text: &str| parse(text).unwrap_err();
        for (text, start) in [
            (String::new(), "x: has no `public-key` under `curve`"),
            (public.clone(), "x: has no `public-key` under `curve`"),
            (format!("metadata\n{public}"), "x: has no `public-key` under `curve`"),
            (PUBLIC[1..].into(), "x: has no `public-key` under `curve`"),
            (format!("curve\n{public}{public}"), "x:3: `public-key` is there twice"),
            (format!("curve\n    secret-key = '{SECRET}"), "x:2: a quotation mark is not closed"),
            (
                format!("curve\n    secret-key = '{SECRET}' {SECRET}"),
                "x:2: there is something behind the value",
            ),
            (format!("curve\n    secret-key = {SECRET}{SECRET}"), "x:2: no key of 40 characters"),
            (format!("\ncurve\n    secret-key = {}", &SECRET[1..]), "x:3: no key of 40 characters"),
            (format!("curve\n    secret-key = \"{}~\"", &SECRET[1..]), "x:2: no key of 40"),
            (format!("curve\n    secret-key {SECRET}"), "x: has no `public-key`"),
            ("curve\n    secret-key".into(), "x:2: no key of 40 characters"),
            // 85^5 - 1 is more than 32 bits hold.
            (format!("curve\n    public-key = \"{}\"", "#".repeat(40)), "x:2: no key of 40"),
            (
                format!("curve\n{public}    secret-key = \"{other}\""),
                "x: its `public-key` does not belong to its `secret-key`",
            ),
        ] {
            let said = said(&text);
            assert!(said.starts_with(start), "{said}\n{text}");
        }
        let error = Certificate::parse(b"curve\n\n    public-key = \xff", Path::new("x"));
        assert!(error.unwrap_err().to_string().starts_with("x:3: is no UTF-8; "));
    }

    #[test]
    fn what_is_written_is_read_by_us_and_laid_out_as_others_want_it() {
        let metadata =
            vec![("name".into(), "anna".into()), ("note".into(), "\"\nsecret-key = 'x'".into())];
        let strange = ["public-key", "secret-keys", "a b", "", "\u{e4}"];
        let metadata = strange.into_iter().map(|name| (name.into(), "x".into())).chain(metadata);
        let metadata = metadata.collect();
        let pair = Certificate { metadata, ..pair() };
        let text = pair.secret_text();
        let end = format!("curve\n    public-key = \"{PUBLIC}\"\n    secret-key = \"{SECRET}\"\n");
        let begin = "metadata\n    name = \"anna\"\n    note = \"  secret-key =  x \"\n";
        assert!(text.ends_with(&format!("\n\n{begin}{end}")), "{}", &*text);
        let read = parse(&text).unwrap();
        assert_eq!((&read.secret, read.public), (&pair.secret, pair.public));
        assert_eq!(read.metadata[1].1, "  secret-key =  x ");
        let text = pair.public_text();
        assert!(text.contains(PUBLIC) && !text.contains(SECRET), "{text}");
        assert_eq!(parse(&text).unwrap().secret, None);
        let said = format!("{pair:?}");
        assert!(!said.contains(SECRET) && !said.contains("17, 17"), "{said}");
    }

    #[test]
    fn secrets_that_others_can_read_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (_, secret, public) = write_pair(dir.path(), "anna").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&secret), mode(&public) & 0o077), (0o600, 0o044));
        let pair = read_secret(&secret).unwrap();
        assert_eq!(read_public(&public).unwrap(), Certificate { secret: None, ..pair.clone() });
        assert_eq!(read_public(&secret).unwrap().secret, None);
        for wrong in [0o640, 0o604, 0o601, 0o610, 0o660, 0o644] {
            fs::set_permissions(&secret, fs::Permissions::from_mode(wrong)).unwrap();
            let said = read_secret(&secret).unwrap_err().to_string();
            let path = secret.display();
            let expected = format!(
                "{path}: others can read this secret, its mode is {wrong:04o}; run: chmod 600 \
                 {path}"
            );
            assert_eq!(said, expected);
        }
        for good in [0o400, 0o700] {
            fs::set_permissions(&secret, fs::Permissions::from_mode(good)).unwrap();
            assert_eq!(read_secret(&secret).unwrap(), pair);
        }
        let said = read_secret(&public).unwrap_err().to_string();
        assert!(said.contains("others can read this secret, its mode is 0644"), "{said}");
        fs::set_permissions(&public, fs::Permissions::from_mode(0o600)).unwrap();
        let said = read_secret(&public).unwrap_err().to_string();
        assert!(said.contains("has no `secret-key`; name the secret file"), "{said}");
    }

    #[test]
    fn secrets_of_others_are_refused() {
        let us = rustix::process::geteuid().as_raw();
        let dir = tempfile::tempdir().unwrap();
        let (_, secret, _) = write_pair(dir.path(), "anna").unwrap();
        // Only root can give a file away, and only others find files of root.
        let (path, owner) = if us == 0 {
            std::os::unix::fs::chown(&secret, Some(1), None).unwrap();
            (secret.as_path(), 1)
        } else {
            (Path::new("/etc/passwd"), 0)
        };
        let said = read_secret(path).unwrap_err();
        assert_eq!(said, KeyError::NotOurs { path: path.into(), owner, us });
    }

    #[test]
    fn what_is_no_file_of_keys_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let said = |path: &Path| read_public(path).unwrap_err().to_string();
        assert!(said(&at("none")).ends_with("none: there is no such file"));
        assert!(said(dir.path()).ends_with("is no regular file; name the file itself"));
        // Nobody writes into it, and it is not waited for.
        let mode = rustix::fs::Mode::RUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), kind, mode, 0).unwrap();
        assert!(said(&at("pipe")).ends_with("is no regular file; name the file itself"));
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert!(said(&at("socket")).ends_with("is no regular file; name the file itself"));
        fs::write(at("large"), vec![b'\n'; CERTIFICATE_MAX + 1]).unwrap();
        assert!(said(&at("large")).contains("has more than 65536 octets"));
        fs::write(at("full"), [&vec![b'\n'; CERTIFICATE_MAX - 40], PUBLIC.as_bytes()].concat())
            .unwrap();
        assert_eq!(read_public(&at("full")).unwrap().public, pair().public);
    }

    #[test]
    fn no_pair_is_overwritten_and_none_is_left_half() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("anna.pub"), "mine").unwrap();
        let error = write_pair(dir.path(), "anna").unwrap_err();
        assert_eq!(error, KeyError::Exists { path: at("anna.pub") });
        assert!(!at("anna.secret").exists());
        fs::remove_file(at("anna.pub")).unwrap();
        std::os::unix::fs::symlink(at("target"), at("anna.secret")).unwrap();
        assert!(matches!(write_pair(dir.path(), "anna"), Err(KeyError::Exists { .. })));
        assert!(!at("target").exists() && !at("anna.pub").exists());
        assert!(matches!(write_pair(&at("none"), "anna"), Err(KeyError::Unwritable { .. })));
        for name in ["", "../anna", ".anna", "-anna", "an na", "ännä", &"a".repeat(65)] {
            assert!(matches!(write_pair(dir.path(), name), Err(KeyError::BadName { .. })));
        }
    }
}
