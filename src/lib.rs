//! quorate.
