//! What an operator asks for.
pub mod lab;
