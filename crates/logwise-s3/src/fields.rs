//! The fields of a rule, whoever wrote it: to see what a server has dropped of one, and whether it acts on more since.

use crate::scan::{is_white, referred};
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use std::collections::{BTreeMap, BTreeSet};

/// Rules of S3 are nested five deep; what is deeper is not compared.
const DEEPEST: usize = 16;

/// Groups conditions and says nothing itself: a server that drops one of two conditions drops it too.
const GROUP: &str = "And";

/// Fields that hold with what the keys begin on which a rule acts.
const PREFIXES: [&str; 2] = ["Prefix", "Filter.Prefix"];

/// What S3 knows that a rule acts on and does: no server adds any of it by itself.
const KNOWN: [&str; 7] = [
    "Prefix",
    "Filter",
    "Expiration",
    "Transition",
    "NoncurrentVersionExpiration",
    "NoncurrentVersionTransition",
    "AbortIncompleteMultipartUpload",
];

/// How often each field has each value. A field is named by its elements, such as `Filter.ObjectSizeGreaterThan`.
type Fields = BTreeMap<(String, String), usize>;

/// What a rule has become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It says the same, perhaps in another form.
    Whole,
    /// It lacks these fields and differs in nothing else.
    Without(BTreeSet<String>),
    /// It says something else, or cannot be compared.
    Changed,
}

/// Compares a rule that was sent with the one that a server answers.
pub(crate) fn kept(sent: &str, now: &str) -> Kept {
    let (Some(sent), Some(mut now)) = (fields(sent), fields(now)) else { return Kept::Changed };
    // An element that has lost its content says nothing.
    now.retain(|field, _| !field.1.is_empty() || sent.contains_key(field));
    if now.iter().any(|(field, number)| sent.get(field).is_none_or(|sent| sent < number)) {
        return Kept::Changed;
    }
    let lost = missing(&sent, &now);
    if lost.is_empty() { Kept::Whole } else { Kept::Without(lost) }
}

/// The fields that a rule has lost of what was sent, whatever a server adds of its own; none where it has another value
/// instead of one of these, or a condition or an action more, which somebody has written, or cannot be compared.
pub(crate) fn lost(sent: &str, now: &str) -> Option<BTreeSet<String>> {
    let (sent, now) = (fields(sent)?, fields(now)?);
    let lost = missing(&sent, &now);
    let is_other = |field: &(String, String)| {
        let (name, value) = field;
        // A server may print flags that are not set.
        let speaks = lost.contains(name) || is_known(name) && value != "false";
        !value.is_empty() && !sent.contains_key(field) && speaks
    };
    if now.keys().any(is_other) { None } else { Some(lost) }
}

/// The names of fields that are there less often than they were sent.
fn missing(sent: &Fields, now: &Fields) -> BTreeSet<String> {
    let fewer = sent.iter().filter(|(field, number)| now.get(*field).is_none_or(|now| now < *number));
    fewer.map(|((name, _), _)| name.clone()).collect()
}

/// Whether a field is part of what S3 knows.
fn is_known(name: &str) -> bool {
    KNOWN.contains(&name.split_once('.').map_or(name, |(first, _)| first))
}

/// The names of the fields of a rule; none if it cannot be read.
pub(crate) fn names(rule: &str) -> BTreeSet<String> {
    fields(rule).unwrap_or_default().into_keys().map(|(name, _)| name).collect()
}

/// With what the keys begin on which a rule acts; empty: on all of them. None if it cannot be read.
pub(crate) fn prefix(rule: &str) -> Option<String> {
    let prefixes = fields(rule)?.into_keys().filter(|(name, _)| PREFIXES.contains(&name.as_str()));
    Some(prefixes.map(|(_, value)| value).max_by_key(String::len).unwrap_or_default())
}

/// Whether a rule acts on more keys than those that begin with `written`.
pub(crate) fn is_wider(rule: &str, written: &str) -> bool {
    // Values are compared as they are read here: without white space around them.
    let written = written.trim();
    prefix(rule).is_some_and(|now| now != written && written.starts_with(now.as_str()))
}

/// An element whose end was not read yet.
struct Open {
    name: String,
    text: String,
    has_parts: bool,
}

fn fields(rule: &str) -> Option<Fields> {
    let mut reader = Reader::from_str(rule);
    let (mut open, mut found): (Vec<Open>, Fields) = (Vec::new(), Fields::new());
    loop {
        match reader.read_event().ok()? {
            Event::Eof => return None,
            Event::Start(tag) if open.len() < DEEPEST => {
                begin(&mut open, &tag, &mut found);
            }
            Event::Start(_) => return None,
            Event::Empty(tag) => {
                begin(&mut open, &tag, &mut found);
                end(&mut open, &mut found)?;
            }
            Event::End(_) => end(&mut open, &mut found)?,
            Event::Text(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
            Event::CData(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) => open.last_mut()?.text.push(referred(&reference)?),
            Event::Comment(_) => {}
            _ => return None,
        }
        if open.is_empty() {
            return Some(found);
        }
    }
}

fn begin(open: &mut Vec<Open>, tag: &BytesStart<'_>, found: &mut Fields) {
    if let Some(parent) = open.last_mut() {
        parent.has_parts = true;
    }
    let name = tag.name().into_inner().to_owned();
    open.push(Open { name, text: String::new(), has_parts: false });
    let attributes = tag.attributes_raw().trim_matches(|c: char| u8::try_from(c).is_ok_and(is_white));
    if !attributes.is_empty() {
        *found.entry((format!("{}@", path(open)), attributes.to_owned())).or_default() += 1;
    }
}

fn end(open: &mut Vec<Open>, found: &mut Fields) -> Option<()> {
    let name = path(open);
    let ended = open.pop()?;
    if !ended.has_parts && !name.is_empty() {
        *found.entry((name, ended.text.trim().to_owned())).or_default() += 1;
    }
    Some(())
}

/// The names of the open elements inside the rule.
fn path(open: &[Open]) -> String {
    let names: Vec<&str> = open.iter().skip(1).map(|open| open.name.as_str()).filter(|name| *name != GROUP).collect();
    names.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(names: &[&str]) -> Kept {
        Kept::Without(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_dropped_field_is_named_whatever_form_the_rest_takes() {
        let sent = "<Rule><ID>a</ID><Filter><And><Prefix>x/</Prefix><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></And></Filter><Status>Enabled</Status><Expiration><Days>3</Days></Expiration></Rule>";
        let table = [
            (sent.to_owned(), Kept::Whole),
            (sent.replace("<ID>a</ID>", "").replace("</Rule>", "\n <ID>&#97;</ID></Rule>"), Kept::Whole),
            (
                sent.replace("<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan>", ""),
                without(&["Filter.ObjectSizeGreaterThan"]),
            ),
            (
                sent.replace(
                    "<And><Prefix>x/</Prefix><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></And>",
                    "<Prefix>x/</Prefix>",
                ),
                without(&["Filter.ObjectSizeGreaterThan"]),
            ),
            (sent.replace("<Prefix>x/</Prefix>", "<Prefix></Prefix>"), without(&["Filter.Prefix"])),
            (sent.replace("<Days>3</Days>", ""), without(&["Expiration.Days"])),
            (sent.replace("<Expiration><Days>3</Days></Expiration>", ""), without(&["Expiration.Days"])),
            (sent.replace(">3<", ">4<"), Kept::Changed),
            (sent.replace("</Rule>", "<More>1</More></Rule>"), Kept::Changed),
            (sent.replace("Enabled", "Disabled"), Kept::Changed),
            ("<Rule>".to_owned(), Kept::Changed),
        ];
        for (now, expected) in table {
            assert_eq!(kept(sent, &now), expected, "{now}");
        }
    }

    #[test]
    fn what_a_server_lost_is_told_from_what_somebody_wrote() {
        let sent = "<Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>3</Days></Expiration></Rule>";
        let filter = "<Filter><Prefix>x/</Prefix></Filter>";
        let wide = sent.replace(filter, "<Filter/>");
        let tag = "<Tag><Key>k</Key><Value>v</Value></Tag>";
        let transition = "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>";
        let unset = "<ExpiredObjectDeleteMarker>false</ExpiredObjectDeleteMarker>";
        let all = |fields: &[&str]| Some(fields.iter().map(|field| (*field).to_owned()).collect::<BTreeSet<String>>());
        let table = [
            (wide.clone(), all(&["Filter.Prefix"])),
            (wide.replace("</Rule>", "<Flags>1</Flags></Rule>"), all(&["Filter.Prefix"])),
            (wide.replace(">3<", ">4<"), None),
            (wide.replace("Enabled", "Disabled"), None),
            (sent.replace(">x/<", "><"), all(&["Filter.Prefix"])),
            (sent.replace(">x/<", ">y/<"), None),
            (sent.replace(filter, "<Prefix>logs/</Prefix>"), None),
            (sent.replace(filter, &format!("<Filter>{tag}</Filter>")), None),
            (sent.replace(filter, "<Filter><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></Filter>"), None),
            (wide.replace("</Rule>", &format!("{transition}</Rule>")), None),
            (wide.replace("<Days>", "<Date>2030-01-01T00:00:00Z</Date><Days>"), None),
            (wide.replace("<Days>", &format!("{unset}<Days>")), all(&["Filter.Prefix"])),
            (sent.to_owned(), all(&[])),
        ];
        for (now, expected) in table {
            assert_eq!(lost(sent, &now), expected, "{now}");
        }
    }

    #[test]
    fn a_rule_without_its_prefix_or_with_a_shorter_one_is_wider() {
        let rule = |filter: &str| format!("<Rule><ID>a</ID>{filter}<Status>Enabled</Status></Rule>");
        let written = "logs/service_name=api/";
        for (filter, wider) in [
            ("<Filter><Prefix>logs/service_name=api/</Prefix></Filter>", false),
            ("<Prefix>logs/service_name=api/</Prefix>", false),
            ("<Filter><And><Prefix>logs/service_name=api/</Prefix><Tag><Key>k</Key></Tag></And></Filter>", false),
            ("<Filter><Prefix>logs/service_name=api/year=2026/</Prefix></Filter>", false),
            ("<Filter><Prefix>elsewhere/</Prefix></Filter>", false),
            ("<Filter><Prefix>logs/service_name=a</Prefix></Filter>", true),
            ("<Filter><Prefix></Prefix></Filter>", true),
            ("<Filter></Filter>", true),
            ("<Prefix/>", true),
            ("", true),
        ] {
            assert_eq!(is_wider(&rule(filter), written), wider, "{filter}");
        }
        assert!(!is_wider("<Rule>", written), "nobody can tell");
        assert!(!is_wider(&rule("<Prefix> x </Prefix>"), " x ") && is_wider(&rule("<Prefix/>"), " x "));
    }

    #[test]
    fn equal_parts_are_counted_and_attributes_are_fields() {
        let sent = "<Rule><T><Days>1</Days></T><T><Days>1</Days></T><Later a='1'><A>2</A></Later></Rule>";
        assert_eq!(kept(sent, &sent.replacen("<T><Days>1</Days></T>", "", 1)), without(&["T.Days"]));
        assert_eq!(kept(sent, &sent.replace(" a='1'", "")), without(&["Later@"]));
        assert_eq!(names(sent), BTreeSet::from(["T.Days", "Later@", "Later.A"].map(str::to_owned)));
        assert_eq!(kept("<Rule/>", "<Rule></Rule>"), Kept::Whole);
    }
}
