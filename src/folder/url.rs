//! `nf://path`: the name of a file or folder below the folder that is served. Pure.

use std::fmt;
use std::str::FromStr;

/// What every URL begins with.
pub const SCHEME: &str = "nf://";
/// Octets of a URL.
pub const URL_MAX: usize = 4096;
/// Octets of one name in it; what file systems take.
pub const NAME_MAX: usize = 255;
/// Names in it.
pub const DEPTH_MAX: usize = 64;

/// Why a text is no URL of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// It does not begin with `nf://`.
    #[error("a URL begins with nf://; write such as nf://folder/file.txt")]
    Scheme,
    /// It is too long, or one of its names, or it has too many of them.
    #[error("the URL has {what} = {size}, more than {max}; use shorter names")]
    TooLong {
        /// What there is too much of: `octets`, `octets of a name`, `names`.
        what: &'static str,
        /// How much there is.
        size: usize,
        /// How much there may be.
        max: usize,
    },
    /// It names something outside: it has `..`, or begins with `/`.
    #[error("the URL leads out of the folder that is served; leave `..` and a leading `/` out")]
    Outside,
    /// A backslash, or a control character such as NUL.
    #[error("the URL has {0:?} in it, which no name may have; use `/` between names")]
    Forbidden(char),
}

/// A URL that was read: names below the folder, none of which is `.` or `..`.
///
/// Percent signs are themselves: nothing is decoded. `nf://` alone is the folder itself; a `.`, an
/// empty name and a final `/` are left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileUrl {
    /// Names with `/` between them.
    path: String,
}

impl FileUrl {
    /// The folder that is served.
    #[must_use]
    pub fn root() -> Self {
        Self { path: String::new() }
    }

    /// The path from the folder that is served, without a `/` at either end; empty for the folder.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The last name; none for the folder that is served.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.path.rsplit('/').next().filter(|name| !name.is_empty())
    }

    /// Whether one of its names is not for everybody: see [`is_hidden`].
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.path.split('/').any(is_hidden)
    }

    /// That name below this one.
    ///
    /// # Errors
    /// [`UrlError`]; a `/` in the name is refused, too.
    pub fn join(&self, name: &str) -> Result<Self, UrlError> {
        if let Some(c) = name.chars().find(|c| *c == '/' || is_forbidden(*c)) {
            return Err(UrlError::Forbidden(c));
        }
        if matches!(name, "" | "." | "..") {
            return Err(UrlError::Outside);
        }
        let between = if self.path.is_empty() { "" } else { "/" };
        format!("{self}{between}{name}").parse()
    }
}

/// Whether a name is not for everybody: it begins with a dot, or begins and ends with `__`, as
/// `__norfab__` does, where NorFab keeps keys.
#[must_use]
pub fn is_hidden(name: &str) -> bool {
    let wrapped = name.strip_prefix("__").is_some_and(|rest| rest.ends_with("__"));
    name.starts_with('.') || wrapped
}

fn is_forbidden(c: char) -> bool {
    c == '\\' || c.is_control()
}

impl FromStr for FileUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let limit = |what, size, max| {
            if size > max { Err(UrlError::TooLong { what, size, max }) } else { Ok(()) }
        };
        limit("octets", text.len(), URL_MAX)?;
        let rest = text.strip_prefix(SCHEME).ok_or(UrlError::Scheme)?;
        if let Some(c) = rest.chars().find(|c| is_forbidden(*c)) {
            return Err(UrlError::Forbidden(c));
        }
        if rest.starts_with('/') {
            return Err(UrlError::Outside);
        }
        let names: Vec<_> = rest.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
        if names.contains(&"..") {
            return Err(UrlError::Outside);
        }
        limit("names", names.len(), DEPTH_MAX)?;
        let longest = names.iter().map(|name| name.len()).max().unwrap_or_default();
        limit("octets of a name", longest, NAME_MAX)?;
        Ok(Self { path: names.join("/") })
    }
}

impl fmt::Display for FileUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_names_below_the_folder() {
        let long = "x".repeat(NAME_MAX);
        for (text, path, name, hidden) in [
            ("nf://", "", None, false),
            ("nf://.", "", None, false),
            ("nf://a", "a", Some("a"), false),
            ("nf://a/b.txt", "a/b.txt", Some("b.txt"), false),
            ("nf://a//./b/", "a/b", Some("b"), false),
            ("nf://%2e%2e/a b", "%2e%2e/a b", Some("a b"), false),
            ("nf://c:/ü", "c:/ü", Some("ü"), false),
            ("nf://...", "...", Some("..."), true),
            ("nf://.ssh/id", ".ssh/id", Some("id"), true),
            ("nf://__norfab__/files", "__norfab__/files", Some("files"), true),
            ("nf://__init__.py", "__init__.py", Some("__init__.py"), false),
            ("nf://a/__pycache__", "a/__pycache__", Some("__pycache__"), true),
            ("nf://___", "___", Some("___"), false),
            ("nf://a__b/c__d", "a__b/c__d", Some("c__d"), false),
            (&format!("nf://{long}"), &long, Some(&long), false),
        ] {
            let url: FileUrl = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((url.path(), url.name(), url.is_hidden()), (path, name, hidden), "{text}");
            assert_eq!(url.to_string().parse(), Ok(url), "{text}");
        }
    }

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let too_long = |what, size, max| UrlError::TooLong { what, size, max };
        for (text, error) in [
            ("", UrlError::Scheme),
            ("a", UrlError::Scheme),
            ("NF://a", UrlError::Scheme),
            ("git://a", UrlError::Scheme),
            (" nf://a", UrlError::Scheme),
            ("nf:///etc/passwd", UrlError::Outside),
            ("nf://../../etc/passwd", UrlError::Outside),
            ("nf://..", UrlError::Outside),
            ("nf://a/..", UrlError::Outside),
            ("nf://a/../b", UrlError::Outside),
            ("nf://./../b", UrlError::Outside),
            ("nf://a\\..\\b", UrlError::Forbidden('\\')),
            ("nf://a\0", UrlError::Forbidden('\0')),
            ("nf://a\n", UrlError::Forbidden('\n')),
            ("nf://\u{85}", UrlError::Forbidden('\u{85}')),
            (&format!("nf://{}", "x".repeat(256)), too_long("octets of a name", 256, 255)),
            (&format!("nf://{}", "x/".repeat(65)), too_long("names", 65, 64)),
            (&format!("nf://{}", "/".repeat(5000)), too_long("octets", 5005, 4096)),
        ] {
            assert_eq!(text.parse::<FileUrl>(), Err(error), "{text:?}");
        }
        let url: FileUrl = "nf://a".parse().unwrap();
        assert_eq!(url.join("b").unwrap().to_string(), "nf://a/b");
        assert_eq!(FileUrl::root().join("b").unwrap().to_string(), "nf://b");
        for name in ["..", ".", "", "a/b", "/", "a\\b", "a\0"] {
            assert!(url.join(name).is_err(), "{name:?}");
        }
    }
}
