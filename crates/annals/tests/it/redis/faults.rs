//! A worker on Redis whose server has a bad day: what was acknowledged as sent is
//! stored, once.

mod replaced;
mod scene;
mod server;
