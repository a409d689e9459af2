//! Lifecycle documents, without any server: what others wrote survives byte for byte, what we write is read back.

mod corpus;

use corpus::{Expect, corpus};
use logwise_plan::retention::{Meaning, Rule, Settings, Transition, WriteRules, rule_id, service_prefix};
use logwise_s3::{DocumentError, RawDocument, compose};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::BTreeSet;

fn parse(document: &str) -> Result<RawDocument, DocumentError> {
    RawDocument::parse(document.as_bytes(), None)
}

fn one_rule(rule: &str) -> RawDocument {
    parse(&format!("<LifecycleConfiguration>{rule}</LifecycleConfiguration>")).expect("the rule is well-formed")
}

fn xml_of(document: &RawDocument) -> Vec<String> {
    document.rules().map(|(_, xml)| xml.to_owned()).collect()
}

fn ids(document: &RawDocument) -> Vec<Option<String>> {
    document.rules().map(|(facts, _)| facts.id.clone()).collect()
}

fn rule(service: &str, settings: Settings) -> Rule {
    let id = rule_id("demo.team-a.keep", "0a1b2c3d", service);
    Rule { id, prefix: service_prefix("logs/", service), settings }
}

fn expire(days: i32) -> Settings {
    Settings { expiration_days: Some(days), ..Settings::default() }
}

fn add(rules: &[Rule]) -> WriteRules {
    WriteRules { add: rules.to_vec(), ..WriteRules::default() }
}

/// What another XML parser makes of a document: the exact XML and the id of each rule.
fn second_opinion(text: &str) -> Result<Vec<(String, Option<String>)>, roxmltree::Error> {
    let document = roxmltree::Document::parse(text)?;
    let rules = document.root_element().children().filter(|node| node.tag_name().name() == "Rule");
    Ok(rules
        .map(|node| {
            let mut ids = node.children().filter(|child| child.tag_name().name() == "ID");
            let id = ids.next().filter(|id| ids.next().is_none() && id.attributes().len() == 0);
            let id = id.filter(|id| id.children().all(|part| part.is_text()));
            let text = id.map(|id| id.children().filter_map(|part| part.text()).collect::<String>());
            (node.document().input_text()[node.range()].to_owned(), text)
        })
        .collect())
}

/// Everything that must hold for any document that can be rewritten.
fn check_preservable(text: &str) -> Result<(), TestCaseError> {
    let Ok(document) = parse(text) else { return Ok(()) };
    if document.to_facts().not_preservable.is_some() {
        prop_assert!(compose(Some(&document), &add(&[rule("new", expire(1))])).is_err());
        return Ok(());
    }
    let others = second_opinion(text).map_err(|error| TestCaseError::fail(format!("{error} in {text:?}")))?;
    let (xml, names): (Vec<String>, Vec<Option<String>>) = others.into_iter().unzip();
    prop_assert_eq!(&xml, &xml_of(&document), "rules of {:?}", text);
    prop_assert_eq!(&names, &ids(&document), "ids of {:?}", text);

    let unchanged = compose(Some(&document), &WriteRules::default()).expect("a preservable document");
    prop_assert_eq!(unchanged.as_deref(), (!xml.is_empty()).then_some(text.as_bytes()));

    // The first rule with an id goes, one comes.
    let gone = names.iter().position(Option::is_some);
    let mut write = add(&[rule("new", expire(1))]);
    write.remove.extend(gone.and_then(|i| names[i].clone()));
    let after = compose(Some(&document), &write).expect("a preservable document").expect("one rule was added");
    let after = RawDocument::parse(&after, None).expect("a composed document can be read");
    prop_assert_eq!(after.to_facts().not_preservable, None);
    let kept: Vec<&String> = xml.iter().enumerate().filter(|(i, _)| Some(*i) != gone).map(|(_, xml)| xml).collect();
    let found = xml_of(&after);
    let (last, foreign) = found.split_last().expect("one rule was added");
    prop_assert_eq!(foreign.iter().collect::<Vec<_>>(), kept, "of {:?}", text);
    let added = Meaning { prefix: write.add[0].prefix.clone(), settings: expire(1) };
    let facts = after.rules().last().expect("one rule was added").0;
    prop_assert_eq!(facts.meaning.as_ref(), Some(&added), "{}", last);
    Ok(())
}

#[test]
fn the_corpus_is_read_as_expected_and_survives_rewriting() {
    let corpus = corpus();
    let names: BTreeSet<&str> = corpus.iter().map(|(name, ..)| name.as_str()).collect();
    assert!(corpus.len() >= 200 && names.len() == corpus.len(), "{} of {}", names.len(), corpus.len());
    for (name, text, expect) in &corpus {
        match (parse(text), expect) {
            (Ok(document), Expect::Kept(rules)) => {
                assert_eq!(document.to_facts().not_preservable, None, "{name}");
                assert_eq!(document.rules().count(), *rules, "{name}");
            }
            (Ok(document), Expect::Blocked(why)) => {
                let found = document.to_facts().not_preservable.unwrap_or_else(|| panic!("{name} was thought safe"));
                assert!(found.contains(why), "{name}: {found}");
            }
            (Err(error), Expect::Refused(why)) => assert!(error.to_string().contains(why), "{name}: {error}"),
            (found, expect) => panic!("{name}: expected {expect:?}, found {found:?}"),
        }
        check_preservable(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn only_our_own_forms_have_a_meaning() {
    let ours = |body: &str| one_rule(&format!("<Rule><ID>a</ID>{body}</Rule>")).to_facts().rules[0].meaning.clone();
    let expiring = Some(Meaning { prefix: "x/".into(), settings: expire(7) });
    let filter = "<Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status>";
    let days = "<Expiration><Days>7</Days></Expiration>";
    let same = [
        format!("{filter}{days}"),
        format!("{days}{filter}"),
        format!("<Prefix>x/</Prefix><Status>Enabled</Status>{days}"),
        format!("\n {filter}\t<Expiration>\r\n <Days>7</Days></Expiration>\n"),
        format!("<Filter><Prefix>x&#47;</Prefix></Filter><Status><![CDATA[Enabled]]></Status>{days}"),
    ];
    for body in same {
        assert_eq!(ours(&body), expiring, "{body}");
    }
    let others = [
        "<Filter><Prefix>x/</Prefix></Filter><Status>Disabled</Status><Expiration><Days>7</Days></Expiration>"
            .to_owned(),
        "<Filter><Prefix>x/</Prefix></Filter><Expiration><Days>7</Days></Expiration>".to_owned(),
        filter.to_owned(),
        format!("<Status>Enabled</Status>{days}"),
        format!("<Filter/><Status>Enabled</Status>{days}"),
        format!("<Filter><Prefix/></Filter><Status>Enabled</Status>{days}"),
        format!("<Prefix>x/</Prefix>{filter}{days}"),
        format!("{filter}{filter}{days}"),
        format!("{filter}{days}{days}"),
        format!("{filter}{days}<Future/>"),
        format!("{filter}{days}text"),
        format!("{filter}{days}<!-- note -->"),
        format!("<Filter><And><Prefix>x/</Prefix></And></Filter><Status>Enabled</Status>{days}"),
        format!(
            "<Filter><Prefix>x/</Prefix><ObjectSizeGreaterThan>1</ObjectSizeGreaterThan></Filter><Status>Enabled</Status>{days}"
        ),
        format!("<Filter><Prefix>x/</Prefix><Prefix>y/</Prefix></Filter><Status>Enabled</Status>{days}"),
        format!("<Filter note='1'><Prefix>x/</Prefix></Filter><Status>Enabled</Status>{days}"),
        format!("{filter}<Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration>"),
        format!(
            "{filter}<Expiration><Days>7</Days><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"
        ),
        format!("{filter}<Expiration><Days>0</Days></Expiration>"),
        format!("{filter}<Expiration><Days>-1</Days></Expiration>"),
        format!("{filter}<Expiration><Days>+7</Days></Expiration>"),
        format!("{filter}<Expiration><Days>07</Days></Expiration>"),
        format!("{filter}<Expiration><Days> 7</Days></Expiration>"),
        format!("{filter}<Expiration><Days>99999999999</Days></Expiration>"),
        format!("{filter}<Expiration><Days>7<More/></Days></Expiration>"),
        format!("{filter}<Expiration></Expiration>"),
        format!("{filter}{days}<Transition><Days>1</Days><StorageClass>FUTURE</StorageClass></Transition>"),
        format!(
            "{filter}{days}<Transition><Date>2030-01-01T00:00:00Z</Date><StorageClass>GLACIER</StorageClass></Transition>"
        ),
        format!("{filter}{days}<Transition><Days>1</Days></Transition>"),
        format!("{filter}{days}<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass><More/></Transition>"),
        format!(
            "{filter}<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration>"
        ),
        format!(
            "{filter}<NoncurrentVersionTransition><NoncurrentDays>1</NoncurrentDays><StorageClass>GLACIER</StorageClass></NoncurrentVersionTransition>"
        ),
        format!("{filter}{days}<A><B><C><D><E/></D></C></B></A>"),
    ];
    for body in others {
        assert_eq!(ours(&body), None, "{body}");
    }
    let without_id = one_rule(&format!("<Rule>{filter}{days}</Rule>"));
    assert_eq!(without_id.to_facts().rules[0].meaning, None);
}

#[test]
fn transitions_read_in_any_order_have_one_meaning() {
    let step = |days: i32, class: &str| {
        format!("<Transition><Days>{days}</Days><StorageClass>{class}</StorageClass></Transition>")
    };
    let steps = [step(30, "STANDARD_IA"), step(90, "GLACIER_IR"), step(90, "GLACIER"), step(200, "DEEP_ARCHIVE")];
    let meaning = |order: [usize; 4]| {
        let body: String = order.iter().map(|i| steps[*i].as_str()).collect();
        one_rule(&format!("<Rule><ID>a</ID><Prefix>x/</Prefix><Status>Enabled</Status>{body}</Rule>")).to_facts().rules
            [0]
        .meaning
        .clone()
    };
    let first = meaning([0, 1, 2, 3]);
    assert_eq!(first.as_ref().unwrap().settings.transitions[1].storage_class, "GLACIER_IR");
    for order in [[3, 2, 1, 0], [2, 0, 3, 1], [1, 2, 0, 3]] {
        assert_eq!(meaning(order), first);
    }
}

#[test]
fn a_first_document_is_one_that_s3_accepts_and_a_last_rule_leaves_none() {
    let rules = [rule("a", expire(7)), rule("b", expire(8))];
    let bytes = compose(None, &add(&rules)).unwrap().unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.starts_with(r#"<?xml version="1.0" encoding="UTF-8"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule>"#));
    let document = RawDocument::parse(&bytes, None).unwrap();
    let mut write = WriteRules::default();
    write.remove.extend(rules.iter().map(|rule| rule.id.clone()));
    assert_eq!(compose(Some(&document), &write), Ok(None));
    assert_eq!(compose(None, &WriteRules::default()), Ok(None));
    for bare in ["<LifecycleConfiguration/>", "<LifecycleConfiguration></LifecycleConfiguration>"] {
        let document = parse(bare).unwrap();
        assert_eq!(compose(Some(&document), &WriteRules::default()), Ok(None), "{bare}");
        let after = compose(Some(&document), &add(&rules)).unwrap().unwrap();
        assert_eq!(RawDocument::parse(&after, None).unwrap().rules().count(), 2, "{bare}");
    }
}

#[test]
fn a_rule_is_replaced_and_its_neighbours_keep_their_bytes_and_white_space() {
    let old = rule("a", expire(7));
    let text = format!(
        "<LifecycleConfiguration>\n  <Rule><ID>one</ID></Rule>\n  <Rule><ID>{}</ID></Rule>\n  <Rule><ID>two</ID></Rule>\n</LifecycleConfiguration>\n",
        old.id
    );
    let mut write = add(&[rule("a", expire(9))]);
    write.remove.insert(old.id);
    let after = compose(Some(&parse(&text).unwrap()), &write).unwrap().unwrap();
    let after = String::from_utf8(after).unwrap();
    assert!(
        after.starts_with("<LifecycleConfiguration>\n  <Rule><ID>one</ID></Rule>\n  <Rule><ID>two</ID></Rule><Rule>"),
        "{after}"
    );
    assert!(after.ends_with("<Status>Enabled</Status></Rule>\n</LifecycleConfiguration>\n"), "{after}");
}

#[test]
fn nothing_is_composed_that_s3_would_refuse_or_that_would_hide_a_rule() {
    let foreign = parse("<LifecycleConfiguration><Rule><ID>a</ID></Rule></LifecycleConfiguration>").unwrap();
    let twice = Rule { id: "a".into(), ..rule("s", expire(1)) };
    let taken = compose(Some(&foreign), &add(std::slice::from_ref(&twice)));
    assert_eq!(taken, Err(DocumentError::DuplicateId { id: "a".into() }));
    assert!(matches!(compose(None, &add(&[twice.clone(), twice])), Err(DocumentError::DuplicateId { .. })));
    let control = rule("bell\u{7}", expire(1));
    assert_eq!(
        compose(None, &add(std::slice::from_ref(&control))),
        Err(DocumentError::NotExpressible { id: control.id })
    );
    let blocked = parse("<LifecycleConfiguration>x<Rule><ID>a</ID></Rule></LifecycleConfiguration>").unwrap();
    assert!(matches!(compose(Some(&blocked), &WriteRules::default()), Err(DocumentError::NotPreservable { .. })));
}

#[test]
fn the_version_tells_bytes_and_setting_apart() {
    let text = b"<LifecycleConfiguration><Rule><ID>a</ID></Rule></LifecycleConfiguration>";
    let spaced = b"<LifecycleConfiguration><Rule><ID>a</ID></Rule> </LifecycleConfiguration>";
    let version = |bytes: &[u8], setting: Option<&str>| {
        RawDocument::parse(bytes, setting.map(str::to_owned)).unwrap().version().to_owned()
    };
    let versions = [version(text, None), version(text, Some("")), version(text, Some("a")), version(spaced, None)];
    let distinct: BTreeSet<&String> = versions.iter().collect();
    assert_eq!(distinct.len(), versions.len(), "{versions:?}");
    assert_eq!(version(text, Some("a")), versions[2]);
}

#[test]
fn a_document_of_a_megabyte_of_nesting_or_of_rules_is_read() {
    let deep = format!(
        "<LifecycleConfiguration><Rule><ID>a</ID>{}{}</Rule></LifecycleConfiguration>",
        "<a>".repeat(150_000),
        "</a>".repeat(150_000)
    );
    let document = parse(&deep).unwrap();
    assert_eq!(ids(&document), [Some("a".to_owned())]);
    assert_eq!(document.to_facts().rules[0].meaning, None);
    let many: Vec<Rule> = (0..1_000).map(|n| rule(&format!("service-{n}"), expire(n + 1))).collect();
    let bytes = compose(None, &add(&many)).unwrap().unwrap();
    let facts = RawDocument::parse(&bytes, None).unwrap().to_facts();
    assert!(facts.rules.iter().zip(&many).all(|(found, rule)| found.id.as_ref() == Some(&rule.id)));
    assert_eq!(facts.rules.len(), 1_000);
}

/// Pieces of rules as others write them, well-formed each.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "<Status>Enabled</Status>",
            "<Status>Disabled</Status>",
            "<Prefix>a&amp;b/</Prefix>",
            "<Prefix/>",
            "<Filter><Prefix>x/</Prefix></Filter>",
            "<Filter><And><Prefix>p</Prefix><Tag><Key>k</Key><Value/></Tag></And></Filter>",
            "<Filter><ObjectSizeLessThan>9</ObjectSizeLessThan></Filter>",
            "<Expiration><Days>7</Days></Expiration>",
            "<Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration>",
            "<Future a='1' b=\">\"><C/></Future>",
            "<![CDATA[</Rule>]]>",
            "<!-- <Rule> -->",
            "\n\t ",
            "text",
            "&#x20AC;",
            "<Rule><ID>inner</ID></Rule>",
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z0-9 ü\u{1F600}'\"]{0,8}",
        "[A-Z][a-z]{0,5}".prop_map(|name| format!("<{name}>1</{name}>")),
    ]
}

fn foreign_rule() -> impl Strategy<Value = String> {
    let id = proptest::option::of("[a-z]{1,12}(&amp;|&#65;|<!\\[CDATA\\[<&\\]\\]>)?");
    (id, vec(piece(), 0..6), 0..4_usize).prop_map(|(id, mut pieces, at)| {
        if let Some(id) = id {
            pieces.insert(at.min(pieces.len()), format!("<ID>{id}</ID>"));
        }
        format!("<Rule>{}</Rule>", pieces.concat())
    })
}

fn document_text() -> impl Strategy<Value = String> {
    let head = select(vec!["", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", "\u{FEFF}", "<?xml version='1.0'?>"]);
    let root = select(vec!["", " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"", " xmlns='u'", " "]);
    let gap = select(vec!["", " ", "\n  ", "\r\n"]);
    (head, root, vec((foreign_rule(), gap), 0..6)).prop_map(|(head, root, rules)| {
        let rules: String = rules.into_iter().map(|(rule, gap)| gap.to_owned() + &rule).collect();
        format!("{head}<LifecycleConfiguration{root}>{rules}\n</LifecycleConfiguration>")
    })
}

/// Bytes of the corpus with a few of them changed, doubled, cut or replaced by markup.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let marks: Vec<&'static [u8]> = vec![
        b"<",
        b">",
        b"/",
        b"&",
        b"\"",
        b"'",
        b"=",
        b"]]>",
        b"<![CDATA[",
        b"<!--",
        b"-->",
        b"</Rule>",
        b"<Rule>",
        b"<Rule/>",
        b"<?x?>",
        b"<!DOCTYPE a>",
        b"&amp;",
        b"&#0;",
        b"\xff",
        b"\xef\xbb\xbf",
        b" ",
        b"\0",
        b":",
        b"xmlns:a='b'",
        b"<ID>a</ID>",
    ];
    let edit = (any::<Index>(), any::<Index>(), proptest::option::of(select(marks)), any::<bool>());
    (select(corpus()), vec(edit, 0..6)).prop_map(|((_, text, _), edits)| {
        let mut bytes = text.into_bytes();
        for (at, to, mark, cut) in edits {
            let (at, to) = (at.index(bytes.len() + 1), to.index(bytes.len() + 1));
            let (from, to) = (at.min(to), at.max(to).min(at.min(to) + 40));
            match (mark, cut) {
                (Some(mark), false) => drop(bytes.splice(from..from, mark.iter().copied())),
                (Some(mark), true) => drop(bytes.splice(from..to, mark.iter().copied())),
                (None, false) => drop(bytes.splice(from..from, bytes[from..to].to_vec())),
                (None, true) => drop(bytes.drain(from..to)),
            }
        }
        bytes
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    let classes = vec!["STANDARD_IA", "INTELLIGENT_TIERING", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"];
    let transitions = proptest::sample::subsequence(classes, 0..=6);
    let days = || proptest::option::of(1..=36_500_i32);
    (days(), days(), days(), transitions, 1..500_i32)
        .prop_map(|(expiration_days, abort_multipart_days, noncurrent_days, classes, step)| Settings {
            expiration_days,
            transitions: (0..)
                .zip(classes)
                .map(|(n, class)| Transition { days: n * step, storage_class: class.to_owned() })
                .collect(),
            abort_multipart_days,
            noncurrent_days,
        })
        .prop_filter("a rule does something", |settings| *settings != Settings::default())
}

/// Service names with everything that XML, URLs and people find special.
fn service() -> impl Strategy<Value = String> {
    let special = select(vec![
        "&",
        "<",
        ">",
        "\"",
        "'",
        "%3A",
        "%2F",
        "%",
        "+",
        " ",
        "\t",
        "\n",
        "\r",
        "&amp;",
        "]]>",
        "é",
        "\u{1F600}",
        "=",
        "\u{85}",
        "\u{2028}",
        "<!--",
    ]);
    vec(prop_oneof![special.prop_map(str::to_owned), "[a-z0-9.-]{1,6}"], 1..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rules_of_others_survive_any_change_of_ours(text in document_text()) {
        prop_assert!(parse(&text).is_ok(), "{text}");
        check_preservable(&text)?;
    }

    #[test]
    fn damaged_documents_are_refused_or_preserved(bytes in damaged()) {
        match String::from_utf8(bytes) {
            Ok(text) => check_preservable(&text)?,
            Err(error) => prop_assert!(RawDocument::parse(error.as_bytes(), None).is_err()),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = RawDocument::parse(&bytes, None);
    }

    #[test]
    fn our_own_rules_are_read_back_as_written(services in proptest::collection::btree_map(service(), settings(), 1..5), text in document_text()) {
        let rules: Vec<Rule> = services.iter().map(|(name, settings)| rule(name, settings.clone())).collect();
        let before = parse(&text).unwrap();
        prop_assume!(before.to_facts().not_preservable.is_none());
        for document in [None, Some(&before)] {
            let bytes = compose(document, &add(&rules)).unwrap().unwrap();
            let after = RawDocument::parse(&bytes, None).unwrap().to_facts();
            for rule in &rules {
                let found: Vec<_> = after.rules.iter().filter(|found| found.id.as_ref() == Some(&rule.id)).collect();
                let wanted = Meaning { prefix: rule.prefix.clone(), settings: rule.settings.clone() };
                prop_assert_eq!(found.len(), 1);
                prop_assert_eq!(found[0].meaning.as_ref(), Some(&wanted));
            }
            // Taken out again, nothing of ours is left behind.
            let after = RawDocument::parse(&bytes, None).unwrap();
            let mut undo = WriteRules::default();
            undo.remove.extend(rules.iter().map(|rule| rule.id.clone()));
            let undone = compose(Some(&after), &undo).unwrap();
            let expected = document.filter(|d| d.rules().next().is_some()).map(|d| d.bytes().to_vec());
            prop_assert_eq!(undone, expected);
        }
    }
}
