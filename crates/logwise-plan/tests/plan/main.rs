//! The planners against reviewed cases, against properties, and against a second pair of eyes.
#![forbid(unsafe_code)]

#[cfg(test)]
mod ageing;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod partitions;
#[cfg(test)]
mod planted;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod workers;
#[cfg(test)]
mod world;
