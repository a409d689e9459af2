//! What Ceph keeps of a lifecycle configuration, in `make prove`. That it carries it out is seen end to end, in
//! `tests/tests/e2e/ceph.rs`.

use super::*;

fn tagged(parts: &str) -> String {
    with(&format!("<Filter>{parts}</Filter>{EXPIRE}"))
}

/// What Ceph makes of each kind of rule that it accepts.
fn fates() -> Vec<Fate> {
    let versions = "<NoncurrentDays>7</NoncurrentDays><NewerNoncurrentVersions>3</NewerNoncurrentVersions>";
    vec![
        (with(&format!("<Prefix>x/</Prefix>{EXPIRE}")), vec!["</ID><Prefix>x/</Prefix><Status>"], vec!["<Filter>"]),
        (with(&format!("<Filter/>{EXPIRE}")), vec!["</ID><Prefix></Prefix><Status>"], vec!["<Filter>"]),
        (tagged("<Prefix></Prefix>"), vec!["</ID><Prefix></Prefix><Status>"], vec!["<Filter>"]),
        (tagged("<And><Prefix>x/</Prefix></And>"), vec!["<Filter><Prefix>x/</Prefix></Filter>"], vec!["<And>"]),
        (
            tagged("<Prefix>x/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag>"),
            vec!["<And><Prefix>x/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And>"],
            vec![],
        ),
        (
            tagged(
                "<And><ObjectSizeLessThan>900</ObjectSizeLessThan><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan><Prefix>x/</Prefix></And>",
            ),
            vec!["<ObjectSizeGreaterThan>5</ObjectSizeGreaterThan><ObjectSizeLessThan>900</ObjectSizeLessThan></And>"],
            vec![],
        ),
        (tagged("<Prefix>x/</Prefix><ArchiveZone/>"), vec!["<Prefix>x/</Prefix><ArchiveZone></ArchiveZone>"], vec![]),
        (tagged("<Prefix>x/</Prefix><Later>1</Later>"), vec!["<Filter><Prefix>x/</Prefix></Filter>"], vec!["Later"]),
        (with(&format!("{LOGS_FILTER}{EXPIRE}<LaterField>1</LaterField>")), vec!["<Days>9</Days>"], vec!["Later"]),
        (
            with(&format!("{LOGS_FILTER}<Expiration><Date>2030-01-01T00:00:00.000Z</Date></Expiration>")),
            vec!["<Date>2030-01-01T00:00:00.000Z</Date>"],
            vec![],
        ),
        (
            with(&format!("{LOGS_FILTER}<NoncurrentVersionExpiration>{versions}</NoncurrentVersionExpiration>")),
            vec!["<NewerNoncurrentVersions>3</NewerNoncurrentVersions><NoncurrentDays>7</NoncurrentDays>"],
            vec![],
        ),
        (
            with(&format!(
                "{LOGS_FILTER}<NoncurrentVersionTransition>{versions}<StorageClass>GLACIER</StorageClass></NoncurrentVersionTransition>"
            )),
            vec!["<NoncurrentDays>7</NoncurrentDays><StorageClass>GLACIER</StorageClass>"],
            vec!["NewerNoncurrentVersions"],
        ),
        (
            with(&format!(
                "{LOGS_FILTER}<Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition><Transition><Days>60</Days><StorageClass>OURS</StorageClass></Transition>"
            )),
            // Of classes that it does not have, in the order of their names.
            vec!["<StorageClass>OURS</StorageClass></Transition><Transition><Days>30</Days>"],
            vec![],
        ),
    ]
}

#[tokio::test]
async fn what_ceph_keeps_and_what_it_drops() {
    if !is_proving() {
        return;
    }
    let world = World::new(Server::Ceph, "keeps").await;
    turn_into(&world, &fates()).await;
    let nameless = fate(&world, &with(&format!("{LOGS_FILTER}{EXPIRE}")).replace("<ID>r</ID>", "")).await.unwrap();
    assert!(nameless[0].contains("<ID>") && !nameless[0].contains("<ID></ID>"), "{nameless:?}");
    assert_eq!(fate(&world, &nameless[0]).await.unwrap(), nameless, "an id that it made stays");
    // Rules stand in the order of their ids.
    let three: String =
        ["z", "a&amp;b", "m"].map(|id| tagged("<Prefix>x/</Prefix>").replace(">r<", &format!(">{id}<"))).concat();
    let ids: Vec<String> = fate(&world, &three).await.unwrap();
    let place = |id: &str| ids.iter().position(|rule| rule.contains(&format!("<ID>{id}</ID>")));
    assert_eq!([place("a&amp;b"), place("m"), place("z")], [Some(0), Some(1), Some(2)], "{ids:?}");
}

#[tokio::test]
async fn what_ceph_refuses() {
    if !is_proving() {
        return;
    }
    let world = World::new(Server::Ceph, "refuses").await;
    let good = with(&format!("{LOGS_FILTER}{EXPIRE}"));
    let class = "<Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition>";
    let table = [
        (with(LOGS_FILTER), "400 MalformedXML"),
        (with(EXPIRE), "400 MalformedXML"),
        (good.replace("Enabled", "On"), "400 MalformedXML"),
        (good.replace("<Days>9", "<Days>0"), "400 InvalidArgument"),
        (good.replace("<Days>9", "<Date>2030-01-01T10:00:00Z</Date><Days>9"), "400 MalformedXML"),
        (with(&format!("{LOGS_FILTER}{class}{class}")), "400 MalformedXML"),
        (format!("{good}{good}"), "400 InvalidArgument"),
        (good.replace(">r<", &format!(">{}<", "r".repeat(256))), "400 InvalidArgument"),
        (many(1_001), "400 MalformedXML"),
        (String::new(), "400 MalformedXML"),
    ];
    are_refused(&world, &table).await;
    assert_eq!(fate(&world, &many(1_000)).await.unwrap().len(), 1_000);
}
