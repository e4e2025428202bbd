#![doc = include_str!("../README.md")]

pub mod event;
pub mod feed;
pub mod filter;
pub mod store;
