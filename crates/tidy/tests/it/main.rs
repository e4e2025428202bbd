//! The rules of the house, as tests.

mod arrows;
mod circles;
mod deploy;
mod formats;
mod maps;
mod neighbours;
mod page;
mod paths;
mod security;
mod sentences;
mod sources;
