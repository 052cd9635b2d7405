//! The text of a file of authorized keys, read as TOML, each value with its place.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::problem::{RingError, RingProblem, TOLD_MAX};
use super::{KEYS_MAX, ROLES_MAX};
use crate::id::{PublicKey, UserName};
use crate::keys::text::public_from_text;
use crate::nearest::nearest;

/// A place in the text, octets from its beginning.
pub(super) type At = usize;

/// A text and where it stands.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) at: At,
}

/// What allows and what denies.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) allow: Vec<Word>,
    pub(super) deny: Vec<Word>,
}

/// `[roles.NAME]`.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) name: Word,
    pub(super) lists: Lists,
}

/// `[[key]]` or `[[user]]`.
#[derive(Debug)]
pub(super) struct Entry<W> {
    /// Its header.
    pub(super) at: At,
    pub(super) name: Word,
    pub(super) who: W,
    pub(super) who_at: At,
    pub(super) roles: Vec<Word>,
    pub(super) lists: Lists,
}

/// `[[denied]]`.
#[derive(Debug)]
pub(super) struct Denied {
    /// Its header.
    pub(super) at: At,
    pub(super) name: Option<Word>,
    pub(super) key: PublicKey,
    pub(super) key_at: At,
}

/// `user`: the name as PLAIN has it, and where the password is.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) user: UserName,
    pub(super) password_file: Word,
}

/// All of the file.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) roles: Vec<Role>,
    /// `[roles]`, if that is written, too.
    pub(super) roles_at: Option<At>,
    pub(super) keys: Vec<Entry<PublicKey>>,
    pub(super) users: Vec<Entry<Login>>,
    pub(super) denied: Vec<Denied>,
    /// Lists that are written in another way than section by section.
    pub(super) inline: Vec<(&'static str, At)>,
}

/// Reads a text, and collects what is wrong with it.
#[derive(Debug)]
pub(super) struct Reader<'t> {
    path: &'t Path,
    text: &'t str,
    /// Where each line begins.
    lines: Vec<At>,
    problems: Vec<(At, String)>,
    more: usize,
}

impl<'t> Reader<'t> {
    pub(super) fn new(path: &'t Path, text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, octet)| *octet == b'\n');
        let lines = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        Self { path, text, lines, problems: Vec::new(), more: 0 }
    }

    /// Says what is wrong.
    pub(super) fn complain(&mut self, at: At, what: impl Into<String>) {
        if self.problems.len() < TOLD_MAX {
            self.problems.push((at, what.into()));
        } else {
            self.more += 1;
        }
    }

    /// The line of a place, from 1 on.
    pub(super) fn line(&self, at: At) -> u32 {
        let line = self.lines.partition_point(|begin| *begin <= at).max(1);
        u32::try_from(line).unwrap_or(u32::MAX)
    }

    fn column(&self, at: At) -> u32 {
        let line = self.lines.partition_point(|begin| *begin <= at).max(1);
        let begin = self.lines.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(begin..at).unwrap_or_default();
        u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX)
    }

    /// Whether all was right.
    pub(super) fn finish(mut self) -> Result<(), RingError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        self.problems.sort_by_key(|(at, _)| *at);
        let problems = std::mem::take(&mut self.problems).into_iter();
        let problems = problems.map(|(at, what)| RingProblem {
            path: self.path.into(),
            line: self.line(at),
            column: self.column(at),
            what,
        });
        Err(RingError::Content(problems.collect(), self.more))
    }

    /// Reads all of the text.
    pub(super) fn document(&mut self) -> Document {
        let mut document = Document::default();
        let root = match DeTable::parse(self.text) {
            Ok(root) => root.into_inner(),
            Err(error) => {
                let at = error.span().unwrap_or_default().start;
                let reason = error.message().trim().replace('\n', ", ");
                self.complain(at, format!("{reason}; the file must be TOML"));
                return document;
            }
        };
        let mut root = Fields::of(root, "the file".into());
        if let Some(roles) = root.take("roles") {
            document.roles_at = Some(roles.span().start);
            document.roles = self.roles(roles);
        }
        for title in ["key", "denied"] {
            let at = root.table.get(title).map(|value| value.span().start);
            let inline = |at: &At| !self.text.get(*at..).unwrap_or_default().starts_with("[[");
            document.inline.extend(at.filter(inline).map(|at| (title, at)));
        }
        document.keys = self.entries(root.take("key"), "key", Self::key);
        document.users = self.entries(root.take("user"), "user", Self::user);
        document.denied = self.entries(root.take("denied"), "denied", Self::denied);
        self.unknown(root, &["roles", "key", "user", "denied"]);
        if document.keys.len() + document.denied.len() + document.users.len() > KEYS_MAX {
            self.complain(0, format!("more than {KEYS_MAX} keys and users; split the broker"));
        }
        if document.roles.len() > ROLES_MAX {
            self.complain(0, format!("more than {ROLES_MAX} roles; use fewer"));
        }
        document
    }

    fn roles(&mut self, value: Spanned<DeValue<'_>>) -> Vec<Role> {
        let Some(table) = self.table(value, "`roles` is a section: write [roles.NAME]") else {
            return Vec::new();
        };
        let mut roles = Vec::new();
        for (name, value) in table {
            let name = word(name);
            self.check_name(&name);
            let Some(table) = self.table(value, "a role is a section: write [roles.NAME]") else {
                continue;
            };
            let mut fields = Fields::of(table, format!("[roles.{}]", name.text));
            let lists = self.lists(&mut fields);
            self.unknown(fields, &["allow", "deny"]);
            roles.push(Role { name, lists });
        }
        roles
    }

    /// The elements of an array of tables.
    fn entries<T>(
        &mut self,
        value: Option<Spanned<DeValue<'_>>>,
        title: &str,
        read: impl Fn(&mut Self, Fields<'_>, At) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = value else { return Vec::new() };
        let at = value.span().start;
        let DeValue::Array(elements) = value.into_inner() else {
            self.complain(at, format!("`{title}` is a list of sections: write [[{title}]]"));
            return Vec::new();
        };
        let mut entries = Vec::new();
        for element in elements {
            let at = element.span().start;
            let why = format!("`{title}` is a list of sections: write [[{title}]]");
            if let Some(table) = self.table(element, &why) {
                entries.extend(read(self, Fields::of(table, format!("[[{title}]]")), at));
            }
        }
        entries
    }

    fn key(&mut self, mut fields: Fields<'_>, at: At) -> Option<Entry<PublicKey>> {
        let name = self.needed(&mut fields, "name", at);
        let key = self.public_key(&mut fields, at);
        let (roles, lists) = (self.words(fields.take("roles"), "roles"), self.lists(&mut fields));
        self.unknown(fields, &["name", "key", "roles", "allow", "deny"]);
        let (name, (who, who_at)) = (name?, key?);
        self.check_name(&name);
        Some(Entry { at, name, who, who_at, roles, lists })
    }

    fn user(&mut self, mut fields: Fields<'_>, at: At) -> Option<Entry<Login>> {
        let name = self.needed(&mut fields, "name", at);
        let password_file = self.needed(&mut fields, "password_file", at);
        let (roles, lists) = (self.words(fields.take("roles"), "roles"), self.lists(&mut fields));
        if let Some(password) = fields.take("password") {
            let why = "a password does not stand here; write it into a file of mode 0600, and \
                       name that as `password_file`";
            self.complain(password.span().start, why);
        }
        self.unknown(fields, &["name", "password_file", "roles", "allow", "deny"]);
        let (name, password_file) = (name?, password_file?);
        self.check_name(&name);
        let user = match UserName::try_from(name.text.as_bytes()) {
            Ok(user) => user,
            Err(error) => {
                self.complain(name.at, error.to_string());
                return None;
            }
        };
        let who_at = name.at;
        Some(Entry { at, name, who: Login { user, password_file }, who_at, roles, lists })
    }

    fn denied(&mut self, mut fields: Fields<'_>, at: At) -> Option<Denied> {
        let name = fields.take("name").and_then(|name| self.text(name, "name"));
        let key = self.public_key(&mut fields, at);
        self.unknown(fields, &["name", "key"]);
        name.iter().for_each(|name| self.check_name(name));
        let (key, key_at) = key?;
        Some(Denied { at, name, key, key_at })
    }

    fn public_key(&mut self, fields: &mut Fields<'_>, at: At) -> Option<(PublicKey, At)> {
        let Word { text, at } = self.needed(fields, "key", at)?;
        let key = public_from_text(&text);
        if key.is_none() {
            let why = "is no public key: 40 characters in Z85, as `majordomo key show` prints it";
            self.complain(at, format!("`key` {why}"));
        }
        Some((key?, at))
    }

    fn lists(&mut self, fields: &mut Fields<'_>) -> Lists {
        Lists {
            allow: self.words(fields.take("allow"), "allow"),
            deny: self.words(fields.take("deny"), "deny"),
        }
    }

    fn needed(&mut self, fields: &mut Fields<'_>, name: &str, at: At) -> Option<Word> {
        let Some(value) = fields.take(name) else {
            self.complain(at, format!("`{name}` is missing in this {}", fields.title));
            return None;
        };
        self.text(value, name)
    }

    fn text(&mut self, value: Spanned<DeValue<'_>>, name: &str) -> Option<Word> {
        let Range { start: at, .. } = value.span();
        match value.into_inner() {
            DeValue::String(text) => Some(Word { text: text.into_owned(), at }),
            other => {
                let found = other.type_str();
                self.complain(at, format!("`{name}` is a text in quotation marks, not {found}"));
                None
            }
        }
    }

    fn words(&mut self, value: Option<Spanned<DeValue<'_>>>, name: &str) -> Vec<Word> {
        let Some(value) = value else { return Vec::new() };
        let at = value.span().start;
        let DeValue::Array(elements) = value.into_inner() else {
            self.complain(at, format!("`{name}` is a list of texts: write {name} = [\"...\"]"));
            return Vec::new();
        };
        elements.into_iter().filter_map(|element| self.text(element, name)).collect()
    }

    fn table<'i>(&mut self, value: Spanned<DeValue<'i>>, why: &str) -> Option<DeTable<'i>> {
        let at = value.span().start;
        match value.into_inner() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.complain(at, why);
                None
            }
        }
    }

    /// What is left over was not asked for.
    fn unknown(&mut self, fields: Fields<'_>, names: &[&str]) {
        for (name, _) in fields.table {
            let Word { text, at } = word(name);
            let hint = nearest(&text, names).map_or_else(
                || format!("{} has {}", fields.title, names.join(", ")),
                |name| format!("did you mean `{name}`?"),
            );
            self.complain(at, format!("unknown key `{}`; {hint}", text.escape_debug()));
        }
    }

    /// A name is shown to people and to workers.
    fn check_name(&mut self, name: &Word) {
        if let Err(why) = super::check_name(&name.text) {
            self.complain(name.at, why);
        }
    }
}

fn word(key: Spanned<DeString<'_>>) -> Word {
    Word { at: key.span().start, text: key.into_inner().into_owned() }
}

/// A table whose values are taken out one by one.
struct Fields<'i> {
    table: DeTable<'i>,
    title: String,
}

impl<'i> Fields<'i> {
    fn of(table: DeTable<'i>, title: String) -> Self {
        Self { table, title }
    }

    fn take(&mut self, name: &str) -> Option<Spanned<DeValue<'i>>> {
        self.table.remove(name)
    }
}
