//! Bad days of a server, met by a worker under load: it goes on by itself when it
//! can, nothing is lost, nothing is there twice, and the log says what happened
//! once and then counts.

mod answer;
mod changed;
mod poison;
mod scene;
mod server;
