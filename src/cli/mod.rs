//! The command line.
pub mod lab;
