//! Limits that the caller hands to the decoder.

/// What a packet may hold. Lengths in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Limits {
    /// Largest packet.
    pub max_packet_size: u32,
    /// Most user properties.
    pub max_user_properties: u16,
    /// Most bytes of user properties.
    pub max_user_property_bytes: u32,
    /// Longest topic name or filter. Kept for the caller: the decoder lets longer ones pass, so that they can be
    /// refused in an acknowledgement.
    pub max_topic_length: u16,
    /// Most topic levels; as above.
    pub max_topic_levels: u16,
    /// Longest client identifier.
    pub max_client_id_length: u16,
    /// Most topic filters of one packet.
    pub max_filters: u16,
}

impl Limits {
    /// Only what the format itself sets.
    pub const NONE: Self = Self {
        max_packet_size: u32::MAX,
        max_user_properties: u16::MAX,
        max_user_property_bytes: u32::MAX,
        max_topic_length: u16::MAX,
        max_topic_levels: u16::MAX,
        max_client_id_length: u16::MAX,
        max_filters: u16::MAX,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_packet_size: 2 << 20,
            max_user_properties: 64,
            max_user_property_bytes: 16 << 10,
            max_topic_length: 4096,
            max_topic_levels: 128,
            max_client_id_length: 256,
            max_filters: 256,
        }
    }
}
