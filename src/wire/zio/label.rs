//! A label that is a JSON object: read as far as is needed, kept as it was written.

use std::borrow::Cow;

use super::json::{Chars, Scanner};
use super::malformed::Malformed;

/// A label that was found to be a JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Label<'a>(&'a str);

/// An attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name, a JSON string with its quotes.
    pub(super) key: &'a str,
    /// Its value.
    pub value: Value<'a>,
    /// Where in the label the name begins.
    pub(super) start: usize,
    /// Where the value ends.
    pub(super) end: usize,
}

/// A value as it is written: `2`, `2.0` and `"2"` are three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value<'a>(&'a str);

/// The attributes of a label in their order, those of one name as often as they stand there.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    scanner: Scanner<'a>,
    state: Next,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// `{`, then an attribute or `}`.
    Begin,
    /// `,` and an attribute, or `}`.
    Member,
    /// Nothing.
    End,
}

impl<'a> Label<'a> {
    /// Reads the whole of a label.
    ///
    /// # Errors
    /// It is no JSON object, or nested too deep.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        Members::of(text).try_for_each(|member| member.map(drop))?;
        Ok(Self(text))
    }

    /// A label that was read to its end.
    pub(super) fn read(text: &'a str) -> Self {
        Self(text)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The attributes.
    pub fn members(self) -> impl Iterator<Item = Member<'a>> {
        Members::of(self.0).map_while(Result::ok)
    }

    /// The attribute of that name; of several the last one, as all readers of ZIO have it.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Value<'a>> {
        self.members().filter(|member| member.is(name)).last().map(|member| member.value)
    }
}

impl<'a> Member<'a> {
    /// Whether that is its name.
    #[inline]
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        let text = self.written();
        text == name
            || text.contains('\\') && Chars::of(self.key).is_some_and(|key| key.eq(name.chars()))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> Cow<'a, str> {
        let text = self.written();
        if text.contains('\\') {
            Cow::Owned(Chars::of(self.key).into_iter().flatten().collect())
        } else {
            Cow::Borrowed(text)
        }
    }

    /// Its name with whatever escapes it has.
    fn written(&self) -> &'a str {
        self.key.get(1..self.key.len().saturating_sub(1)).unwrap_or_default()
    }
}

impl<'a> Value<'a> {
    /// Reads a value.
    ///
    /// # Errors
    /// The text is no JSON value, or more than one.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        let mut scanner = Scanner::new(text);
        let value = scanner.value()?;
        scanner.space();
        if scanner.peek().is_some() { scanner.bad() } else { Ok(Self(value)) }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The characters, if it is a string.
    pub fn chars(self) -> Option<impl Iterator<Item = char> + 'a> {
        Chars::of(self.0)
    }

    /// Whether it is that string.
    #[inline]
    #[must_use]
    pub fn is(self, text: &str) -> bool {
        Chars::of(self.0).is_some_and(|chars| chars.eq(text.chars()))
    }

    /// The number, if it is written as a whole one and has 64 bits at most.
    #[must_use]
    pub fn integer(self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// Whether it counts as absent where Python asks `if value`: zero, empty, false, null.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        let inner = self.0.get(1..self.0.len().saturating_sub(1)).unwrap_or_default();
        match self.0.as_bytes().first() {
            Some(b'f' | b'n') => true,
            Some(b'"') => inner.is_empty(),
            Some(b'[' | b'{') => inner.trim_ascii().is_empty(),
            Some(b'-' | b'0'..=b'9') => self.0.parse::<f64>().is_ok_and(|number| number == 0.0),
            _ => false,
        }
    }
}

impl<'a> Members<'a> {
    /// The attributes of a label that nobody has read yet: what is wrong is said at its place, and
    /// ends them.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        Self { scanner: Scanner::new(text), state: Next::Begin }
    }

    fn advance(&mut self) -> Result<Option<Member<'a>>, Malformed> {
        let scanner = &mut self.scanner;
        let begins = match self.state {
            Next::End => return Ok(None),
            Next::Begin => {
                scanner.space();
                if !scanner.eat(b'{') {
                    scanner.value()?;
                    return Err(Malformed::NoObject);
                }
                scanner.space();
                scanner.peek() != Some(b'}')
            }
            Next::Member => {
                scanner.space();
                scanner.eat(b',')
            }
        };
        if !begins {
            let ended = scanner.eat(b'}');
            scanner.space();
            if !ended || scanner.peek().is_some() {
                return scanner.bad();
            }
            self.state = Next::End;
            return Ok(None);
        }
        self.state = Next::Member;
        scanner.space();
        let start = scanner.at();
        let key = scanner.key()?;
        let value = Value(scanner.value()?);
        Ok(Some(Member { key, value, start, end: scanner.at() }))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.state = Next::End;
        }
        next.transpose()
    }
}
