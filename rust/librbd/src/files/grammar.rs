//! Parses an INI file as librados of Octopus (15) and later does, byte for byte.
//!
//! librados uses one grammar of Boost.Spirit for `ceph.conf` and for keyrings:
//!
//! ```text
//! file    = (setting | eol* section*) end
//! section = heading setting* eol*
//! heading = '[' text+ ']' rest-of-line+
//! setting = blank* key blank* '=' blank* value rest-of-line+
//! ```
//!
//! It skips comments and continued lines before each character outside quotes. Each skip checks whether the
//! next character is a blank, and Boost asserts that this character is ASCII. For any other character, the
//! process ends with SIGABRT ([`Stop::Abort`]), unless librados was built without assertions.

/// Why librados does not accept a text, with the offset of the byte at which it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It returns an error.
    Refused(usize),
    /// It aborts the process.
    Abort(usize),
    /// It returns an error, because the text is not UTF-8.
    NotUtf8(usize),
}

impl Stop {
    pub(crate) const fn offset(self) -> usize {
        match self {
            Self::Refused(at) | Self::Abort(at) | Self::NotUtf8(at) => at,
        }
    }
}

/// One `key = value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The section's name; `global` for a setting without one.
    pub(crate) section: String,
    /// The key with an underscore for each run of blanks.
    pub(crate) key: String,
    /// The value, without the blanks around it.
    pub(crate) value: String,
    /// The offset of the key.
    pub(crate) offset: usize,
}

/// The settings and sections of a file, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) settings: Vec<Setting>,
    /// Name and offset of each heading.
    pub(crate) sections: Vec<(String, usize)>,
}

type Parsed<T> = Result<T, Stop>;

/// Returns the settings of a text, if librados accepts it.
pub(crate) fn parse(text: &[u8]) -> Parsed<Contents> {
    if let Err(error) = std::str::from_utf8(text) {
        return Err(Stop::NotUtf8(error.valid_up_to()));
    }
    let parser = Parser { text };
    let mut contents = Contents::default();
    let mut at = 0;
    if let Some(setting) = parser.setting(&mut at, "global")? {
        contents.settings.push(setting);
    } else {
        parser.line_ends(&mut at)?;
        while parser.section(&mut at, &mut contents)? {}
    }
    parser.skip(&mut at)?;
    match at == text.len() {
        true => Ok(contents),
        false => Err(Stop::Refused(at)),
    }
}

struct Parser<'text> {
    text: &'text [u8],
}

/// Each method moves `at` to the end of its match.
impl Parser<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    fn is_blank(&self, at: usize) -> Parsed<bool> {
        match self.byte(at) {
            Some(0x80..) => Err(Stop::Abort(at)),
            byte => Ok(matches!(byte, Some(b' ' | b'\t'))),
        }
    }

    fn is_line_end(&self, at: usize) -> bool {
        matches!(self.byte(at), Some(b'\r' | b'\n'))
    }

    fn line_end(&self, at: &mut usize) -> bool {
        let start = *at;
        for byte in [b'\r', b'\n'] {
            *at += usize::from(self.byte(*at) == Some(byte));
        }
        *at > start
    }

    /// Skips comments and ends of continued lines.
    fn skip(&self, at: &mut usize) -> Parsed<()> {
        while *at < self.text.len() {
            let mut behind = *at + 1;
            if self.byte(*at) == Some(b'\\') && self.line_end(&mut behind) {
                *at = behind;
            } else if !self.comment(at)? {
                break;
            }
        }
        Ok(())
    }

    fn comment(&self, at: &mut usize) -> Parsed<bool> {
        let mut ahead = *at;
        while self.is_blank(ahead)? {
            ahead += 1;
        }
        if !matches!(self.byte(ahead), Some(b'#' | b';')) {
            return Ok(false);
        }
        while ahead < self.text.len() && !self.is_line_end(ahead) {
            ahead += 1;
        }
        *at = ahead;
        Ok(true)
    }

    fn blanks(&self, at: &mut usize) -> Parsed<()> {
        self.skip(at)?;
        while self.is_blank(*at)? {
            *at += 1;
        }
        Ok(())
    }

    /// At least one blank, with comments between.
    fn some_blanks(&self, at: &mut usize) -> Parsed<bool> {
        let mut found = false;
        self.skip(at)?;
        while self.is_blank(*at)? {
            *at += 1;
            found = true;
            self.skip(at)?;
        }
        Ok(found)
    }

    /// A character of a text, or the one after a backslash.
    fn raw_char(&self, at: &mut usize) -> Option<u8> {
        if self.byte(*at) == Some(b'\\') && *at + 1 < self.text.len() && !self.is_line_end(*at + 1)
        {
            *at += 2;
            return self.byte(*at - 1);
        }
        let byte = self.byte(*at)?;
        if matches!(byte, b'#' | b';') || self.is_line_end(*at) {
            return None;
        }
        *at += 1;
        Some(byte)
    }

    fn text_char(&self, at: &mut usize) -> Parsed<Option<u8>> {
        self.skip(at)?;
        Ok(self.raw_char(at))
    }

    /// Characters up to one of `ends`.
    fn text_until(&self, at: &mut usize, ends: &[u8]) -> Parsed<Vec<u8>> {
        let mut found = Vec::new();
        loop {
            let mut ahead = *at;
            self.skip(&mut ahead)?;
            if self.byte(ahead).is_some_and(|byte| ends.contains(&byte)) {
                return Ok(found);
            }
            *at = ahead;
            match self.text_char(at)? {
                Some(byte) => found.push(byte),
                None => return Ok(found),
            }
        }
    }

    /// Words with blanks between them.
    fn key(&self, at: &mut usize) -> Parsed<Option<String>> {
        const ENDS: &[u8] = b"=[ ";
        self.skip(at)?;
        let start = *at;
        if self.text_until(at, ENDS)?.is_empty() {
            return Ok(None);
        }
        let mut ahead = *at;
        while self.some_blanks(&mut ahead)? && !self.text_until(&mut ahead, ENDS)?.is_empty() {
            *at = ahead;
        }
        let raw = String::from_utf8_lossy(&self.text[start..*at]);
        let words: Vec<_> = raw.split_ascii_whitespace().collect();
        Ok(Some(words.join("_")))
    }

    fn value(&self, at: &mut usize) -> Parsed<String> {
        self.skip(at)?;
        let quote = self.byte(*at).filter(|byte| matches!(byte, b'"' | b'\''));
        let Some(quote) = quote else {
            return Ok(trimmed(&self.text_until(at, &[])?));
        };
        *at += 1;
        let mut found = Vec::new();
        while self.byte(*at) != Some(quote) {
            found.push(self.raw_char(at).ok_or(Stop::Refused(*at))?);
        }
        *at += 1;
        Ok(trimmed(&found))
    }

    fn empty_line(&self, at: &mut usize) -> Parsed<bool> {
        self.skip(at)?;
        let mut ahead = *at;
        while self.is_blank(ahead)? {
            ahead += 1;
        }
        let matched = self.line_end(&mut ahead);
        if matched {
            *at = ahead;
        }
        Ok(matched)
    }

    /// The end of this line, and all lines without text that follow.
    fn rest_of_line(&self, at: &mut usize) -> Parsed<()> {
        if !self.empty_line(at)? {
            return Err(Stop::Refused(*at));
        }
        while self.empty_line(at)? {}
        Ok(())
    }

    fn setting(&self, at: &mut usize, section: &str) -> Parsed<Option<Setting>> {
        let mut ahead = *at;
        self.blanks(&mut ahead)?;
        let offset = ahead;
        let Some(key) = self.key(&mut ahead)? else {
            return Ok(None);
        };
        self.blanks(&mut ahead)?;
        self.skip(&mut ahead)?;
        if self.byte(ahead) != Some(b'=') {
            return Ok(None);
        }
        ahead += 1;
        self.blanks(&mut ahead)?;
        let value = self.value(&mut ahead)?;
        self.rest_of_line(&mut ahead)?;
        *at = ahead;
        Ok(Some(Setting {
            section: section.to_owned(),
            key,
            value,
            offset,
        }))
    }

    fn heading(&self, at: &mut usize) -> Parsed<Option<String>> {
        let mut ahead = *at;
        self.skip(&mut ahead)?;
        if self.byte(ahead) != Some(b'[') {
            return Ok(None);
        }
        ahead += 1;
        let name = self.text_until(&mut ahead, b"]")?;
        if name.is_empty() {
            return Err(Stop::Refused(ahead));
        }
        self.skip(&mut ahead)?;
        if self.byte(ahead) != Some(b']') {
            return Err(Stop::Refused(ahead));
        }
        ahead += 1;
        self.rest_of_line(&mut ahead)?;
        *at = ahead;
        Ok(Some(String::from_utf8_lossy(&name).into_owned()))
    }

    fn section(&self, at: &mut usize, contents: &mut Contents) -> Parsed<bool> {
        let start = *at;
        let Some(name) = self.heading(at)? else {
            return Ok(false);
        };
        contents.sections.push((name.clone(), start));
        loop {
            let mut ahead = *at;
            if self.heading(&mut ahead)?.is_some() {
                break;
            }
            match self.setting(at, &name)? {
                Some(setting) => contents.settings.push(setting),
                None => break,
            }
        }
        self.line_ends(at)?;
        Ok(true)
    }

    fn line_ends(&self, at: &mut usize) -> Parsed<()> {
        self.skip(at)?;
        while self.line_end(at) {
            self.skip(at)?;
        }
        Ok(())
    }
}

fn trimmed(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.trim_ascii()).into_owned()
}
