//! Lifecycle documents of every shape that real buckets, other tools and other servers are known to produce, and of
//! shapes that must be recognised as not safe to rewrite.

/// What reading a document must come to.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// Can be rewritten; this many rules.
    Kept(usize),
    /// Can be read but not rewritten safely, for a reason that holds this text.
    Blocked(&'static str),
    /// Cannot be read, with an error that holds this text.
    Refused(&'static str),
}

use Expect::{Blocked, Kept, Refused};

/// Name, document, expectation.
pub const CORPUS: &[(&str, &str, Expect)] = &[
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
    // Markup that looks like other markup.
    (
        "end tag in an attribute",
        "<LifecycleConfiguration><Rule note=\"&lt;/Rule> > &lt;Rule>\"><ID>a</ID></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "empty tag mark in an attribute",
        "<LifecycleConfiguration><Rule note='/>'><ID>a</ID></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "cdata prefix",
        "<LifecycleConfiguration><Rule><ID>a</ID><Filter><Prefix><![CDATA[x/<Rule>&]]></Prefix></Filter></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "end tag in cdata",
        "<LifecycleConfiguration><Rule><ID><![CDATA[</Rule></LifecycleConfiguration>]]></ID></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "end tag in a comment inside a rule",
        "<LifecycleConfiguration><Rule><!-- </Rule><Rule> --><ID>a</ID></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "brackets of cdata in pieces",
        "<LifecycleConfiguration><Rule><ID>a]]<![CDATA[]]]]><![CDATA[>]]></ID></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "references",
        "<LifecycleConfiguration><Rule><ID>a&amp;b&lt;c&gt;d&quot;e&apos;f&#65;&#x42;</ID></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "carriage returns as references",
        "<LifecycleConfiguration><Rule><ID>a</ID><Prefix>x&#13;&#10;&#9;/</Prefix></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "unicode",
        "<LifecycleConfiguration><Rule><ID>größe-日本-\u{1F600}</ID><Prefix>ü/</Prefix></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "percent escapes",
        "<LifecycleConfiguration><Rule><ID>a</ID><Prefix>logs/service_name=a%3Ab%2Fc/</Prefix></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    // White space and quotes.
    (
        "pretty printed",
        "<LifecycleConfiguration>\n  <Rule>\n    <ID>a</ID>\n    <Status>Enabled</Status>\n  </Rule>\n\n  <Rule>\n    <ID>b</ID>\n  </Rule>\n</LifecycleConfiguration>\n",
        Kept(2),
    ),
    (
        "carriage returns",
        "<LifecycleConfiguration>\r\n\t<Rule>\r\n<ID>a</ID>\r\n</Rule>\r\n</LifecycleConfiguration>\r\n",
        Kept(1),
    ),
    (
        "white space in tags",
        "<LifecycleConfiguration  ><Rule\n><ID >a</ID\t></Rule ></LifecycleConfiguration\n>",
        Kept(1),
    ),
    (
        "white space around the root",
        "\n<LifecycleConfiguration><Rule><ID>a</ID></Rule></LifecycleConfiguration>\n\n",
        Kept(1),
    ),
    (
        "single quotes",
        "<?xml version='1.0' encoding='utf-8'?><LifecycleConfiguration xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "standalone",
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?><LifecycleConfiguration><Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "version only",
        "<?xml version=\"1.0\"?><LifecycleConfiguration><Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "byte order mark",
        "\u{FEFF}<?xml version=\"1.0\"?><LifecycleConfiguration><Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "byte order mark without declaration",
        "\u{FEFF}<LifecycleConfiguration><Rule><ID>ü</ID></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    // Namespaces.
    (
        "other default namespace",
        "<LifecycleConfiguration xmlns=\"http://doc.s3.amazonaws.com/2006-03-01\"><Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "empty default namespace",
        "<LifecycleConfiguration xmlns=\"\"><Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "default namespace on a rule",
        "<LifecycleConfiguration><Rule xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><ID>a</ID></Rule></LifecycleConfiguration>",
        Kept(1),
    ),
    (
        "prefixed root",
        "<s3:LifecycleConfiguration xmlns:s3=\"http://s3.amazonaws.com/doc/2006-03-01/\"><s3:Rule><s3:ID>a</s3:ID></s3:Rule></s3:LifecycleConfiguration>",
        Blocked("on the root element"),
    ),
    (
        "prefix declared on the root",
        "<LifecycleConfiguration xmlns=\"u\" xmlns:x=\"v\"><Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Blocked("attribute xmlns:x"),
    ),
    (
        "prefix used from the root",
        "<LifecycleConfiguration xmlns:x=\"v\"><Rule><x:Future/></Rule></LifecycleConfiguration>",
        Blocked("attribute xmlns:x"),
    ),
    (
        "prefix inside a rule",
        "<LifecycleConfiguration><Rule xmlns:x=\"v\"><x:Future/></Rule></LifecycleConfiguration>",
        Blocked("namespace prefix"),
    ),
    (
        "prefixed attribute",
        "<LifecycleConfiguration><Rule><ID xml:lang=\"en\">a</ID></Rule></LifecycleConfiguration>",
        Blocked("namespace prefix"),
    ),
    (
        "attribute on the root",
        "<LifecycleConfiguration version=\"2\"><Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Blocked("attribute version"),
    ),
    // What a rewrite could lose or change.
    (
        "document type",
        "<!DOCTYPE LifecycleConfiguration><LifecycleConfiguration><Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Blocked("document type"),
    ),
    (
        "document type with entity",
        "<!DOCTYPE L [<!ENTITY e '<Rule><ID>b</ID></Rule>'>]><LifecycleConfiguration>&e;<Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Blocked("document type"),
    ),
    (
        "unknown entity in a rule",
        "<LifecycleConfiguration><Rule><ID>&other;</ID></Rule></LifecycleConfiguration>",
        Blocked("entity"),
    ),
    (
        "unknown entity in an attribute",
        "<LifecycleConfiguration><Rule a=\"&other;\"><ID>a</ID></Rule></LifecycleConfiguration>",
        Blocked("entity"),
    ),
    (
        "unknown entity between rules",
        "<LifecycleConfiguration>&other;<Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Blocked("entity"),
    ),
    (
        "comment between rules",
        "<LifecycleConfiguration><Rule><ID>a</ID></Rule><!-- keep --><Rule><ID>b</ID></Rule></LifecycleConfiguration>",
        Blocked("comment"),
    ),
    (
        "comment before the root",
        "<!-- by hand --><LifecycleConfiguration><Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Blocked("comment"),
    ),
    (
        "comment after the root",
        "<LifecycleConfiguration><Rule><ID>a</ID></Rule></LifecycleConfiguration><!-- end -->",
        Blocked("comment"),
    ),
    (
        "processing instruction",
        "<?xml-stylesheet href='a'?><LifecycleConfiguration><Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Blocked("processing instruction"),
    ),
    (
        "processing instruction in a rule",
        "<LifecycleConfiguration><Rule><?x y?><ID>a</ID></Rule></LifecycleConfiguration>",
        Blocked("processing instruction"),
    ),
    (
        "text between rules",
        "<LifecycleConfiguration>text<Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Blocked("text"),
    ),
    (
        "reference between rules",
        "<LifecycleConfiguration>&#65;<Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Blocked("character reference"),
    ),
    (
        "cdata between rules",
        "<LifecycleConfiguration><![CDATA[x]]><Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Blocked("CDATA"),
    ),
    (
        "setting beside the rules",
        "<LifecycleConfiguration><TransitionDefaultMinimumObjectSize>x</TransitionDefaultMinimumObjectSize><Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Blocked("<TransitionDefaultMinimumObjectSize>"),
    ),
    (
        "rules under another name",
        "<LifecycleConfiguration><LifecycleRule><ID>a</ID></LifecycleRule></LifecycleConfiguration>",
        Blocked("<LifecycleRule>"),
    ),
    ("lower-case rule", "<LifecycleConfiguration><rule><ID>a</ID></rule></LifecycleConfiguration>", Blocked("<rule>")),
    (
        "one id twice",
        "<LifecycleConfiguration><Rule><ID>a</ID></Rule><Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Blocked("two rules with the id a"),
    ),
    (
        "one id in two spellings",
        "<LifecycleConfiguration><Rule><ID>a&amp;b</ID></Rule><Rule><ID><![CDATA[a&b]]></ID></Rule></LifecycleConfiguration>",
        Blocked("two rules with the id a&b"),
    ),
    (
        "other encoding",
        "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><LifecycleConfiguration><Rule><ID>a</ID></Rule></LifecycleConfiguration>",
        Blocked("encoding"),
    ),
    (
        "control character",
        "<LifecycleConfiguration><Rule><ID>a</ID><Prefix>x\u{1}/</Prefix></Rule></LifecycleConfiguration>",
        Blocked("character that XML does not allow"),
    ),
    (
        "control character as reference",
        "<LifecycleConfiguration><Rule><ID>a</ID><Prefix>x&#1;/</Prefix></Rule></LifecycleConfiguration>",
        Blocked("character that XML does not allow"),
    ),
    // No lifecycle documents at all.
    ("empty", "", Refused("no element")),
    ("white space only", " \n ", Refused("no element")),
    ("byte order mark only", "\u{FEFF}", Refused("no element")),
    ("two byte order marks", "\u{FEFF}\u{FEFF}<LifecycleConfiguration/>", Refused("second byte order mark")),
    ("text only", "AccessDenied", Refused("text stands outside")),
    ("html", "<html><body>502</body></html>", Refused("<html>")),
    ("error answer", "<Error><Code>InternalError</Code></Error>", Refused("<Error>")),
    ("other version", "<?xml version=\"1.1\"?><LifecycleConfiguration/>", Refused("XML declaration")),
    (
        "declaration twice",
        "<?xml version=\"1.0\"?><?xml version=\"1.0\"?><LifecycleConfiguration/>",
        Refused("does not come first"),
    ),
    (
        "white space before the declaration",
        " <?xml version=\"1.0\"?><LifecycleConfiguration/>",
        Refused("does not come first"),
    ),
    ("cut off", "<LifecycleConfiguration><Rule><ID>a</ID></Rule>", Refused("not closed")),
    ("cut off in a tag", "<LifecycleConfiguration><Rule><ID>a</ID></Ru", Refused("not well-formed")),
    (
        "wrong end tag",
        "<LifecycleConfiguration><Rule><ID>a</Rule></ID></LifecycleConfiguration>",
        Refused("not well-formed"),
    ),
    (
        "attribute in an end tag",
        "<LifecycleConfiguration><Rule></Rule a=\">\"></LifecycleConfiguration>",
        Refused("not well-formed"),
    ),
    ("two roots", "<LifecycleConfiguration/><LifecycleConfiguration/>", Refused("second root")),
    ("text after the root", "<LifecycleConfiguration></LifecycleConfiguration>x", Refused("outside of the root")),
    (
        "bare ampersand",
        "<LifecycleConfiguration><Rule><ID>a & b</ID></Rule></LifecycleConfiguration>",
        Refused("not well-formed"),
    ),
    (
        "cdata end in text",
        "<LifecycleConfiguration><Rule><ID>a]]>b</ID></Rule></LifecycleConfiguration>",
        Refused("]]>"),
    ),
    (
        "attribute without quotes",
        "<LifecycleConfiguration><Rule a=b></Rule></LifecycleConfiguration>",
        Refused("malformed attributes"),
    ),
    (
        "attribute without value",
        "<LifecycleConfiguration><Rule a></Rule></LifecycleConfiguration>",
        Refused("malformed attributes"),
    ),
    (
        "attributes without blank",
        "<LifecycleConfiguration><Rule a='1'b='2'></Rule></LifecycleConfiguration>",
        Refused("malformed attributes"),
    ),
    (
        "attribute twice",
        "<LifecycleConfiguration><Rule a='1' a='2'></Rule></LifecycleConfiguration>",
        Refused("malformed attributes"),
    ),
    (
        "markup in an attribute",
        "<LifecycleConfiguration><Rule a='<'></Rule></LifecycleConfiguration>",
        Refused("malformed attributes"),
    ),
    (
        "quote in a tag name",
        "<LifecycleConfiguration><Rule'></Rule'></LifecycleConfiguration>",
        Refused("not well-formed"),
    ),
    (
        "two hyphens in a comment",
        "<LifecycleConfiguration><Rule><!-- a -- b --></Rule></LifecycleConfiguration>",
        Refused("not well-formed"),
    ),
];
