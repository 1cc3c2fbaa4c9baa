//! Certificates, clients and a broker's end for tests of transports. The tests of every adapter use the first two.

#![allow(dead_code)] // Each test binary uses a part of it.

pub(crate) mod authority;
pub(crate) mod client;
pub(crate) mod server;
