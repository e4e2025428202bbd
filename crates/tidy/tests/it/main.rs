//! The rules of the house, as tests.

mod arrows;
mod circles;
mod formats;
mod neighbours;
mod sentences;
mod sources;
