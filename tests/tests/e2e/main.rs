//! End to end: the operator beside the real servers, seen as its users see it. One binary, because these tests wait
//! much more than they compute: side by side they take as long as the longest.

mod bad_input;
mod broken;
mod clock;
mod crash;
mod demo;
mod deploy;
mod fairness;
mod first_light;
mod grants;
mod intents;
mod leadership;
mod mirror;
mod objects;
mod ownership;
mod process;
mod replicas;
mod rest;
mod retention;
mod secrets;
mod shards;
mod shutdown;
mod tcp_faults;
mod versions;
mod waiting;
