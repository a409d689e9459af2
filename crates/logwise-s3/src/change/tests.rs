use super::*;
use crate::record::Earlier;
use crate::record::tests::record;
use logwise_aws::Failure;
use logwise_plan::retention::{Rule, Settings};
use std::collections::BTreeSet;

const THEIRS: &str = "<LifecycleConfiguration><Rule><ID>t</ID><Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";

fn parsed(text: &str) -> RawDocument {
    RawDocument::parse(text.as_bytes(), None).unwrap()
}

fn look(raw: Known<RawDocument>) -> Look {
    Look::of(Known::Known(BTreeSet::new()), raw)
}

fn write() -> WriteRules {
    let settings = Settings { expiration_days: Some(9), ..Settings::default() };
    WriteRules {
        assumes: Some(parsed(THEIRS).version().to_owned()),
        remove: BTreeSet::new(),
        add: vec![Rule { id: "ours".into(), prefix: "logs/service_name=a/".into(), settings }],
    }
}

fn ours() -> RawDocument {
    let bytes = crate::compose(Some(&parsed(THEIRS)), &write()).unwrap().unwrap();
    RawDocument::parse(&bytes, None).unwrap()
}

fn other() -> RawDocument {
    parsed(&THEIRS.replace("<Days>1<", "<Days>2<"))
}

/// A record that was written down so long ago.
fn aged(state: State, targets: &Targets, age: Duration) -> Intent {
    let prepared = Timestamp::now().saturating_sub(age).ok();
    Intent { prepared, ..record(state, targets, Some(&parsed(THEIRS))) }
}

fn intent(state: State) -> Intent {
    aged(state, &Targets { write: write(), ..Targets::default() }, Duration::ZERO)
}

/// The same after another write, which has replaced what `other` shows.
fn second(state: State) -> Intent {
    let earlier = vec![Earlier { version: Some(other().version().to_owned()), at: Timestamp::now() }];
    aged(state, &Targets { write: write(), earlier, ..Targets::default() }, Duration::ZERO)
}

/// How a record stands after one look that shows this, in a process that has not sent the write.
fn after(memory: &Memory, intent: &Intent, raw: Known<RawDocument>) -> (Standing, Result<Ending, String>) {
    let Judged { standing, ending, .. } = judge((memory, "b"), intent, &look(raw), |id| id == "ours");
    (standing, ending)
}

#[test]
fn a_process_that_has_not_sent_the_write_comes_to_the_same_end() {
    let (memory, sent) = (Memory::default(), intent(State::Sent));
    let (standing, ended) = after(&memory, &sent, Known::Known(parsed(THEIRS)));
    assert!(matches!(&standing, Standing::Open { seen: Written::Unseen { .. }, .. }), "{standing:?}");
    assert_eq!(ended, Err(READ_AGAIN.to_owned()), "an old answer closes nothing");
    let (standing, ended) = after(&memory, &sent, Known::Known(ours()));
    assert!(matches!(&standing, Standing::Open { seen: Written::Shown { .. }, .. }) && ended.is_err(), "{standing:?}");
    assert_eq!(after(&memory, &sent, Known::Known(ours())).1, Ok(Ending::Done));
    assert!(after(&memory, &sent, Known::Unknown("denied".into())).1.is_err());
}

#[test]
fn a_write_that_was_accepted_and_replaced_names_another_writer() {
    let sent = intent(State::Sent);
    let other = || Known::Known(other());
    let moment = Instant::now() - Duration::from_secs(2);
    let seen = Reading::Other { why: "x".into() };
    for accepted in [false, true] {
        let memory = Memory::default();
        memory.watches.begin("b", sent.id(), accepted, moment);
        let (standing, ended) = after(&memory, &sent, other());
        assert!(matches!(&standing, Standing::Open { seen: Written::Unseen { .. }, .. }), "{standing:?}");
        assert_eq!(ended, Err(READ_AGAIN.to_owned()), "one such answer may be an old one");
        let version = other().known().map(|it| it.version().to_owned());
        memory.watches.begin("b", sent.id(), accepted, moment);
        memory.watches.judge(("b", sent.id(), moment), (version.as_deref(), &seen), moment);
        let (standing, ended) = after(&memory, &sent, other());
        assert_eq!(ended, Ok(Ending::Superseded));
        match &standing {
            // Perhaps it was never carried out: nobody is blamed.
            Standing::Free => assert!(!accepted),
            Standing::Lost { why, .. } => {
                assert!(accepted && why.contains("rule ours of ours is missing"), "{why}");
            }
            _ => panic!("{standing:?}"),
        }
    }
}

#[test]
fn the_record_of_a_write_that_s3_has_shown_whole_says_so_whatever_replaced_it() {
    let age = Duration::from_secs(190);
    let sent = aged(State::Sent, &Targets { write: write(), ..Targets::default() }, age);
    let (begun, version) = (Instant::now() - age, ours().version().to_owned());
    let judged = |accepted, shown, raw: RawDocument| {
        let memory = Memory::default();
        memory.watches.begin("b", sent.id(), accepted, begun);
        if shown {
            let whole = Reading::Ours { others: None };
            memory.watches.judge(("b", sent.id(), begun), (Some(version.as_str()), &whole), begun);
        }
        let Judged { ending, effect, .. } = judge((&memory, "b"), &sent, &look(Known::Known(raw)), |id| id == "ours");
        (ending, effect)
    };
    for accepted in [true, false] {
        for raw in [parsed(THEIRS), other()] {
            assert_eq!(judged(accepted, true, raw), (Ok(Ending::Superseded), Some(Effect::default())), "{accepted}");
        }
        assert_eq!(judged(accepted, false, other()), (Ok(Ending::Superseded), None), "{accepted}");
        assert_eq!(judged(accepted, false, parsed(THEIRS)), (Ok(Ending::Abandoned), None), "{accepted}");
    }
}

#[test]
fn what_was_there_before_the_last_but_one_write_is_an_old_answer_too() {
    let (memory, sent) = (Memory::default(), second(State::Sent));
    for _ in 0..3 {
        let (standing, ended) = after(&memory, &sent, Known::Known(other()));
        assert!(matches!(&standing, Standing::Open { seen: Written::Unseen { .. }, .. }), "{standing:?}");
        assert_eq!(ended, Err(READ_AGAIN.to_owned()));
    }
    assert!(after(&memory, &sent, Known::Known(ours())).1.is_err());
    assert_eq!(after(&memory, &sent, Known::Known(ours())).1, Ok(Ending::Done));
    let prepared = second(State::Prepared);
    assert_eq!(after(&memory, &prepared, Known::Known(other())).1, Err(READ_AGAIN.to_owned()));
    assert_eq!(after(&memory, &prepared, Known::Known(parsed(THEIRS))).1, Ok(Ending::Abandoned));
}

#[test]
fn a_process_that_comes_late_does_not_begin_anew() {
    let targets = Targets { write: write(), ..Targets::default() };
    for (age, ended) in [(170, Err(READ_AGAIN.to_owned())), (190, Ok(Ending::Abandoned))] {
        let sent = aged(State::Sent, &targets, Duration::from_secs(age));
        assert_eq!(after(&Memory::default(), &sent, Known::Known(parsed(THEIRS))).1, ended, "{age} s");
    }
}

#[test]
fn the_record_of_what_surely_was_not_sent_is_closed_at_once() {
    let write = |unsent| {
        let failure = Failure { unsent, ..Failure::stated(ErrorClass::Transient, "no connection") };
        Err(AwsError::WriteLifecycle { bucket: "b".into(), failure, source: None })
    };
    assert_eq!((unsent(&write(true)), unsent(&write(false))), (Some(void()), None));
    let failure = Failure::stated(ErrorClass::Transient, "no answer in time");
    let unread = Err(AwsError::ReadLifecycle { bucket: "b".into(), failure, source: None });
    assert_eq!(unsent(&unread), Some(void()));
    let refused = Failure::stated(ErrorClass::Denied, "no");
    let refused = Err(AwsError::WriteLifecycle { bucket: "b".into(), failure: refused, source: None });
    assert_eq!(unsent(&refused), Some(void()));
    for (written, ending) in [
        (Written::AlreadySo, Some(Ended { effect: Some(found()), ..void() })),
        (Written::Superseded, Some(void())),
        (Written::Postponed, Some(void())),
        (Written::Shown { others: None }, None),
        (Written::Unseen { why: "old".into() }, None),
    ] {
        assert_eq!(unsent(&Ok(written.clone().into())), ending, "{written:?}");
    }
}

#[test]
fn what_was_removed_while_nobody_looked_is_no_harm() {
    let targets = Targets { write: write(), ..Targets::default() };
    let bytes = crate::compose(None, &write()).unwrap().unwrap();
    let theirs_gone = RawDocument::parse(&bytes, None).unwrap();
    for (age, told) in [(10, 1), (190, 0)] {
        let (memory, sent) = (Memory::default(), aged(State::Sent, &targets, Duration::from_secs(age)));
        drop(after(&memory, &sent, Known::Known(theirs_gone.clone())));
        assert_eq!(memory.witness.harmed("b", Instant::now()).len(), told, "{age} s");
    }
}

#[test]
fn an_accepted_edit_that_leaves_everything_as_it_was_is_what_the_server_drops() {
    let age = Duration::from_secs(190);
    for (days, parts) in [(9, Some(vec!["ours".to_owned()])), (10, None)] {
        let mut edit = WriteRules { assumes: Some(ours().version().to_owned()), ..write() };
        edit.remove.insert("ours".to_owned());
        edit.add[0].settings.expiration_days = Some(days);
        edit.add[0].settings.abort_multipart_days = Some(3);
        let sent = record(State::Sent, &Targets { write: edit, ..Targets::default() }, Some(&ours()));
        let sent = Intent { prepared: Timestamp::now().saturating_sub(age).ok(), ..sent };
        for accepted in [true, false] {
            let memory = Memory::default();
            memory.watches.begin("b", sent.id(), accepted, Instant::now() - age);
            let judged = judge((&memory, "b"), &sent, &look(Known::Known(ours())), |id| id == "ours");
            let is_dropped = accepted && parts.is_some();
            let ended = if is_dropped { Ending::Superseded } else { Ending::Abandoned };
            assert_eq!(judged.ending, Ok(ended), "{days} {accepted}");
            assert_eq!(judged.effect.map(|effect| effect.parts), parts.clone().filter(|_| accepted));
            let is_lost = matches!(&judged.standing, Standing::Lost { .. });
            assert_eq!(is_lost, accepted && !is_dropped, "{days} {accepted}: only then somebody is blamed");
        }
        // Within three minutes it may be an old answer.
        let recent = Intent { prepared: Some(Timestamp::now()), ..sent };
        let memory = Memory::default();
        memory.watches.begin("b", recent.id(), true, Instant::now());
        assert_eq!(after(&memory, &recent, Known::Known(ours())).1, Err(READ_AGAIN.to_owned()), "{days}");
    }
}

#[test]
fn what_was_only_written_down_is_abandoned_at_once() {
    let memory = Memory::default();
    let prepared = intent(State::Prepared);
    assert_eq!(after(&memory, &prepared, Known::Known(parsed(THEIRS))).1, Ok(Ending::Abandoned));
    assert_eq!(after(&memory, &prepared, Known::Known(ours())).1, Ok(Ending::Abandoned), "somebody else did that");
    for (shown, effect) in [(parsed(THEIRS), None), (ours(), Some(found()))] {
        let judged = judge((&memory, "b"), &prepared, &look(Known::Known(shown)), |id| id == "ours");
        assert_eq!(judged.effect, effect);
    }
    let mut strange = intent(State::Sent);
    strange.wish.targets = serde_json::json!({"to": 3});
    assert_eq!(after(&memory, &strange, Known::Known(ours())).1, Ok(Ending::Superseded));
}
