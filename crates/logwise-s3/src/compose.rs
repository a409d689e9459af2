//! The document to be written: what was read, with rules cut out and rules put in.

use crate::document::{DocumentError, RawDocument};
use crate::rule;
use crate::scan::ROOT;
use logwise_plan::retention::WriteRules;
use std::collections::BTreeSet;

/// Namespace of lifecycle documents.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// The document after `write`: every rule not named in `remove` byte for byte in its order and surroundings, then the
/// added ones. `None`: no rule is left, and S3 accepts no document without rules.
///
/// # Errors
/// When the document is not one that can be rewritten safely, or an added rule cannot be written.
pub fn compose(document: Option<&RawDocument>, write: &WriteRules) -> Result<Option<Vec<u8>>, DocumentError> {
    if let Some(why) = document.and_then(RawDocument::not_preservable) {
        return Err(DocumentError::NotPreservable { why: why.to_owned() });
    }
    let added = added(document, write)?;
    let Some((document, opened)) = document.and_then(|d| Some(d).zip(d.root_opened())) else {
        return Ok((!added.is_empty()).then(|| fresh(&added)));
    };
    let text = document.text();
    let mut out = String::with_capacity(text.len() + added.len());
    // Where the text not yet copied begins, and how much of the output is to stand before the added rules.
    let (mut from, mut before_added) = (opened, opened);
    out.push_str(&text[..opened]);
    let mut kept = 0_usize;
    for (span, id) in document.spans() {
        if id.is_some_and(|id| write.remove.contains(id)) {
            // The white space before a removed rule goes with it.
            from = span.end;
            continue;
        }
        out.push_str(&text[from..span.end]);
        from = span.end;
        before_added = out.len();
        kept += 1;
    }
    out.push_str(&text[from..]);
    out.insert_str(before_added, &added);
    Ok((kept > 0 || !added.is_empty()).then(|| out.into_bytes()))
}

/// The added rules as XML.
fn added(document: Option<&RawDocument>, write: &WriteRules) -> Result<String, DocumentError> {
    let stays = document.into_iter().flat_map(RawDocument::spans).filter_map(|(_, id)| id);
    let mut ids: BTreeSet<&str> = stays.filter(|id| !write.remove.contains(*id)).collect();
    let mut xml = String::new();
    for rule in &write.add {
        if !ids.insert(&rule.id) {
            return Err(DocumentError::DuplicateId { id: rule.id.clone() });
        }
        xml.push_str(&rule::write(rule)?);
    }
    Ok(xml)
}

fn fresh(rules: &str) -> Vec<u8> {
    format!(r#"<?xml version="1.0" encoding="UTF-8"?><{ROOT} xmlns="{NAMESPACE}">{rules}</{ROOT}>"#).into_bytes()
}
