//! The same for the streaming driver, in small: two operators that submit and kill it, answers that are lost, a master
//! that is restarted. Never do two submissions of ours live by our own acts.

mod correct;
mod model;
mod outside;
mod planted;
mod process;
mod shipped;
mod world;
