//! The binary as a person or a script meets it.

mod route;
