#![doc = include_str!("../README.md")]

pub mod health;
pub mod house;
