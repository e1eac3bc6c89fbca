//! Events that other systems wrote, in shapes of their own.
//!
//! Each shape is a function from the bytes that an application put into its queue
//! to an [`crate::Event`], and the same input gives the same bytes every time: an
//! event that is delivered twice is recognised by its id, which is derived from the
//! one that it had. Nothing here does I/O. What is no event of the shape is refused
//! with the reason, and its transport keeps it among the failed, as it came.

pub mod laravel;
pub mod php;
pub mod secrets;
pub mod symfony;
mod zone;

pub use secrets::Secrets;
pub use zone::Zone;
