//! JSON in one pass over its text: no tree, no allocation, no recursion.
//!
//! What Python writes is taken too, though RFC 8259 does not have it: `NaN`, `Infinity`,
//! `-Infinity`, and halves of surrogate pairs that stand alone.

use super::DEPTH_MAX;
use super::malformed::Malformed;

/// A place in a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// Arrays and objects that were begun and not ended: a bit for each, the innermost one lowest.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    objects: u128,
    depth: u32,
}

impl Open {
    fn push(&mut self, object: bool) -> Result<(), Malformed> {
        if self.depth == DEPTH_MAX {
            return Err(Malformed::TooDeep);
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(object);
        Ok(())
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
    }

    /// Whether the innermost one is an object; none if nothing is open.
    fn is_object(self) -> Option<bool> {
        (self.depth > 0).then_some(self.objects & 1 == 1)
    }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Octets passed so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn bad<T>(&self) -> Result<T, Malformed> {
        Err(Malformed::BadJson { at: self.at.min(self.text.len()) })
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes over that octet, if it is next.
    pub(super) fn eat(&mut self, octet: u8) -> bool {
        let is_next = self.peek() == Some(octet);
        self.at += usize::from(is_next);
        is_next
    }

    /// Passes over white space.
    pub(super) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn since(&self, from: usize) -> &'a str {
        self.text.get(from..self.at).unwrap_or_default()
    }

    /// Passes over a string, and gives it with its quotes.
    pub(super) fn string(&mut self) -> Result<&'a str, Malformed> {
        let from = self.at;
        if !self.eat(b'"') {
            return self.bad();
        }
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(self.since(from));
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape()?;
                }
                Some(b' '..) => self.at += 1,
                Some(_) | None => return self.bad(),
            }
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|octet| octet.is_ascii_hexdigit()) {
                        return self.bad();
                    }
                    self.at += 1;
                }
            }
            Some(_) | None => return self.bad(),
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), Malformed> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return self.bad();
        }
        self.at += word.len();
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let from = self.at;
        while self.peek().is_some_and(|octet| octet.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == from { self.bad() } else { Ok(()) }
    }

    fn number(&mut self) -> Result<(), Malformed> {
        if self.eat(b'-') && self.peek() == Some(b'I') {
            return self.word("Infinity");
        }
        // No digits follow a zero in front.
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(())
    }

    /// Passes over white space, a key, and the colon behind it; gives the key with its quotes.
    pub(super) fn key(&mut self) -> Result<&'a str, Malformed> {
        self.space();
        let key = self.string()?;
        self.space();
        if self.eat(b':') { Ok(key) } else { self.bad() }
    }

    /// Passes over white space and a value, and gives the value as it is written.
    pub(super) fn value(&mut self) -> Result<&'a str, Malformed> {
        self.space();
        let from = self.at;
        let mut open = Open::default();
        loop {
            self.space();
            let begun = match self.peek() {
                Some(b'{') => self.begin(true, b'}', &mut open)?,
                Some(b'[') => self.begin(false, b']', &mut open)?,
                Some(b'"') => self.string().map(|_| false)?,
                Some(b't') => self.word("true").map(|()| false)?,
                Some(b'f') => self.word("false").map(|()| false)?,
                Some(b'n') => self.word("null").map(|()| false)?,
                Some(b'N') => self.word("NaN").map(|()| false)?,
                Some(b'I') => self.word("Infinity").map(|()| false)?,
                Some(_) | None => self.number().map(|()| false)?,
            };
            if !begun && self.is_whole(&mut open)? {
                return Ok(self.since(from));
            }
        }
    }

    /// Begins an array or an object; false if it ends at once.
    fn begin(&mut self, object: bool, end: u8, open: &mut Open) -> Result<bool, Malformed> {
        open.push(object)?;
        self.at += 1;
        self.space();
        if self.eat(end) {
            open.pop();
            return Ok(false);
        }
        if object {
            self.key()?;
        }
        Ok(true)
    }

    /// A value has ended, and maybe all around it; false if another one follows.
    fn is_whole(&mut self, open: &mut Open) -> Result<bool, Malformed> {
        while let Some(object) = open.is_object() {
            self.space();
            if self.eat(b',') {
                if object {
                    self.key()?;
                }
                return Ok(false);
            }
            if !self.eat(if object { b'}' } else { b']' }) {
                return self.bad();
            }
            open.pop();
        }
        Ok(true)
    }
}

/// The characters of a string, given with its quotes. Half a surrogate pair is U+FFFD.
#[derive(Debug, Clone)]
pub(super) struct Chars<'a>(std::str::Chars<'a>);

impl<'a> Chars<'a> {
    /// None if it is no string.
    pub(super) fn of(raw: &'a str) -> Option<Self> {
        Some(Self(raw.strip_prefix('"')?.strip_suffix('"')?.chars()))
    }

    fn hex(digits: &mut std::str::Chars<'_>) -> u32 {
        digits.take(4).fold(0, |number, digit| number << 4 | digit.to_digit(16).unwrap_or(0))
    }

    fn unicode(&mut self) -> char {
        let high = Self::hex(&mut self.0);
        let mut number = high;
        if (0xd800..0xdc00).contains(&high) {
            let mut after = self.0.clone();
            let is_escape = after.next() == Some('\\') && after.next() == Some('u');
            let low = if is_escape { Self::hex(&mut after) } else { 0 };
            if (0xdc00..0xe000).contains(&low) {
                self.0 = after;
                number = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            }
        }
        char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER)
    }
}

impl Iterator for Chars<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let first = self.0.next()?;
        if first != '\\' {
            return Some(first);
        }
        Some(match self.0.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => self.unicode(),
            other => other,
        })
    }
}
