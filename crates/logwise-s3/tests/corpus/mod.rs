//! Lifecycle documents of every shape that real buckets, other tools and other servers are known to produce, and of
//! shapes that must be recognised as not safe to rewrite.

mod accepted;
mod markup;
mod printed;
mod shapes;
mod unsafe_to_rewrite;

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

/// Name, document, expectation.
type Known = (&'static str, &'static str, Expect);

/// Name, document and expectation of each.
pub fn corpus() -> Vec<(String, String, Expect)> {
    let known = [shapes::SHAPES, markup::MARKUP, unsafe_to_rewrite::UNSAFE].concat();
    let printed = printed::PRINTED.iter().map(|(name, text, rules)| (*name, *text, Expect::Kept(*rules)));
    let written =
        known.into_iter().chain(printed).map(|(name, text, expect)| (name.to_owned(), text.to_owned(), expect));
    let accepted = accepted::accepted().into_iter().map(|(name, text, rules)| (name, text, Expect::Kept(rules)));
    written.chain(accepted).collect()
}
