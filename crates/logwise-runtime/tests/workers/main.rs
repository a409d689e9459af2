//! Every interleaving, in small, of two operators that lead at the same time, each with a view of its own that may be
//! old, and that add and remove Spark workers, or submit and kill the driver. They run the shipped planners
//! (`workers::plan`, `workers::confirm`, `driver::plan`, `driver::answer_of`), the shipped judgement of lost answers
//! (`workers::outcome`) and the shipped rules for intents (`intent::advance`); the steps around these, the group, the
//! master and the driver are modelled.
//!
//! Each of the rules that keep workers and drivers safe is tried the other way too: switched off around the shipped
//! code, never in it, it must lead to a trace.
//!
//! Not in the model: instances that fail or are replaced by AWS, workers that register before or after their instance
//! comes into service, a group that is not protected yet, Leases and times (see the model of leadership). A master that
//! starts again takes longer to place a driver than a call to the group, and to hear of the drivers that run than the
//! time without a driver after which one is submitted.
#![forbid(unsafe_code)]

mod cache;
mod correct;
mod decide;
mod drain;
mod driver;
mod fold;
mod model;
mod outside;
mod planted;
mod process;
mod records;
mod search;
mod setting;
mod shipped;
mod world;
