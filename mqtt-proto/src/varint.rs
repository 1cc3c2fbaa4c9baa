//! Variable Byte Integer: 1 to 4 bytes, seven bits each, least significant first.

use crate::error::{DecodeError, ErrorKind, Field};

/// The largest value.
pub const MAX: u32 = 268_435_455;

/// Reads one from the front: the value and its length in bytes, or `None` if more bytes are needed.
///
/// # Errors
/// A fifth byte, or an encoding longer than need be [MQTT-1.5.5-1].
#[inline]
pub fn decode(bytes: &[u8], field: Field) -> Result<Option<(u32, u8)>, DecodeError> {
    let mut value = 0_u32;
    for at in 0..4_u8 {
        let Some(byte) = bytes.get(usize::from(at)).copied() else { return Ok(None) };
        value |= u32::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            if byte == 0 && at > 0 {
                break;
            }
            return Ok(Some((value, at + 1)));
        }
    }
    Err(DecodeError::new(field, ErrorKind::BadVariableByteInteger))
}

/// Encodes a value; those above [`MAX`] have no encoding.
#[inline]
pub fn encode(mut value: u32) -> Option<heapless::Vec<u8, 4>> {
    if value > MAX {
        return None;
    }
    let mut bytes = heapless::Vec::new();
    loop {
        let low = value.to_le_bytes().first().copied().unwrap_or_default() & 0x7F;
        value >>= 7;
        let more = if value > 0 { 0x80 } else { 0 };
        // Four bytes hold every value up to MAX.
        let _full = bytes.push(low | more);
        if value == 0 {
            return Some(bytes);
        }
    }
}

/// Bytes that a value takes.
pub const fn len(value: u32) -> u32 {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}
