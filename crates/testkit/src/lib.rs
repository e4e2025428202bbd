#![doc = include_str!("../README.md")]

pub mod claude;
pub mod docker;
pub mod failures;
pub mod hostile;
pub mod hostile_repository;
pub mod messages_api;
pub mod sshd;
pub mod state;
pub mod telegram;
