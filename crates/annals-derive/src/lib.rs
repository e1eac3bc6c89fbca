//! The derive macro of annals.
