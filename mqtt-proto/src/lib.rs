//! MQTT 5.0, 3.1.1 and 3.1 on the wire.
//!
//! * [`FixedHeader`] finds where a packet ends, [`Packet::decode`] reads it, borrowing from the input.
//! * [`Packet::encode`] writes one into any [`Sink`].
//! * [`TopicName`] and [`TopicFilter`] are validated; [`TopicFilter::matches`] is the definition of matching.
//! * [`Mask`] overwrites secrets in a stream of packets.
//! * [`property`] holds the one table of properties, [`ReasonCode`] the one of reason codes.
//!
//! # Contract
//!
//! Decoders are total: every byte string gives a packet, "need more", or a [`DecodeError`] that names packet and
//! field and carries the reason code to answer with. Nothing is allocated, and no step depends on an announced
//! length. Both directions are covered, so the crate serves clients as well as brokers.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable,
        clippy::todo
    )
)]

#[cfg(feature = "alloc")]
extern crate alloc;

mod acks;
mod connack;
mod connect;
mod error;
mod header;
mod limits;
mod lists;
mod mask;
mod packet;
mod planted;
pub mod property;
mod publish;
mod read;
mod reason;
mod sink;
mod subscribe;
mod teardown;
mod topic;
mod values;
pub mod varint;

pub use acks::{Ack, AckProperties};
pub use connack::{ConnAck, ConnAckProperties};
pub use connect::{Connect, ConnectProperties, Will, WillProperties};
pub use error::{DecodeError, EncodeError, ErrorKind, Field};
pub use header::FixedHeader;
pub use limits::Limits;
pub use lists::{ReasonCodes, SubscribeFilters, SubscriptionIds, UnsubscribeFilters, UserProperties};
pub use mask::{FILLER, Mask};
pub use packet::Packet;
#[cfg(planted)]
#[doc(hidden)]
pub use planted::{is_planted, plant, planted_number};
pub use publish::{HeadLayout, Publish, PublishHead, PublishProperties};
pub use reason::ReasonCode;
pub use sink::{Sink, SliceSink};
pub use subscribe::{RetainHandling, SubAck, Subscribe, SubscribeOptions, UnsubAck, Unsubscribe};
pub use teardown::{Auth, AuthProperties, Disconnect, DisconnectProperties};
pub use topic::{TopicError, TopicFilter, TopicName, matches};
pub use values::{PacketId, PacketType, PayloadFormat, QoS, Version};

/// The example of the front page is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadMe;
