//! Shapes of rules: those that S3 knows, and those that it may know one day.

use super::{Expect::Kept, Known};

/// Name, document, expectation.
pub const SHAPES: &[Known] = &[
    // Rules as S3 answers with them.
    (
        "filter prefix",
        r#"<?xml version="1.0" encoding="UTF-8"?><LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>"#,
        Kept(1),
    ),
    (
        "declaration on its own line",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "legacy prefix",
        "<LifecycleConfiguration><Rule><ID>a</ID><Prefix>x/</Prefix><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "legacy empty prefix",
        "<LifecycleConfiguration><Rule><ID>a</ID><Prefix></Prefix><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "legacy empty prefix tag",
        "<LifecycleConfiguration><Rule><ID>a</ID><Prefix/><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "empty filter",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter/><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "empty filter pair",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "filter with empty prefix",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><Prefix/></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "filter tag",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "filter size greater",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><ObjectSizeGreaterThan>500</ObjectSizeGreaterThan></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "filter size less",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><ObjectSizeLessThan>500</ObjectSizeLessThan></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "filter and",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><And><Prefix>p/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag><ObjectSizeGreaterThan>1</ObjectSizeGreaterThan><ObjectSizeLessThan>9</ObjectSizeLessThan></And></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "and of two tags",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><And><Tag><Key>k</Key><Value>v</Value></Tag><Tag><Key>l</Key><Value></Value></Tag></And></Filter><Status>Disabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "expiration date",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Date>2030-01-01T00:00:00.000Z</Date></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "transition date",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Transition><Date>2030-01-01T00:00:00Z</Date><StorageClass>GLACIER</StorageClass></Transition></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "marker clean-up",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "two transitions",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Transition><Days>30</Days><StorageClass>STANDARD_IA</StorageClass></Transition><Transition><Days>90</Days><StorageClass>GLACIER</StorageClass></Transition></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "noncurrent versions kept",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><NoncurrentVersionExpiration><NewerNoncurrentVersions>3</NewerNoncurrentVersions><NoncurrentDays>9</NoncurrentDays></NoncurrentVersionExpiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "noncurrent transition",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><NoncurrentVersionTransition><NoncurrentDays>9</NoncurrentDays><StorageClass>GLACIER</StorageClass></NoncurrentVersionTransition></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "abort multipart",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><AbortIncompleteMultipartUpload><DaysAfterInitiation>3</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "unknown storage class",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Transition><Days>1</Days><StorageClass>GLACIER_FUTURE</StorageClass></Transition></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "no id",
        "<LifecycleConfiguration><Rule><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "empty id",
        "<LifecycleConfiguration><Rule><ID/><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "two ids in one rule",
        "<LifecycleConfiguration><Rule><ID>a</ID><ID>b</ID><Filter><Prefix>x/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "id last",
        "<LifecycleConfiguration><Rule><Status>Enabled</Status><Expiration><Days>7</Days></Expiration><Filter><Prefix>x/</Prefix></Filter><ID>a</ID></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "several rules",
        "<LifecycleConfiguration><Rule><ID>a</ID></Rule><Rule><ID>b</ID></Rule><Rule><ID>c</ID></Rule></LifecycleConfiguration>",
        Kept(3),
    ),
    (
        "two equal rules without id",
        "<LifecycleConfiguration><Rule><Status>Enabled</Status></Rule><Rule><Status>Enabled</Status></Rule></LifecycleConfiguration>",
        Kept(2),
    ),
    ("empty rules", "<LifecycleConfiguration><Rule/><Rule></Rule><Rule /></LifecycleConfiguration>", Kept(3)),
    // What AWS may add one day.
    (
        "unknown element",
        "<LifecycleConfiguration><Rule><ID>a</ID><FutureField><A>1</A><B c=\"d\"/></FutureField><Status>Enabled</Status></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "unknown element without content",
        "<LifecycleConfiguration><Rule><ID>a</ID><Future/></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "rule within a rule",
        "<LifecycleConfiguration><Rule><ID>a</ID><Rule><ID>b</ID></Rule></Rule><Rule><ID>c</ID></Rule></LifecycleConfiguration>",
        Kept(2),
    ),
    (
        "deep nesting",
        "<LifecycleConfiguration><Rule><ID>a</ID><A><B><C><D><E><F><G><H>1</H></G></F></E></D></C></B></A></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "configuration within a rule",
        "<LifecycleConfiguration><Rule><LifecycleConfiguration><Rule><ID>b</ID></Rule></LifecycleConfiguration></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "unknown attributes",
        "<LifecycleConfiguration><Rule version='2' kind=\"x\"><ID lang=\"en\">a</ID></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
];
