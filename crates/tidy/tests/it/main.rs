//! The rules of the house, as tests.

mod arrows;
mod formats;
mod neighbours;
mod sentences;
mod sources;
