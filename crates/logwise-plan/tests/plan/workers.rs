//! Worker plans: by example, by property, under faults, and bad ones on purpose.

mod confirming;
mod cordoned;
mod faults;
mod launches;
mod planted;
mod properties;
mod scaling;
mod world;
