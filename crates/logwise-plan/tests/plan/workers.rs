//! Worker plans: by example, by property, under faults, and bad ones on purpose.

mod confirming;
mod faults;
mod planted;
mod properties;
mod scaling;
mod world;
