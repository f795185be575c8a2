//! The engine walks a plan: check, and only where a change is needed journal, apply, verify.
pub mod event;
