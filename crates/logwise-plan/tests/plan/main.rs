//! The planners against reviewed cases, against properties, and against a second pair of eyes.
#![forbid(unsafe_code)]

#[cfg(test)]
mod ageing;
#[cfg(test)]
mod bad_rules;
#[cfg(test)]
mod behavior;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod change;
#[cfg(test)]
mod classify;
#[cfg(test)]
mod driver;
#[cfg(test)]
mod effective;
#[cfg(test)]
mod endpoint;
#[cfg(test)]
mod fold;
#[cfg(test)]
mod grants;
#[cfg(test)]
mod newcomers;
#[cfg(test)]
mod partitions;
#[cfg(test)]
mod planted;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod survival;
#[cfg(test)]
mod workers;
#[cfg(test)]
mod world;

/// When all plans of the properties are made. It is a Thursday, midnight.
#[cfg(test)]
const NOW: jiff::Timestamp = jiff::Timestamp::UNIX_EPOCH;
