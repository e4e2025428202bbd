//! The rules of the house, as tests.

mod arrows;
mod circles;
mod formats;
mod maps;
mod neighbours;
mod page;
mod paths;
mod sentences;
mod sources;
