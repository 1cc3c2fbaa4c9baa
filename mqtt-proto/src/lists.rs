//! Lists inside packets: borrowed from a decoded packet, or given by who builds one.

use crate::property;
use crate::read::Reader;
use crate::reason::ReasonCode;
use crate::subscribe::SubscribeOptions;
use crate::{error::Field, values::Version};

/// Compares lists by what they hold, not by where it is.
macro_rules! equal_by_content {
    ($name:ident) => {
        impl PartialEq for $name<'_> {
            fn eq(&self, other: &Self) -> bool {
                self.iter().eq(other.iter())
            }
        }
    };
}

/// Name and value pairs.
#[derive(Clone, Copy, Debug)]
pub enum UserProperties<'a> {
    /// Among the encoded properties of a packet.
    Encoded(&'a [u8]),
    /// Given one by one.
    Pairs(&'a [(&'a str, &'a str)]),
}

impl Default for UserProperties<'_> {
    fn default() -> Self {
        Self::Pairs(&[])
    }
}

impl<'a> UserProperties<'a> {
    pub(crate) fn of(block: &property::Block<'a>) -> Self {
        if block.has_user { Self::Encoded(block.raw) } else { Self::default() }
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let (encoded, pairs): (&'a [u8], &'a [(&'a str, &'a str)]) = match *self {
            Self::Encoded(encoded) => (encoded, &[]),
            Self::Pairs(pairs) => (&[], pairs),
        };
        property::user_properties(encoded).chain(pairs.iter().copied())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

equal_by_content!(UserProperties);

/// Subscription Identifiers of a PUBLISH.
#[derive(Clone, Copy, Debug)]
pub enum SubscriptionIds<'a> {
    /// Among the encoded properties of a packet.
    Encoded(&'a [u8]),
    /// Given one by one; each 1 to 268,435,455.
    List(&'a [u32]),
}

impl Default for SubscriptionIds<'_> {
    fn default() -> Self {
        Self::List(&[])
    }
}

impl<'a> SubscriptionIds<'a> {
    pub(crate) fn of(block: &property::Block<'a>) -> Self {
        if block.has_subscription_id { Self::Encoded(block.raw) } else { Self::default() }
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        let (encoded, ids): (&'a [u8], &'a [u32]) = match *self {
            Self::Encoded(encoded) => (encoded, &[]),
            Self::List(ids) => (&[], ids),
        };
        property::subscription_ids(encoded).chain(ids.iter().copied())
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Encoded(_) => false,
            Self::List(ids) => ids.is_empty(),
        }
    }
}

equal_by_content!(SubscriptionIds);

/// Reason codes of SUBACK and UNSUBACK.
#[derive(Clone, Copy, Debug)]
pub enum ReasonCodes<'a> {
    /// As they stand in the packet; checked when it was decoded.
    Encoded(&'a [u8]),
    /// Given one by one.
    List(&'a [ReasonCode]),
}

impl<'a> ReasonCodes<'a> {
    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = ReasonCode> + use<'a> {
        let (encoded, list): (&'a [u8], &'a [ReasonCode]) = match *self {
            Self::Encoded(encoded) => (encoded, &[]),
            Self::List(list) => (&[], list),
        };
        encoded.iter().filter_map(|code| ReasonCode::from_u8(*code)).chain(list.iter().copied())
    }

    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Encoded(encoded) => encoded.len(),
            Self::List(list) => list.len(),
        }
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

equal_by_content!(ReasonCodes);

/// Topic filters of SUBSCRIBE with their options. The texts are UTF-8, but need not be valid topic filters: a
/// broker refuses those one by one.
#[derive(Clone, Copy, Debug)]
pub enum SubscribeFilters<'a> {
    /// As they stand in the packet; checked when it was decoded.
    #[allow(missing_docs)]
    Encoded { bytes: &'a [u8], version: Version },
    /// Given one by one.
    List(&'a [(&'a str, SubscribeOptions)]),
}

impl<'a> SubscribeFilters<'a> {
    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, SubscribeOptions)> + use<'a> {
        let (mut reader, version, list): (_, _, &'a [(&'a str, SubscribeOptions)]) = match *self {
            Self::Encoded { bytes, version } => (Reader(bytes), version, &[]),
            Self::List(list) => (Reader(&[]), Version::V5, list),
        };
        let decoded = core::iter::from_fn(move || {
            let filter = reader.string(Field::TopicFilter).ok()?;
            let options = reader.u8(Field::SubscriptionOptions).ok()?;
            SubscribeOptions::from_bits(options, version).ok().map(|options| (filter, options))
        });
        decoded.chain(list.iter().copied())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// None at all? A decoded packet has at least one.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

equal_by_content!(SubscribeFilters);

/// Topic filters of UNSUBSCRIBE.
#[derive(Clone, Copy, Debug)]
pub enum UnsubscribeFilters<'a> {
    /// As they stand in the packet; checked when it was decoded.
    Encoded(&'a [u8]),
    /// Given one by one.
    List(&'a [&'a str]),
}

impl<'a> UnsubscribeFilters<'a> {
    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (mut reader, list): (_, &'a [&'a str]) = match *self {
            Self::Encoded(bytes) => (Reader(bytes), &[]),
            Self::List(list) => (Reader(&[]), list),
        };
        core::iter::from_fn(move || reader.string(Field::TopicFilter).ok()).chain(list.iter().copied())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// None at all? A decoded packet has at least one.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

equal_by_content!(UnsubscribeFilters);
