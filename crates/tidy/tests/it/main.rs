//! The rules of the house, as tests.

mod arrows;
mod circles;
mod formats;
mod neighbours;
mod page;
mod sentences;
mod sources;
