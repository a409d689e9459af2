//! XML in many ways of writing, and namespaces.

use super::{
    Expect::{Blocked, Kept},
    Known,
};

/// Name, document, expectation.
pub const MARKUP: &[Known] = &[
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
];
