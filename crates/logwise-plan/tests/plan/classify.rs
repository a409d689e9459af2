//! What counts as destructive, against the model of S3.

use crate::ageing::{changed, losses, losses_of, objects, rule, rules};
use crate::world::settings;
use jiff::Timestamp;
use logwise_plan::retention::{Expires, Noncurrent, Reach, is_destructive, lets_go_earlier};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SERVICE: &str = "logs/service_name=a/";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_costs_an_object_is_called_destructive((before, after) in changed(), objects in objects()) {
        let lost = losses_of(&objects, &before, &after);
        prop_assert!(lost.is_empty() || lets_go_earlier(&before, &after), "{lost:?}");
        prop_assert!(!lets_go_earlier(&before, &before) && !lets_go_earlier(&before, &[]));
    }

    #[test]
    fn so_are_rules_that_have_nothing_to_do_with_each_other(before in rules(), after in rules(), objects in objects()) {
        let lost = losses_of(&objects, &before, &after);
        prop_assert!(lost.is_empty() || lets_go_earlier(&before, &after), "{lost:?}");
    }
}

proptest! {
    /// Neither more nor less: what is called destructive costs some object that may exist.
    #[test]
    fn of_one_service_exactly_what_costs_an_object_is_destructive(from in settings(), to in settings()) {
        let (before, after) = ([Reach::over(SERVICE, &from)], [Reach::over(SERVICE, &to)]);
        prop_assert_eq!(is_destructive(&from, &to), !losses(&before, &after).is_empty());
        prop_assert_eq!(is_destructive(&from, &to), lets_go_earlier(&before, &after));
    }
}

/// Each pair is destructive in this direction and, but for the last ones, harmless in the other.
#[test]
fn each_way_to_go_earlier_is_destructive() {
    let days = |days| rule(|rule| (rule.prefix, rule.expires) = (SERVICE.into(), Some(Expires::Days(days))));
    let on = |second| rule(|rule| rule.expires = Some(Expires::Date(Timestamp::from_second(second).unwrap())));
    let with = |change: &dyn Fn(&mut Reach)| {
        let mut rule = days(5);
        change(&mut rule);
        rule
    };
    let versions = |days, newer| rule(|rule| rule.noncurrent = Some(Noncurrent { days, newer }));
    let tags = |value: &str| BTreeMap::from([("k".to_owned(), value.to_owned())]);
    let ways: [(&str, Reach, Reach); 13] = [
        ("shorter days", days(6), days(5)),
        ("an expiration", rule(|rule| rule.prefix = SERVICE.into()), days(5)),
        ("a wider prefix", days(5), with(&|rule| rule.prefix = "logs/service_name=a".into())),
        ("the whole bucket", days(5), with(&|rule| rule.prefix = String::new())),
        ("no tags any more", with(&|rule| rule.tags = tags("v")), days(5)),
        ("no least size any more", with(&|rule| rule.larger_than = Some(9)), days(5)),
        ("a smaller least size", with(&|rule| rule.larger_than = Some(9)), with(&|rule| rule.larger_than = Some(8))),
        ("no most size any more", with(&|rule| rule.smaller_than = Some(9)), days(5)),
        ("enabled", with(&|rule| rule.enabled = false), days(5)),
        ("a clean-up of versions", rule(|_| ()), versions(3, None)),
        ("a shorter clean-up", versions(4, None), versions(3, None)),
        ("fewer versions kept", versions(3, Some(2)), versions(3, Some(1))),
        ("no versions kept", versions(3, Some(2)), versions(3, None)),
    ];
    for (way, from, to) in &ways {
        let [from, to] = [std::slice::from_ref(from), std::slice::from_ref(to)];
        assert!(lets_go_earlier(from, to), "{way}");
        assert!(!lets_go_earlier(to, from), "{way}, the other way");
    }
    assert!(lets_go_earlier(&[on(86_400)], &[on(0)]) && !lets_go_earlier(&[on(0)], &[on(86_400)]));
    let incomparable = [(days(5), on(86_400)), (with(&|r| r.tags = tags("v")), with(&|r| r.tags = tags("w")))];
    for (one, other) in incomparable {
        let [one, other] = [[one], [other]];
        assert!(lets_go_earlier(&one, &other) && lets_go_earlier(&other, &one));
    }
    // Two rules together do more than a third one only if one of them does.
    let parts = [days(9), with(&|rule| rule.tags = tags("v"))];
    assert!(!lets_go_earlier(&parts, &parts[..1]) && lets_go_earlier(&parts, &[days(8)]));
    // Moves and aborted uploads cost no object.
    assert!(!lets_go_earlier(&[], &[rule(|rule| (rule.abort_multipart_days, rule.removes_markers) = (Some(1), true))]));
}
