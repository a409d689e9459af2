//! Rules in forms that we never write: what they do to objects, as far as every part of them is understood.

use crate::rule::Element;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use logwise_plan::retention::{Expires, Noncurrent, Reach};

/// What the rule does; `None`: something in it is not understood, and might make it do something else.
pub(crate) fn reach(rule: &Element) -> Option<Reach> {
    let mut reach = Reach::default();
    let (mut status, mut filters) = (None, 0);
    for part in rule.parts()? {
        match part.name.as_str() {
            // When something moves does not matter here.
            "ID" | "Transition" | "NoncurrentVersionTransition" => {}
            "Status" => {
                let enabled = match part.leaf()?.trim() {
                    "Enabled" => true,
                    "Disabled" => false,
                    _ => return None,
                };
                once(&mut status, enabled)?;
            }
            "Prefix" => {
                filters += 1;
                reach.prefix = part.leaf()?.to_owned();
            }
            "Filter" => {
                filters += 1;
                conditions(part.parts()?, &mut reach)?;
            }
            "Expiration" => expiration(part, &mut reach)?,
            "NoncurrentVersionExpiration" => once(&mut reach.noncurrent, noncurrent(part)?)?,
            "AbortIncompleteMultipartUpload" => {
                once(&mut reach.abort_multipart_days, number(part.only("DaysAfterInitiation")?)?)?;
            }
            _ => return None,
        }
    }
    reach.enabled = status?;
    (filters == 1).then_some(reach)
}

/// Fills a slot that may be filled once.
fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// Conditions that hold together: those of a filter, and of the `And` in it.
fn conditions(parts: &[Element], reach: &mut Reach) -> Option<()> {
    let mut prefix = None;
    for part in parts {
        match part.name.as_str() {
            "Prefix" => once(&mut prefix, part.leaf()?.to_owned())?,
            "Tag" => tag(part, reach)?,
            "ObjectSizeGreaterThan" => once(&mut reach.larger_than, size(part)?)?,
            "ObjectSizeLessThan" => once(&mut reach.smaller_than, size(part)?)?,
            "And" if parts.len() == 1 => return conditions(part.parts()?, reach),
            _ => return None,
        }
    }
    reach.prefix = prefix.unwrap_or_default();
    Some(())
}

fn tag(part: &Element, reach: &mut Reach) -> Option<()> {
    let (mut key, mut value) = (None, None);
    for part in part.parts()? {
        match part.name.as_str() {
            "Key" => once(&mut key, part.leaf()?.to_owned())?,
            "Value" => once(&mut value, part.leaf()?.to_owned())?,
            _ => return None,
        }
    }
    reach.tags.insert(key?, value.unwrap_or_default()).is_none().then_some(())
}

fn size(part: &Element) -> Option<u64> {
    part.leaf()?.trim().parse().ok()
}

fn expiration(part: &Element, reach: &mut Reach) -> Option<()> {
    for part in part.parts()? {
        let text = part.leaf()?;
        match part.name.as_str() {
            "Days" => once(&mut reach.expires, Expires::Days(number(text)?))?,
            "Date" => once(&mut reach.expires, Expires::Date(date(text)?))?,
            "ExpiredObjectDeleteMarker" => match text.trim() {
                "true" => reach.removes_markers = true,
                "false" => {}
                _ => return None,
            },
            _ => return None,
        }
    }
    Some(())
}

fn noncurrent(part: &Element) -> Option<Noncurrent> {
    let (mut days, mut newer) = (None, None);
    for part in part.parts()? {
        match part.name.as_str() {
            "NoncurrentDays" => once(&mut days, number(part.leaf()?)?)?,
            "NewerNoncurrentVersions" => once(&mut newer, number(part.leaf()?)?)?,
            _ => return None,
        }
    }
    (days.is_some() || newer.is_some()).then(|| Noncurrent { days: days.unwrap_or(0), newer })
}

/// A number of days or of versions.
fn number(text: &str) -> Option<i32> {
    text.trim().parse().ok().filter(|number| *number >= 0)
}

/// A day, with or without its midnight.
fn date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|midnight| midnight.timestamp());
    text.parse().ok().or_else(day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::read;
    use std::collections::BTreeMap;

    fn of(parts: &str) -> Option<Reach> {
        read(&format!("<Rule>{parts}</Rule>")).reach
    }

    fn enabled(prefix: &str) -> Reach {
        Reach { prefix: prefix.into(), enabled: true, ..Reach::default() }
    }

    #[test]
    fn every_form_of_a_filter_is_read() {
        let rest = "<Status>Enabled</Status><Expiration><Days>9</Days></Expiration>";
        let nine = |reach| Reach { expires: Some(Expires::Days(9)), ..reach };
        let tags = |tags: &[(&str, &str)]| {
            let tag = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            tags.iter().map(tag).collect::<BTreeMap<_, _>>()
        };
        let table = [
            ("<Prefix>logs/</Prefix>", enabled("logs/")),
            ("<Prefix/>", enabled("")),
            ("<Filter/>", enabled("")),
            ("<Filter></Filter>", enabled("")),
            ("<Filter><Prefix>a&amp;b/</Prefix></Filter>", enabled("a&b/")),
            (
                "<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>",
                Reach { tags: tags(&[("k", "v")]), ..enabled("") },
            ),
            (
                "<Filter><ObjectSizeGreaterThan>500</ObjectSizeGreaterThan></Filter>",
                Reach { larger_than: Some(500), ..enabled("") },
            ),
            (
                "<Filter><And><Prefix>t/</Prefix><Tag><Key>a</Key><Value/></Tag><Tag><Key>b</Key><Value>2</Value></Tag>\
                 <ObjectSizeLessThan>9</ObjectSizeLessThan></And></Filter>",
                Reach { tags: tags(&[("a", ""), ("b", "2")]), smaller_than: Some(9), ..enabled("t/") },
            ),
        ];
        for (filter, expected) in table {
            assert_eq!(of(&format!("{filter}{rest}")), Some(nine(expected)), "{filter}");
        }
    }

    #[test]
    fn every_action_is_read() {
        let midnight: Timestamp = "2027-01-02T00:00:00Z".parse().unwrap();
        let table = [
            (
                "<Expiration><Date>2027-01-02T00:00:00.000Z</Date></Expiration>",
                Reach { expires: Some(Expires::Date(midnight)), ..enabled("") },
            ),
            (
                "<Expiration><Date>2027-01-02</Date></Expiration>",
                Reach { expires: Some(Expires::Date(midnight)), ..enabled("") },
            ),
            (
                "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>",
                Reach { removes_markers: true, ..enabled("") },
            ),
            (
                "<NoncurrentVersionExpiration><NoncurrentDays>5</NoncurrentDays>\
                 <NewerNoncurrentVersions>3</NewerNoncurrentVersions></NoncurrentVersionExpiration>",
                Reach { noncurrent: Some(Noncurrent { days: 5, newer: Some(3) }), ..enabled("") },
            ),
            (
                "<AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload>\
                 <Transition><Days>0</Days><StorageClass>GLACIER</StorageClass></Transition>\
                 <NoncurrentVersionTransition><NoncurrentDays>1</NoncurrentDays><StorageClass>GLACIER</StorageClass>\
                 </NoncurrentVersionTransition>",
                Reach { abort_multipart_days: Some(2), ..enabled("") },
            ),
        ];
        for (action, expected) in table {
            assert_eq!(of(&format!("<Filter/><Status>Enabled</Status>{action}")), Some(expected), "{action}");
        }
        let disabled = "<Filter/><Status>Disabled</Status><Expiration><Days>1</Days></Expiration>";
        let expires = Some(Expires::Days(1));
        assert_eq!(of(disabled), Some(Reach { enabled: false, expires, ..Reach::default() }));
    }

    #[test]
    fn what_is_not_understood_as_a_whole_is_not_known() {
        let good = "<Filter/><Status>Enabled</Status>";
        for odd in [
            "<Filter/>",
            "<Filter/><Status>Paused</Status>",
            "<Status>Enabled</Status><Expiration><Days>1</Days></Expiration>",
            "<Prefix>a</Prefix><Filter/><Status>Enabled</Status>",
            "<Filter><Suffix>.gz</Suffix></Filter><Status>Enabled</Status>",
            "<Filter><And><And/></And><Prefix>a</Prefix></Filter><Status>Enabled</Status>",
            &format!("{good}<LaterField><A>1</A></LaterField>"),
            &format!("{good}<Expiration><Days>1</Days><Later/></Expiration>"),
            &format!("{good}<Expiration><Days>1</Days><Date>2027-01-02</Date></Expiration>"),
            &format!("{good}<Expiration><Days>-1</Days></Expiration>"),
            &format!("{good}<Expiration><Date>soon</Date></Expiration>"),
            &format!("{good}<NoncurrentVersionExpiration/>"),
            &format!("{good}<!-- by hand -->"),
        ] {
            assert_eq!(of(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_rule_of_our_own_form_is_told_by_its_meaning() {
        let ours = "<ID>a</ID><Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>9</Days></Expiration>";
        let facts = read(&format!("<Rule>{ours}</Rule>"));
        assert!(facts.meaning.is_some() && facts.reach.is_none(), "{facts:?}");
        // Without an id it is not ours, and does the same.
        assert_eq!(
            of(&ours.replace("<ID>a</ID>", "")),
            Some(Reach { expires: Some(Expires::Days(9)), ..enabled("logs/") })
        );
    }
}
