//! Every interleaving, in small, of two processes that lead by a Lease and write intents, with the shipped transition
//! functions `lease::step` and `intent::advance`: pauses, crashes, lost answers, late writes and calls, a stop, a deleted
//! Lease. What is modelled and what is not stands in `docs/leadership.md`, "The model".
#![forbid(unsafe_code)]

mod clocks;
mod correct;
mod drain;
mod election;
mod fold;
mod model;
mod names;
mod planted;
mod search;
mod setting;
mod truth;
mod work;
mod world;
