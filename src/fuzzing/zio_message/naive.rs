//! ZIO messages and JSON by readers that take their time.

/// Prefix (level, form, label), coordinates and payload.
pub(super) type Whole = (u8, Vec<u8>, String, [u64; 3], Vec<Vec<u8>>);

/// The parts of a frame; none if it ends within one.
pub(super) fn parts(frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut octets = frame.iter().copied();
    let mut parts = Vec::new();
    while let Some(first) = octets.next() {
        let size = if first < 255 {
            u32::from(first)
        } else {
            (0..4).try_fold(0, |size: u32, _| Some(size << 8 | u32::from(octets.next()?)))?
        };
        let part: Vec<u8> = octets.by_ref().take(usize::try_from(size).ok()?).collect();
        if part.len() != usize::try_from(size).ok()? {
            return None;
        }
        parts.push(part);
    }
    Some(parts)
}

/// What the parts mean; none if they are not ZIO's.
pub(super) fn whole(parts: &[Vec<u8>]) -> Option<Whole> {
    let [prefix, coordinates, payload @ ..] = parts else { return None };
    if parts.len() > 1024 || prefix.len() < 8 || !prefix.starts_with(b"ZIO") {
        return None;
    }
    let level = prefix.get(3).copied().filter(u8::is_ascii_digit).filter(|level| *level < b'9')?;
    let form = prefix.get(4..8)?.to_vec();
    let label = String::from_utf8(prefix.get(8..)?.to_vec()).ok()?;
    String::from_utf8(form.clone()).ok()?;
    if label.len() > 1 << 20 || coordinates.len() != 24 {
        return None;
    }
    let mut numbers = [0; 3];
    for (at, octet) in coordinates.iter().enumerate() {
        let number = numbers.get_mut(at / 8)?;
        *number |= u64::from(*octet) << (8 * (at % 8));
    }
    Some((level, form, label, numbers, payload.to_vec()))
}

/// The attributes of a label, each with its value as it is written; none if it is no object.
pub(super) fn members(text: &str) -> Option<Vec<(String, String)>> {
    let mut reader = Reader { chars: text.chars().collect(), at: 0 };
    reader.space();
    if reader.peek() != Some('{') {
        return None;
    }
    let members = reader.object(0)?;
    reader.space();
    reader.peek().is_none().then_some(members)
}

/// The characters of a JSON string, given with its quotes.
pub(super) fn text_of(raw: &str) -> Option<String> {
    let mut reader = Reader { chars: raw.chars().collect(), at: 0 };
    reader.string()
}

struct Reader {
    chars: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn eat(&mut self, wanted: char) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn object(&mut self, depth: u32) -> Option<Vec<(String, String)>> {
        let mut members = Vec::new();
        self.eat('{')?;
        self.space();
        if self.peek() == Some('}') {
            self.at += 1;
            return Some(members);
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            self.eat(':')?;
            self.space();
            let from = self.at;
            self.value(depth)?;
            members.push((name, self.chars.get(from..self.at)?.iter().collect()));
            self.space();
            match self.next()? {
                ',' => {}
                '}' => return Some(members),
                _ => return None,
            }
        }
    }

    /// `depth`: arrays and objects around it, that of the label not counted.
    fn value(&mut self, depth: u32) -> Option<()> {
        match self.peek()? {
            '{' if depth < 128 => self.object(depth + 1).map(drop),
            '[' if depth < 128 => self.array(depth + 1),
            '{' | '[' => None,
            '"' => self.string().map(drop),
            't' => "true".chars().try_for_each(|c| self.eat(c)),
            'f' => "false".chars().try_for_each(|c| self.eat(c)),
            'n' => "null".chars().try_for_each(|c| self.eat(c)),
            'N' => "NaN".chars().try_for_each(|c| self.eat(c)),
            'I' => "Infinity".chars().try_for_each(|c| self.eat(c)),
            _ => self.number(),
        }
    }

    fn array(&mut self, depth: u32) -> Option<()> {
        self.eat('[')?;
        self.space();
        if self.peek() == Some(']') {
            self.at += 1;
            return Some(());
        }
        loop {
            self.space();
            self.value(depth)?;
            self.space();
            match self.next()? {
                ',' => {}
                ']' => return Some(()),
                _ => return None,
            }
        }
    }

    fn digits(&mut self) -> Option<()> {
        let from = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > from).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        if self.peek() == Some('-') {
            self.at += 1;
            if self.peek() == Some('I') {
                return "Infinity".chars().try_for_each(|c| self.eat(c));
            }
        }
        if self.peek() == Some('0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some('.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            self.at += 1;
            if matches!(self.peek(), Some('+' | '-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        // In UTF-16, as escapes have it; halves of pairs are replaced at the end.
        let mut units = Vec::new();
        self.eat('"')?;
        loop {
            let unit = match self.next()? {
                '"' => break,
                '\\' => match self.next()? {
                    same @ ('"' | '\\' | '/') => same as u16,
                    'b' => 8,
                    't' => 9,
                    'n' => 10,
                    'f' => 12,
                    'r' => 13,
                    'u' => (0..4).try_fold(0, |unit: u16, _| {
                        let digit = self.next()?.to_digit(16)?;
                        Some(unit << 4 | u16::try_from(digit).ok()?)
                    })?,
                    _ => return None,
                },
                c if c < ' ' => return None,
                c => {
                    units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
                    continue;
                }
            };
            units.push(unit);
        }
        Some(String::from_utf16_lossy(&units))
    }
}
