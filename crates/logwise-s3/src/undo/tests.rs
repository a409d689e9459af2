use super::*;
use crate::record::found;
use crate::record::tests::record;
use logwise_plan::retention::Settings;
use logwise_runtime::intent::Effect;

const THEIRS: &str = "<Rule><ID>t</ID><Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>";
const ABORT: &str =
    "<AbortIncompleteMultipartUpload><DaysAfterInitiation>3</DaysAfterInitiation></AbortIncompleteMultipartUpload>";

fn parsed(text: &str) -> RawDocument {
    RawDocument::parse(text.as_bytes(), None).unwrap()
}

fn rule(service: &str, days: i32, abort: Option<i32>) -> Rule {
    let settings = Settings { expiration_days: Some(days), abort_multipart_days: abort, ..Settings::default() };
    Rule { id: format!("id-{service}"), prefix: format!("logs/service_name={service}/"), settings }
}

fn write(over: &RawDocument, remove: &[&str], add: &[Rule]) -> WriteRules {
    let remove = remove.iter().map(|service| format!("id-{service}")).collect();
    WriteRules { assumes: Some(over.version().to_owned()), remove, add: add.to_vec() }
}

fn made(over: &RawDocument, write: &WriteRules) -> RawDocument {
    parsed(&String::from_utf8(crate::compose(Some(over), write).unwrap().unwrap()).unwrap())
}

fn at(minutes: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
}

/// A rule of 7 days for `a` in force, with this abort, and one for `k`, then a write of 90 days with an abort for `a`
/// and `b`, of which the server keeps what `keeps` leaves: the configuration before, the record, and what there is.
fn scene_over(abort: Option<i32>, keeps: impl Fn(&str) -> String) -> (RawDocument, Intent, RawDocument) {
    let theirs = parsed(&format!("<LifecycleConfiguration>{THEIRS}</LifecycleConfiguration>"));
    let before = made(&theirs, &write(&theirs, &[], &[rule("a", 7, abort), rule("k", 7, None)]));
    let over = write(&before, &["a"], &[rule("a", 90, Some(3)), rule("b", 90, Some(3))]);
    let now = parsed(&keeps(made(&before, &over).text()));
    let targets = Targets { write: over, ..Targets::default() };
    let intent = record(State::Superseded, &targets, Some(&before));
    (before, intent, now)
}

fn scene(keeps: impl Fn(&str) -> String) -> (RawDocument, Intent, RawDocument) {
    scene_over(None, keeps)
}

fn without_abort(sent: &str) -> String {
    sent.replace(ABORT, "")
}

/// The rule of this service acts on every object.
fn wide(sent: &str, service: &str) -> String {
    sent.replace(&format!("<Filter><Prefix>logs/service_name={service}/</Prefix></Filter>"), "<Filter/>")
}

fn is_ours(id: &str) -> bool {
    id.starts_with("id-")
}

fn judged(last: &Intent, now: &RawDocument, minutes: i64) -> Option<Unkept> {
    unkept(Some(last), &Known::Known(now.clone()), is_ours, at(minutes))
}

fn due(last: &Intent, now: &RawDocument, minutes: i64) -> Targets {
    let found = judged(last, now, minutes).unwrap();
    let Undo::Due(undo) = found.undo else { panic!("{found:?}") };
    assert!(undo.undoes && undo.write.assumes.as_deref() == Some(now.version()), "{undo:?}");
    *undo
}

fn ids(services: &[&str]) -> BTreeSet<String> {
    services.iter().map(|service| format!("id-{service}")).collect()
}

fn rules(document: &RawDocument, ours: bool) -> Vec<String> {
    let of = document.rules().filter(|(facts, _)| facts.id.as_deref().is_some_and(is_ours) == ours);
    let mut rules: Vec<String> = of.map(|(_, xml)| xml.to_owned()).collect();
    rules.sort();
    rules
}

#[test]
fn what_the_server_did_not_keep_is_put_back_and_not_written_again() {
    let (before, last, now) = scene(without_abort);
    let undo = due(&last, &now, 1);
    let undone = made(&now, &undo.write);
    assert_eq!((rules(&undone, true), rules(&undone, false)), (rules(&before, true), rules(&before, false)));
    // Done, and read after a restart.
    let last = record(State::Done, &undo, Some(&now));
    let found = judged(&last, &undone, 9).unwrap();
    assert_eq!(found.undo, Undo::No);
    assert_eq!(
        found.words(),
        "AbortIncompleteMultipartUpload.DaysAfterInitiation (of 2 rules); the rules from before were put back"
    );
    let again = write(&undone, &["a"], &[rule("a", 90, Some(3)), rule("b", 90, Some(3))]);
    let (rest, refused) = found.ignored.spare(&again, Some(&undone));
    assert_eq!((rest, refused.len()), (None, 2));
}

#[test]
fn a_field_that_an_edit_adds_in_vain_is_not_written_again_and_there_is_nothing_to_take_back() {
    let theirs = parsed(&format!("<LifecycleConfiguration>{THEIRS}</LifecycleConfiguration>"));
    let before = made(&theirs, &write(&theirs, &[], &[rule("a", 7, None), rule("k", 7, None)]));
    for service in ["a", "k"] {
        let edit = write(&before, &[service], &[rule(service, 7, Some(3))]);
        // `k` stands last, so that all is as before, byte for byte.
        let now = parsed(&without_abort(made(&before, &edit).text()));
        assert_eq!(now == before, service == "k");
        let targets = Targets { write: edit.clone(), ..Targets::default() };
        let last = record(State::Superseded, &targets, Some(&before));
        let effect = Effect { amount: 0, parts: vec![format!("id-{service}")] };
        let named = Intent { effect: Some(effect), ..last.clone() };
        for minutes in [4, 600] {
            let found = judged(&named, &now, minutes).unwrap();
            assert!(matches!(found.undo, Undo::Unsafe(_)), "{found:?}");
            assert_eq!(
                found.words(),
                "AbortIncompleteMultipartUpload.DaysAfterInitiation (of 1 rules); the rules from before were not put \
                 back: what is there says the same"
            );
            let (rest, refused) = found.ignored.spare(&edit, Some(&now));
            assert_eq!((rest, refused), (None, ids(&[service])));
        }
        if service == "k" {
            assert_eq!(judged(&last, &now, 4), None, "somebody has put it back");
        }
    }
}

#[test]
fn what_is_not_safe_to_take_back_stays_and_is_told() {
    let told = |(_, last, now): (RawDocument, Intent, RawDocument), minutes| {
        let found = judged(&last, &now, minutes).unwrap();
        assert!(matches!(found.undo, Undo::Unsafe(_)), "{found:?}");
        found.words()
    };
    assert!(told(scene(without_abort), 11).contains("in force for some time"));
    assert!(told(scene(|sent| without_abort(sent).replace(THEIRS, "")), 1).contains("another writer"));
    let over_the_same = scene_over(Some(5), without_abort);
    assert!(told(over_the_same, 1).contains("the server does not keep those either"));
    // The write that takes it back was refused: sent again while nobody else has written, and else not.
    let (_, last, now) = scene(without_abort);
    let refused = record(State::Abandoned, &due(&last, &now, 1), Some(&now));
    due(&refused, &now, 2);
    let other = parsed("<LifecycleConfiguration></LifecycleConfiguration>");
    assert!(told((other.clone(), refused, other), 3).contains("were not put back: another writer"));
}

#[test]
fn a_rule_that_acts_on_more_goes_whatever_else_has_changed() {
    let (_, last, sent) = scene(str::to_owned);
    let (text, b) = (sent.text(), rule::write(&rule("b", 90, Some(3))).unwrap());
    let cases: [(String, &[&str]); 7] = [
        (wide(text, "a"), &["a"]),
        (wide(&wide(text, "a"), "b"), &["a", "b"]),
        (wide(text, "a").replace(THEIRS, ""), &["a"]),
        (wide(text, "a").replace("<Days>1<", "<Days>2<"), &["a"]),
        (wide(text, "a").replace(&b, ""), &["a"]),
        // What else the server has not kept of the same write goes too, and a rule of ours that it was to carry along.
        (without_abort(&wide(text, "a")), &["a", "b"]),
        (wide(text, "k"), &["k"]),
    ];
    for (now, gone) in cases {
        let now = parsed(&now);
        let undo = due(&last, &now, 59);
        assert_eq!((&undo.write.remove, undo.write.add.len()), (&ids(gone), 0), "{}", now.text());
        assert!(undo.is_duty() && undo.ignored.as_ref().is_some_and(|it| it.fields.contains_key(NARROWING)));
        let after = made(&now, &undo.write);
        assert_eq!(rules(&after, false), rules(&now, false), "rules of others are as they were");
        assert!(!rules(&after, true).iter().any(|xml| gone.iter().any(|it| xml.contains(&format!("id-{it}<")))));
    }
}

#[test]
fn it_goes_after_a_lost_race_and_when_somebody_brings_it_back() {
    let (_, last, now) = scene(|sent| wide(&wide(sent, "a"), "b"));
    let undo = due(&last, &now, 1);
    let changed = parsed(&now.text().replace("<Days>1<", "<Days>2<"));
    let after = made(&changed, &undo.write);
    for state in [State::Abandoned, State::Superseded] {
        let lost = record(state, &undo, Some(&now));
        let again = due(&lost, &changed, 2);
        assert_eq!((&again.write.remove, again.write.add.len()), (&ids(&["a", "b"]), 0));
        let fields = |targets: &Targets| targets.ignored.as_ref().map(|ignored| ignored.fields.clone());
        assert_eq!(fields(&again), fields(&undo), "counted once");
        let found = judged(&lost, &after, 3).unwrap();
        assert_eq!(found.undo, Undo::No, "somebody else has removed them");
    }
    let done = record(State::Done, &undo, Some(&changed));
    let found = judged(&done, &after, 1).unwrap();
    assert!(found.undo == Undo::No && found.words().contains("taken away. From 1970-01-01T00:00:00Z to"), "{found:?}");
    assert_eq!(judged(&done, &changed, 2).unwrap().undo, Undo::No, "this may be an old answer");
    assert_eq!(due(&done, &changed, 3).write.remove, ids(&["a", "b"]));
}

#[test]
fn what_somebody_does_to_a_rule_later_is_not_the_servers_work() {
    let (_, last, now) = scene(|sent| wide(sent, "a"));
    let ended = |state, send_before| Intent { state, send_before, ..last.clone() };
    assert_eq!(judged(&ended(State::Done, Some(at(0))), &now, 1), None, "it was read whole twice");
    assert_eq!(judged(&ended(State::Abandoned, None), &now, 1), None, "nothing was sent");
    // A request without an answer may come late.
    due(&ended(State::Abandoned, Some(at(0))), &now, 14);
    assert_eq!(judged(&ended(State::Abandoned, Some(at(0))), &now, 15), None);
    let void = Intent { effect: void().effect, ..ended(State::Abandoned, Some(at(0))) };
    assert_eq!(judged(&void, &now, 1), None, "its record said `Sent`, and nothing was sent after that");
    let there = Intent { effect: Some(found()), ..ended(State::Abandoned, Some(at(0))) };
    assert_eq!(judged(&there, &now, 1), None, "S3 has shown its rules");
    assert_eq!(judged(&ended(State::Sent, Some(at(0))), &now, 1), None, "it is still read");
    // Long after a write that was not kept, or was replaced, it is not the server that makes a rule wider.
    let (_, last, sent) = scene(str::to_owned);
    for service in ["a", "k"] {
        let now = parsed(&wide(sent.text(), service));
        due(&last, &now, 59);
        assert_eq!(judged(&last, &now, 60), None, "{service}");
    }
    let lesser = parsed(&wide(&without_abort(sent.text()), "a"));
    assert_eq!(due(&last, &lesser, 59).write.remove, ids(&["a", "b"]));
    let found = judged(&last, &lesser, 60).unwrap();
    assert!(matches!(found.undo, Undo::Unsafe(_)) && !found.ignored.wider, "{found:?}");
    assert!(found.ignored.fields.keys().all(|field| !narrows(field)), "rules are written on: {found:?}");
    // What no server makes of a rule by leaving something out.
    for now in [
        wide(sent.text(), "a").replace("<Days>90<", "<Days>1<"),
        sent.text().replace("logs/service_name=a/</Prefix>", "logs/</Prefix>"),
        sent.text().replace("<Prefix>logs/service_name=a/</Prefix>", "<Tag><Key>k</Key><Value>v</Value></Tag>"),
        wide(sent.text(), "a").replace("<Days>90<", "<Date>2030-01-01T00:00:00Z</Date><Days>90<"),
    ] {
        assert_eq!(judged(&last, &parsed(&now), 1), None, "{now}");
        let of_last = Targets::of(&last).unwrap().write;
        let before = Targets::of(&last).unwrap().before(&last).unwrap();
        assert!(!acts_on_more((before.as_ref(), &of_last), Some(&parsed(&now)), is_ours), "{now}");
    }
    for (state, minutes, unsure) in [(State::Sent, 59, true), (State::Sent, 60, false), (State::Done, 0, false)] {
        assert_eq!(is_unsure(&ended(state, None), at(minutes)), unsure, "{state:?} {minutes}");
    }
}

#[test]
fn after_s3_has_shown_a_write_whole_nothing_of_it_is_the_servers_work() {
    let cases: [fn(&str) -> String; 3] = [without_abort, |sent| wide(sent, "a"), |sent| wide(sent, "k")];
    for keeps in cases {
        let (_, last, now) = scene(keeps);
        assert!(judged(&last, &now, 1).is_some());
        let whole = Intent { effect: void().effect, ..last };
        assert_eq!(judged(&whole, &now, 1), None, "{}", now.text());
    }
    // What was taken away, and is there again, goes all the same.
    let (_, last, now) = scene(|sent| wide(sent, "a"));
    let undo = record(State::Superseded, &due(&last, &now, 1), Some(&now));
    due(&Intent { effect: void().effect, ..undo }, &now, 4);
}

#[test]
fn a_rule_that_acted_on_more_before_the_write_was_not_made_so_by_it() {
    let theirs = parsed(&format!("<LifecycleConfiguration>{THEIRS}</LifecycleConfiguration>"));
    let narrow = made(&theirs, &write(&theirs, &[], &[rule("a", 90, None)]));
    // Somebody took its prefix away, and the write that is to put it right is refused.
    let before = parsed(&wide(narrow.text(), "a"));
    let repair = write(&before, &["a"], &[rule("a", 90, None)]);
    assert!(!acts_on_more((Some(&before), &repair), Some(&before), is_ours));
    let last = record(State::Abandoned, &Targets { write: repair, ..Targets::default() }, Some(&before));
    let last = Intent { send_before: Some(at(0)), ..last };
    assert_eq!(judged(&last, &before, 1), None);
    // It came, and the server has dropped the prefix: read twice, since another writer has changed the rest.
    let changed = parsed(&before.text().replace("<Days>1<", "<Days>2<"));
    let read = Intent { state: State::Superseded, ..last };
    assert_eq!(due(&read, &changed, 1).write.remove, ids(&["a"]));
}

#[test]
fn a_reading_that_shows_a_rule_of_ours_acting_on_more_is_known_at_once() {
    let (before, last, sent) = scene(str::to_owned);
    let write = Targets::of(&last).unwrap().write;
    let acts = |now: &str| acts_on_more((Some(&before), &write), Some(&parsed(now)), is_ours);
    assert!(acts(&wide(sent.text(), "a")) && acts(&wide(sent.text(), "k")));
    assert!(!acts(sent.text()) && !acts(&without_abort(sent.text())) && !acts(before.text()));
    assert!(!acts_on_more((Some(&before), &write), None, is_ours));
}

#[test]
fn a_write_that_was_kept_or_replaced_leaves_nothing_to_take_back() {
    let (before, last, now) = scene(str::to_owned);
    assert_eq!(judged(&last, &now, 1), None);
    assert_eq!(judged(&last, &before, 1), None);
    assert_eq!(unkept(Some(&last), &Known::Absent, is_ours, at(1)), None);
    let (_, last, now) = scene(without_abort);
    let done = Intent { state: State::Done, ..last };
    assert_eq!(judged(&done, &now, 1), None);
    assert_eq!(unkept(None, &Known::Known(now), is_ours, at(1)), None);
}
