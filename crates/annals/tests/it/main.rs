//! The library's tests, in one binary.

mod log;
