//! Every kind of listener of a broker on smol.

#[allow(dead_code)] // Also for the tests of the host.
#[path = "../../host/tests/common/authority.rs"]
mod authority;
#[path = "../../host/tests/common/client.rs"]
mod client;
#[path = "../../tasks/tests/suite/packets.rs"]
mod packets;
#[path = "../../tasks/tests/suite/listeners.rs"]
mod suite;

use metronome_smol as adapter;
