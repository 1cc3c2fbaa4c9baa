//! Certificates and clients for tests of transports. The tests of every adapter use them too.

#![allow(dead_code)] // Each test binary uses a part of it.

pub(crate) mod authority;
pub(crate) mod client;
