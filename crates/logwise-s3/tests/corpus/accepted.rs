//! Lifecycle configurations that S3 accepts, as people and tools write them, in pieces. The strict stand-in takes each of
//! them (`servers.rs`).

/// Filters of one rule that expires objects after a year.
const FILTERS: &[(&str, &str)] = &[
    ("blanks in the prefix", "<Filter><Prefix>pay ments/ x</Prefix></Filter>"),
    ("umlauts in the prefix", "<Filter><Prefix>größe/</Prefix></Filter>"),
    ("other letters in the prefix", "<Filter><Prefix>ログ/日本/</Prefix></Filter>"),
    ("emoji in the prefix", "<Filter><Prefix>\u{1F4E6}/</Prefix></Filter>"),
    ("ampersand in the prefix", "<Filter><Prefix>a&amp;b/</Prefix></Filter>"),
    ("brackets in the prefix", "<Filter><Prefix>&lt;a&gt;/</Prefix></Filter>"),
    ("quotes in the prefix", r#"<Filter><Prefix>a"b'c/</Prefix></Filter>"#),
    ("quotes in the prefix as references", "<Filter><Prefix>a&quot;b&apos;c&#34;&#39;/</Prefix></Filter>"),
    ("slash as a reference", "<Filter><Prefix>a&#x2F;</Prefix></Filter>"),
    ("line break as a reference", "<Filter><Prefix>a&#10;b/</Prefix></Filter>"),
    ("prefix partly in cdata", "<Filter><Prefix>a<![CDATA[&]]>b/</Prefix></Filter>"),
    ("percent signs in the prefix", "<Filter><Prefix>100%/a%2Fb/</Prefix></Filter>"),
    ("plus and tilde in the prefix", "<Filter><Prefix>a+b~c/</Prefix></Filter>"),
    ("backslashes in the prefix", "<Filter><Prefix>a\\b\\</Prefix></Filter>"),
    ("prefix of one slash", "<Filter><Prefix>/</Prefix></Filter>"),
    ("two slashes in the prefix", "<Filter><Prefix>a//b/</Prefix></Filter>"),
    ("prefix without a slash", "<Filter><Prefix>logs/service_name=api</Prefix></Filter>"),
    ("prefix of all logs", "<Filter><Prefix>logs/</Prefix></Filter>"),
    ("prefix of one object", "<Filter><Prefix>backup/last.tar.gz</Prefix></Filter>"),
    ("hidden prefix", "<Filter><Prefix>.snapshots/</Prefix></Filter>"),
    ("white space in the filter", "<Filter>\n  <Prefix>x/</Prefix>\n</Filter>"),
    ("comment in the filter", "<Filter><!-- by hand --><Prefix>x/</Prefix></Filter>"),
    ("tag without a value", "<Filter><Tag><Key>k</Key><Value></Value></Tag></Filter>"),
    ("tag with an empty value", "<Filter><Tag><Key>k</Key><Value/></Tag></Filter>"),
    ("blanks in the tag", "<Filter><Tag><Key>a b</Key><Value>c d</Value></Tag></Filter>"),
    ("marks in the tag", "<Filter><Tag><Key>team:owner</Key><Value>a+b=c@d_e</Value></Tag></Filter>"),
    ("other letters in the tag", "<Filter><Tag><Key>größe</Key><Value>日本</Value></Tag></Filter>"),
    ("value before key", "<Filter><Tag><Value>v</Value><Key>k</Key></Tag></Filter>"),
    ("any size but nothing", "<Filter><ObjectSizeGreaterThan>0</ObjectSizeGreaterThan></Filter>"),
    ("small objects", "<Filter><ObjectSizeLessThan>131072</ObjectSizeLessThan></Filter>"),
    ("the largest objects", "<Filter><ObjectSizeGreaterThan>5497558138879</ObjectSizeGreaterThan></Filter>"),
    ("prefix and tag", "<Filter><And><Prefix>x/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>"),
    ("tag and prefix", "<Filter><And><Tag><Key>k</Key><Value>v</Value></Tag><Prefix>x/</Prefix></And></Filter>"),
    ("empty prefix and tag", "<Filter><And><Prefix/><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>"),
    (
        "three tags",
        "<Filter><And><Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>b</Key><Value>2</Value></Tag><Tag><Key>c</Key><Value>3</Value></Tag></And></Filter>",
    ),
    (
        "two sizes",
        "<Filter><And><ObjectSizeGreaterThan>500</ObjectSizeGreaterThan><ObjectSizeLessThan>64000</ObjectSizeLessThan></And></Filter>",
    ),
    (
        "prefix and size",
        "<Filter><And><Prefix>x/</Prefix><ObjectSizeLessThan>64000</ObjectSizeLessThan></And></Filter>",
    ),
    (
        "tag and size",
        "<Filter><And><ObjectSizeGreaterThan>500</ObjectSizeGreaterThan><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>",
    ),
    (
        "white space in and",
        "<Filter>\n\t<And>\n\t\t<Prefix>x/</Prefix>\n\t\t<ObjectSizeLessThan>9</ObjectSizeLessThan>\n\t</And>\n</Filter>",
    ),
    ("blanks in the legacy prefix", "<Prefix>a b/</Prefix>"),
    ("references in the legacy prefix", "<Prefix>a&amp;b&#47;</Prefix>"),
    ("legacy prefix without a slash", "<Prefix>tmp</Prefix>"),
];

/// Actions of one rule over a prefix.
const ACTIONS: &[(&str, &str)] = &[
    ("one day", "<Expiration><Days>1</Days></Expiration>"),
    ("the most days", "<Expiration><Days>2147483647</Days></Expiration>"),
    ("date alone", "<Expiration><Date>2030-01-01</Date></Expiration>"),
    ("date with an offset", "<Expiration><Date>2030-01-01T00:00:00+00:00</Date></Expiration>"),
    ("date that has passed", "<Expiration><Date>2020-02-29T00:00:00Z</Date></Expiration>"),
    ("marker that is off", "<Expiration><ExpiredObjectDeleteMarker>false</ExpiredObjectDeleteMarker></Expiration>"),
    (
        "marker and old versions",
        "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>",
    ),
    ("to STANDARD_IA", "<Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition>"),
    (
        "to INTELLIGENT_TIERING at once",
        "<Transition><Days>0</Days><StorageClass>INTELLIGENT_TIERING</StorageClass></Transition>",
    ),
    ("to ONEZONE_IA", "<Transition><Days>30</Days><StorageClass>ONEZONE_IA</StorageClass></Transition>"),
    ("to GLACIER_IR at once", "<Transition><Days>0</Days><StorageClass>GLACIER_IR</StorageClass></Transition>"),
    ("to GLACIER at once", "<Transition><Days>0</Days><StorageClass>GLACIER</StorageClass></Transition>"),
    ("to DEEP_ARCHIVE", "<Transition><Days>180</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition>"),
    (
        "all archives",
        "<Transition><Days>1</Days><StorageClass>GLACIER_IR</StorageClass></Transition><Transition><Days>91</Days><StorageClass>GLACIER</StorageClass></Transition><Transition><Days>181</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition>",
    ),
    (
        "the long way down",
        "<Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition><Transition><Days>60</Days><StorageClass>INTELLIGENT_TIERING</StorageClass></Transition><Transition><Days>90</Days><StorageClass>ONEZONE_IA</StorageClass></Transition><Transition><Days>120</Days><StorageClass>GLACIER</StorageClass></Transition><Transition><Days>210</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition>",
    ),
    (
        "transitions in reverse",
        "<Transition><Days>180</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition><Transition><Days>90</Days><StorageClass>GLACIER</StorageClass></Transition><Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition>",
    ),
    (
        "transition, then expiration",
        "<Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition><Expiration><Days>365</Days></Expiration>",
    ),
    (
        "expiration, then transition",
        "<Expiration><Days>365</Days></Expiration><Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition>",
    ),
    ("class before days", "<Transition><StorageClass>GLACIER</StorageClass><Days>1</Days></Transition>"),
    (
        "transitions by date",
        "<Transition><Date>2030-01-01T00:00:00Z</Date><StorageClass>GLACIER</StorageClass></Transition><Transition><Date>2031-01-01T00:00:00Z</Date><StorageClass>DEEP_ARCHIVE</StorageClass></Transition>",
    ),
    (
        "dates only",
        "<Transition><Date>2030-01-01T00:00:00Z</Date><StorageClass>GLACIER</StorageClass></Transition><Expiration><Date>2031-01-01T00:00:00Z</Date></Expiration>",
    ),
    (
        "old versions after a day",
        "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>",
    ),
    (
        "one old version kept",
        "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration>",
    ),
    (
        "a hundred old versions kept",
        "<NoncurrentVersionExpiration><NewerNoncurrentVersions>100</NewerNoncurrentVersions><NoncurrentDays>30</NoncurrentDays></NoncurrentVersionExpiration>",
    ),
    (
        "old versions to STANDARD_IA",
        "<NoncurrentVersionTransition><NoncurrentDays>30</NoncurrentDays><StorageClass>STANDARD_IA</StorageClass></NoncurrentVersionTransition>",
    ),
    (
        "old versions to GLACIER at once",
        "<NoncurrentVersionTransition><NoncurrentDays>0</NoncurrentDays><StorageClass>GLACIER</StorageClass></NoncurrentVersionTransition>",
    ),
    (
        "old versions down and away",
        "<NoncurrentVersionTransition><NoncurrentDays>30</NoncurrentDays><StorageClass>STANDARD_IA</StorageClass></NoncurrentVersionTransition><NoncurrentVersionTransition><NoncurrentDays>60</NoncurrentDays><StorageClass>GLACIER</StorageClass></NoncurrentVersionTransition><NoncurrentVersionExpiration><NoncurrentDays>365</NoncurrentDays></NoncurrentVersionExpiration>",
    ),
    (
        "old versions to GLACIER but five",
        "<NoncurrentVersionTransition><NewerNoncurrentVersions>5</NewerNoncurrentVersions><NoncurrentDays>1</NoncurrentDays><StorageClass>GLACIER</StorageClass></NoncurrentVersionTransition>",
    ),
    (
        "abort and expiration",
        "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload><Expiration><Days>365</Days></Expiration>",
    ),
    (
        "all actions at once",
        "<Expiration><Days>365</Days></Expiration><Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition><Transition><Days>90</Days><StorageClass>GLACIER</StorageClass></Transition><NoncurrentVersionTransition><NoncurrentDays>30</NoncurrentDays><StorageClass>STANDARD_IA</StorageClass></NoncurrentVersionTransition><NoncurrentVersionExpiration><NoncurrentDays>90</NoncurrentDays></NoncurrentVersionExpiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>",
    ),
    ("white space in actions", "<Expiration>\r\n  <Days>7</Days>\r\n</Expiration>\r\n"),
];

/// Ids of one rule, as they are written.
const IDS: &[(&str, &str)] = &[
    ("id of words and marks", "by hand, 2019 (old) #1"),
    ("id with references", "a&amp;b &lt;c&gt; &#x22;d&#x22;"),
    ("id in other letters", "löschen 削除"),
    ("id in cdata", "<![CDATA[a & b]]>"),
    ("id of one digit", "1"),
    ("id of a uuid", "7d444840-9dc0-11d1-b245-5ffdce74fad2"),
    ("id of Terraform's kind", "tf-s3-lifecycle-20260101000000000000000001"),
    ("id of another installation", "logwise.io/other.team.keep/0a1b2c3d/0123456789abcdef"),
    ("id that begins like ours", "logwise.io"),
];

/// Rules of a configuration, and how many there are.
const RULES: &[(&str, &str, usize)] = &[
    (
        "disabled transition",
        "<Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Disabled</Status><Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition></Rule>",
        1,
    ),
    (
        "disabled legacy rule",
        "<Rule><ID>a</ID><Prefix>x/</Prefix><Status>Disabled</Status><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>",
        1,
    ),
    (
        "status first",
        "<Rule><Status>Enabled</Status><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Expiration><Days>7</Days></Expiration></Rule>",
        1,
    ),
    (
        "elements by the alphabet",
        "<Rule><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload><Expiration><Days>9</Days></Expiration><Filter><Prefix>x/</Prefix></Filter><ID>a</ID><NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays></NoncurrentVersionExpiration><Status>Enabled</Status><Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition></Rule>",
        1,
    ),
    (
        "one prefix within the other",
        "<Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule><Rule><ID>b</ID><Filter><Prefix>x/y/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>3</Days></Expiration></Rule>",
        2,
    ),
    (
        "one filter twice",
        "<Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule><Rule><ID>b</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule>",
        2,
    ),
    (
        "whole bucket beside a prefix",
        "<Rule><ID>b</ID><Filter/><Status>Enabled</Status><AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule><Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule>",
        2,
    ),
    (
        "ids that differ in case",
        "<Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule><Rule><ID>A</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule>",
        2,
    ),
    (
        "on and off",
        "<Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule><Rule><ID>b</ID><Filter><Prefix>x/</Prefix></Filter><Status>Disabled</Status><Expiration><Days>7</Days></Expiration></Rule>",
        2,
    ),
    (
        "two rules without ids",
        "<Rule><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule><Rule><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule>",
        2,
    ),
    (
        "legacy beside new",
        "<Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule><Rule><ID>b</ID><Prefix>y/</Prefix><Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule>",
        2,
    ),
    (
        "rules on lines of their own",
        "\n<Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule>\n<Rule><ID>b</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule>\n",
        2,
    ),
];

/// Whole documents of one rule.
const DOCUMENTS: &[(&str, &str)] = &[
    (
        "declaration in one line with the root",
        r#"<?xml version="1.0" encoding="UTF-8"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>"#,
    ),
    (
        "declaration in small letters",
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
    ),
    (
        "declaration that stands alone",
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\" ?>\n<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
    ),
    (
        "namespace in single quotes",
        "<LifecycleConfiguration xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
    ),
    (
        "lines of Windows",
        "<?xml version=\"1.0\"?>\r\n<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\r\n\t<Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule>\r\n</LifecycleConfiguration>\r\n",
    ),
];

/// Name, document and number of rules of each.
pub fn accepted() -> Vec<(String, String, usize)> {
    let rule = |id: &str, filter: &str, actions: &str| {
        document(&format!("<Rule><ID>{id}</ID>{filter}<Status>Enabled</Status>{actions}</Rule>"))
    };
    let (filter, year) = ("<Filter><Prefix>x/</Prefix></Filter>", "<Expiration><Days>365</Days></Expiration>");
    let mut all: Vec<(&str, String, usize)> = Vec::new();
    all.extend(FILTERS.iter().map(|(name, filter)| (*name, rule("a", filter, year), 1)));
    all.extend(ACTIONS.iter().map(|(name, actions)| (*name, rule("a", filter, actions), 1)));
    all.extend(IDS.iter().map(|(name, id)| (*name, rule(id, filter, year), 1)));
    all.extend(RULES.iter().map(|(name, rules, count)| (*name, document(rules), *count)));
    all.extend(DOCUMENTS.iter().map(|(name, text)| (*name, (*text).to_owned(), 1)));
    all.push(("the longest id", rule(&"r".repeat(255), filter, year), 1));
    // One more is as many as a bucket may have.
    let many = (0..999).map(|n| format!("<Rule><ID>r{n}</ID>{filter}<Status>Enabled</Status>{year}</Rule>"));
    all.push(("999 rules", document(&many.collect::<String>()), 999));
    all.into_iter().map(|(name, text, count)| (name.to_owned(), text, count)).collect()
}

/// As S3 answers with it.
fn document(rules: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{rules}</LifecycleConfiguration>"
    )
}
