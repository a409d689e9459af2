//! What must not be rewritten, and what is no lifecycle configuration at all.

use super::{
    Expect::{Blocked, Refused},
    Known,
};

/// Name, document, expectation.
pub const UNSAFE: &[Known] = &[
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
