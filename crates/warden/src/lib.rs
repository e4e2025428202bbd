#![doc = include_str!("../README.md")]

mod client;
mod folders;
mod inside;
mod request;
mod rights;
mod seats;
mod serve;
mod socket;

pub use client::{AskError, Client, VARIABLE, inherited};
pub use request::{Answer, BadRequest, DeskNumber, LENGTH, NotADesk, Outcome, Request, Wish};
pub use seats::seat;
pub use serve::{OfficeProgram, run, run_beside};
