//! Where the rules of a lifecycle document begin and end, and what stands in the way of rewriting it.

use crate::document::DocumentError;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;
use std::ops::Range;

/// Name of the document's root element.
pub(crate) const ROOT: &str = "LifecycleConfiguration";

/// The outline of a document, in byte offsets.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    /// Where the root's start tag ends; `None`: the root is one empty tag.
    pub(crate) root_opened: Option<usize>,
    /// Each rule, from its `<` to its last `>`.
    pub(crate) rules: Vec<Range<usize>>,
    /// The first thing found that a rewrite could lose or that could change the meaning of what is kept.
    pub(crate) hazard: Option<String>,
}

/// Outlines `text`; `offset` is where it begins in the document (after a byte order mark).
pub(crate) fn outline(text: &str, offset: usize) -> Result<Outline, DocumentError> {
    if text.starts_with('\u{FEFF}') {
        // The reader would skip it without counting its bytes.
        return Err(DocumentError::Malformed { at: offset, why: "there is a second byte order mark".to_owned() });
    }
    let mut reader = Reader::from_str(text);
    reader.config_mut().enable_all_checks(true);
    let mut scan = Scan { outline: Outline::default(), offset, depth: 0, rule: None, seen_root: false };
    scan.characters(text);
    loop {
        let begin = position(&reader);
        let event = reader.read_event().map_err(|error| {
            let at = usize::try_from(reader.error_position()).unwrap_or(begin);
            DocumentError::Malformed { at: offset + at, why: error.to_string() }
        })?;
        let end = position(&reader);
        if matches!(event, Event::Eof) {
            return scan.finish(end);
        }
        scan.event(event, begin..end)?;
    }
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

struct Scan {
    outline: Outline,
    offset: usize,
    depth: usize,
    /// Where the open rule began.
    rule: Option<usize>,
    seen_root: bool,
}

impl Scan {
    fn event(&mut self, event: Event<'_>, span: Range<usize>) -> Result<(), DocumentError> {
        match event {
            Event::Start(tag) => {
                self.open(&tag, &span, false)?;
                self.depth += 1;
            }
            Event::Empty(tag) => self.open(&tag, &span, true)?,
            Event::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 1 {
                    self.close_rule(span.end);
                }
            }
            Event::Text(text) => self.text(&text.into_inner(), &span)?,
            Event::CData(_) => self.inside_rules(&span, "a CDATA section")?,
            Event::GeneralRef(reference) => {
                self.reference(&reference);
                self.inside_rules(&span, "a character reference")?;
            }
            Event::Comment(_) if self.depth < 2 => self.hazard("a comment beside the rules"),
            Event::PI(_) => self.hazard("a processing instruction"),
            Event::Decl(decl) => self.declaration(&decl, &span)?,
            Event::DocType(_) => self.hazard("a document type declaration"),
            Event::Comment(_) | Event::Eof => {}
        }
        Ok(())
    }

    fn finish(self, end: usize) -> Result<Outline, DocumentError> {
        if self.depth > 0 || !self.seen_root {
            let why = if self.seen_root { "an element is not closed" } else { "there is no element" };
            return Err(DocumentError::Malformed { at: self.offset + end, why: why.to_owned() });
        }
        Ok(self.outline)
    }

    fn open(&mut self, tag: &BytesStart<'_>, span: &Range<usize>, empty: bool) -> Result<(), DocumentError> {
        let name = tag.name().into_inner();
        if !is_name(name) {
            return Err(self.malformed(span, "a tag has no plain name"));
        }
        self.attributes(tag, span)?;
        if name.contains(':') && self.depth > 0 {
            self.hazard("a namespace prefix");
        }
        match self.depth {
            0 => self.open_root(name, span, empty)?,
            1 if name != "Rule" => self.hazard(&format!("an element <{name}> beside the rules")),
            1 => {
                self.rule = Some(span.start);
                if empty {
                    self.close_rule(span.end);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn open_root(&mut self, name: &str, span: &Range<usize>, empty: bool) -> Result<(), DocumentError> {
        if self.seen_root {
            return Err(self.malformed(span, "there is a second root element"));
        }
        match name.split_once(':') {
            None if name == ROOT => {}
            Some((_, ROOT)) => self.hazard("a namespace prefix on the root element"),
            _ => return Err(DocumentError::NotLifecycle { root: name.to_owned() }),
        }
        self.seen_root = true;
        self.outline.root_opened = (!empty).then_some(self.offset + span.end);
        Ok(())
    }

    fn close_rule(&mut self, end: usize) {
        if let Some(start) = self.rule.take() {
            self.outline.rules.push(self.offset + start..self.offset + end);
        }
    }

    fn attributes(&mut self, tag: &BytesStart<'_>, span: &Range<usize>) -> Result<(), DocumentError> {
        let attributes =
            attributes(tag.attributes_raw()).ok_or_else(|| self.malformed(span, "a tag has malformed attributes"))?;
        for (key, value) in attributes {
            if self.depth == 0 && key != "xmlns" {
                self.hazard(&format!("an attribute {key} on the root element"));
            }
            if key.contains(':') {
                self.hazard("a namespace prefix");
            }
            match unescape(value) {
                Ok(value) => self.characters(&value),
                Err(_) => self.hazard("a reference to an entity"),
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &str, span: &Range<usize>) -> Result<(), DocumentError> {
        if text.contains("]]>") {
            return Err(self.malformed(span, "]]> stands outside of a CDATA section"));
        }
        if text.bytes().all(is_white) { Ok(()) } else { self.inside_rules(span, "text") }
    }

    /// Content that belongs inside rules only.
    fn inside_rules(&mut self, span: &Range<usize>, what: &str) -> Result<(), DocumentError> {
        match self.depth {
            0 => return Err(self.malformed(span, &format!("{what} stands outside of the root element"))),
            1 => self.hazard(&format!("{what} beside the rules")),
            _ => {}
        }
        Ok(())
    }

    fn reference(&mut self, reference: &BytesRef<'_>) {
        match referred(reference) {
            Some(character) => self.characters(character.encode_utf8(&mut [0; 4])),
            None => self.hazard("a reference to an entity"),
        }
    }

    fn declaration(&mut self, decl: &BytesDecl<'_>, span: &Range<usize>) -> Result<(), DocumentError> {
        if span.start > 0 {
            return Err(self.malformed(span, "the XML declaration does not come first"));
        }
        let parts = decl.strip_prefix("xml").and_then(attributes).unwrap_or_default();
        let encoding = match parts.as_slice() {
            [("version", "1.0")] | [("version", "1.0"), ("standalone", _)] => None,
            [("version", "1.0"), ("encoding", encoding)]
            | [("version", "1.0"), ("encoding", encoding), ("standalone", _)] => Some(*encoding),
            _ => return Err(self.malformed(span, "the XML declaration is not one of XML 1.0")),
        };
        if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("utf-8")) {
            self.hazard("an encoding other than UTF-8");
        }
        Ok(())
    }

    fn characters(&mut self, text: &str) {
        if !text.chars().all(is_xml_char) {
            self.hazard("a character that XML does not allow");
        }
    }

    fn hazard(&mut self, what: &str) {
        self.outline.hazard.get_or_insert_with(|| format!("the document holds {what}"));
    }

    fn malformed(&self, span: &Range<usize>, why: &str) -> DocumentError {
        DocumentError::Malformed { at: self.offset + span.start, why: why.to_owned() }
    }
}

/// The character that a reference stands for; `None`: an entity that only a document type could define.
pub(crate) fn referred(reference: &BytesRef<'_>) -> Option<char> {
    match reference.resolve_char_ref() {
        Ok(Some(character)) => Some(character),
        Ok(None) => match &**reference {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => None,
        },
        Err(_) => None,
    }
}

/// Whether XML 1.0 can carry the character, written out or as a reference.
pub(crate) fn is_xml_char(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// White space between elements.
pub(crate) fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Letters and digits of ASCII with the marks that XML allows: what every S3 name is made of.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':'))
}

/// The attributes of a tag, values as written; `None`: malformed.
fn attributes(raw: &str) -> Option<Vec<(&str, &str)>> {
    let white = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r');
    let mut found: Vec<(&str, &str)> = Vec::new();
    let mut rest = raw;
    loop {
        let begun = rest.trim_start_matches(white);
        if begun.is_empty() {
            return Some(found);
        }
        let (key, after) = begun.split_once('=').filter(|_| begun.len() < rest.len())?;
        let key = key.trim_end_matches(white);
        let after = after.trim_start_matches(white);
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, tail) = after[1..].split_once(quote)?;
        if !is_name(key) || value.contains('<') || found.iter().any(|(known, _)| *known == key) {
            return None;
        }
        found.push((key, value));
        rest = tail;
    }
}
