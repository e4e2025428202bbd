#![doc = include_str!("../README.md")]

mod certificate;
mod helper;
mod host_key;
mod key_file;
#[cfg(feature = "registry")]
mod registry;
mod ssh;
mod trouble;

pub use helper::{Asked, Helper, HelperError, HelperId, LoadedHelper};
pub use host_key::HostKey;
pub use key_file::{KeyFault, KeyFile};
#[cfg(feature = "registry")]
pub use registry::{Devbox, NewDevbox, Registry, RegistryError};
pub use ssh::Route;
pub use trouble::{Kind, Said, Trouble, plain_words};
