//! Rules about the tree itself, in one binary.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod deploy;
mod docs;
mod package;
mod tidy;
mod tree;
