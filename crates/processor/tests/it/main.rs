//! The processor as a whole, with Claudes that are played within the test: no process is started.

mod claude;
mod commands;
mod control;
mod elsewhere;
mod failures;
mod flow;
mod office;
mod outcomes;
mod pauses;
mod raising;
mod schedule;
mod servers;
mod taken_over;
