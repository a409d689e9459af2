//! One lifecycle rule: read out of its XML, and written as XML.

use crate::document::DocumentError;
use crate::foreign;
use crate::scan::{is_white, is_xml_char, referred};
use logwise_plan::retention::{Meaning, Reach, Rule, Settings, Transition};
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use std::fmt::Write as _;

/// Storage classes from the dearest to the coldest, the order in which S3 moves objects.
const WATERFALL: [&str; 6] =
    ["STANDARD_IA", "INTELLIGENT_TIERING", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"];

/// Elements of the rules that S3 knows are nested five deep, down to the key of a tag; what is deeper is not looked at.
const DEEPEST: usize = 5;

/// What can be told of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Its id, if it has exactly one that is plain text.
    pub(crate) id: Option<String>,
    /// What it does, if it is exactly one of our own forms.
    pub(crate) meaning: Option<Meaning>,
    /// What it does, if it has another form that is understood.
    pub(crate) reach: Option<Reach>,
}

/// Reads one whole `<Rule>` element.
pub(crate) fn read(xml: &str) -> Facts {
    let Some(rule) = tree(xml) else { return Facts { id: None, meaning: None, reach: None } };
    let mut ids = rule.children.iter().filter(|child| child.name == "ID");
    let id = ids.next().and_then(Element::leaf).filter(|_| ids.next().is_none()).map(str::to_owned);
    let meaning = meaning(&rule).filter(|_| id.is_some());
    let reach = if meaning.is_none() { foreign::reach(&rule) } else { None };
    Facts { id, meaning, reach }
}

/// An element of a rule.
#[derive(Debug, Default)]
pub(crate) struct Element {
    pub(crate) name: String,
    children: Vec<Element>,
    /// Its own text, references resolved.
    text: String,
    /// It has something that our rules never have: attributes, comments, depth, unknown entities.
    odd: bool,
}

impl Element {
    fn new(tag: &BytesStart<'_>) -> Self {
        let odd = tag.attributes_raw().bytes().any(|byte| !is_white(byte));
        Self { name: tag.name().into_inner().to_owned(), odd, ..Self::default() }
    }

    /// The text of an element that holds nothing else.
    pub(crate) fn leaf(&self) -> Option<&str> {
        (!self.odd && self.children.is_empty()).then_some(self.text.as_str())
    }

    /// The children of an element that holds nothing but elements.
    pub(crate) fn parts(&self) -> Option<&[Self]> {
        (!self.odd && self.text.bytes().all(is_white)).then_some(self.children.as_slice())
    }

    /// The text of the only child, if it has that name.
    pub(crate) fn only(&self, name: &str) -> Option<&str> {
        match self.parts()? {
            [child] if child.name == name => child.leaf(),
            _ => None,
        }
    }
}

/// The elements of a rule, without those that are nested too deep to be ours.
fn tree(xml: &str) -> Option<Element> {
    let mut reader = Reader::from_str(xml);
    let mut open: Vec<Element> = Vec::new();
    let mut too_deep = 0_usize;
    loop {
        let event = reader.read_event().ok()?;
        let closed = match event {
            Event::Eof => return None,
            Event::Start(_) if open.len() >= DEEPEST => {
                too_deep += 1;
                None
            }
            Event::End(_) if too_deep > 0 => {
                too_deep -= 1;
                None
            }
            Event::Start(tag) => {
                open.push(Element::new(&tag));
                None
            }
            Event::Empty(tag) => Some(Element::new(&tag)),
            Event::End(_) => open.pop(),
            content => {
                add_content(open.last_mut()?, &content);
                None
            }
        };
        if let Some(last) = open.last_mut() {
            last.odd |= too_deep > 0;
        }
        match (closed, open.last_mut()) {
            (Some(element), Some(parent)) => parent.children.push(element),
            (Some(element), None) => return Some(element),
            (None, _) => {}
        }
    }
}

fn add_content(element: &mut Element, content: &Event<'_>) {
    match content {
        Event::Text(text) => element.text.push_str(&text.xml10_content()),
        Event::CData(text) => element.text.push_str(&text.xml10_content()),
        Event::GeneralRef(reference) => match referred(reference) {
            Some(character) => element.text.push(character),
            None => element.odd = true,
        },
        _ => element.odd = true,
    }
}

/// What the rule does, if it is enabled, has one prefix and only actions in the forms that we write.
fn meaning(rule: &Element) -> Option<Meaning> {
    let mut prefix = None;
    let mut enabled = None;
    let mut settings = Settings::default();
    for part in rule.parts()? {
        match part.name.as_str() {
            "ID" => {}
            "Status" => once(&mut enabled, (part.leaf()? == "Enabled").then_some(())?)?,
            "Prefix" => once(&mut prefix, part.leaf()?.to_owned())?,
            "Filter" => once(&mut prefix, part.only("Prefix")?.to_owned())?,
            "Expiration" => once(&mut settings.expiration_days, days(part.only("Days")?, 1)?)?,
            "NoncurrentVersionExpiration" => {
                once(&mut settings.noncurrent_days, days(part.only("NoncurrentDays")?, 1)?)?
            }
            "AbortIncompleteMultipartUpload" => {
                once(&mut settings.abort_multipart_days, days(part.only("DaysAfterInitiation")?, 1)?)?;
            }
            "Transition" => settings.transitions.push(transition(part)?),
            _ => return None,
        }
    }
    enabled?;
    let settings = ordered(settings);
    let prefix = prefix.filter(|prefix| !prefix.is_empty())?;
    (settings != Settings::default()).then_some(Meaning { prefix, settings })
}

/// Fills a slot that may be filled once.
fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

fn transition(part: &Element) -> Option<Transition> {
    let (first, second) = match part.parts()? {
        [first, second] if first.name == "Days" && second.name == "StorageClass" => (first, second),
        [second, first] if first.name == "Days" && second.name == "StorageClass" => (first, second),
        _ => return None,
    };
    let storage_class = second.leaf()?;
    WATERFALL.contains(&storage_class).then_some(())?;
    Some(Transition { days: days(first.leaf()?, 0)?, storage_class: storage_class.to_owned() })
}

/// A whole number in its shortest form, at least `least`.
fn days(text: &str, least: i32) -> Option<i32> {
    text.parse().ok().filter(|days: &i32| *days >= least && days.to_string() == text)
}

/// The same settings with the transitions in the one order that equal settings share.
pub(crate) fn ordered(mut settings: Settings) -> Settings {
    settings.transitions.sort_by_key(|t| (t.days, rank(&t.storage_class)));
    settings
}

fn rank(storage_class: &str) -> usize {
    WATERFALL.iter().position(|class| *class == storage_class).unwrap_or(WATERFALL.len())
}

/// Whether XML can carry the text: some control characters it cannot, not even as references.
pub(crate) fn is_expressible(text: &str) -> bool {
    text.chars().all(is_xml_char)
}

/// The rule as one XML element.
pub(crate) fn write(rule: &Rule) -> Result<String, DocumentError> {
    if !is_expressible(&rule.id) || !is_expressible(&rule.prefix) {
        return Err(DocumentError::NotExpressible { id: rule.id.clone() });
    }
    let Settings { expiration_days, transitions, abort_multipart_days, noncurrent_days } = &rule.settings;
    let mut xml = String::from("<Rule>");
    if let Some(days) = expiration_days {
        let _ = write!(xml, "<Expiration><Days>{days}</Days></Expiration>");
    }
    let _ = write!(xml, "<ID>{}</ID>", escaped(&rule.id));
    let _ = write!(xml, "<Filter><Prefix>{}</Prefix></Filter><Status>Enabled</Status>", escaped(&rule.prefix));
    for Transition { days, storage_class } in transitions {
        let class = escaped(storage_class);
        let _ = write!(xml, "<Transition><Days>{days}</Days><StorageClass>{class}</StorageClass></Transition>");
    }
    if let Some(days) = noncurrent_days {
        let element = "NoncurrentVersionExpiration";
        let _ = write!(xml, "<{element}><NoncurrentDays>{days}</NoncurrentDays></{element}>");
    }
    if let Some(days) = abort_multipart_days {
        let element = "AbortIncompleteMultipartUpload";
        let _ = write!(xml, "<{element}><DaysAfterInitiation>{days}</DaysAfterInitiation></{element}>");
    }
    xml.push_str("</Rule>");
    Ok(xml)
}

/// Text in which nothing is markup and no white space can be changed on the way.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, character| {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => {
                let _ = write!(out, "&#{};", u32::from(character));
            }
            other => out.push(other),
        }
        out
    })
}
