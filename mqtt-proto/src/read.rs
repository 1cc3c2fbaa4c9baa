//! A cursor over a packet's body.

use crate::error::{DecodeError, ErrorKind, Field};
use crate::topic::TopicName;
use crate::values::PacketId;
use crate::varint;

/// What is left of the body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn take(&mut self, len: usize, field: Field) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) =
            self.0.split_at_checked(len).ok_or(DecodeError::new(field, ErrorKind::Truncated))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: Field) -> Result<[u8; N], DecodeError> {
        let (taken, rest) =
            self.0.split_first_chunk().ok_or(DecodeError::new(field, ErrorKind::Truncated))?;
        self.0 = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self, field: Field) -> Result<u8, DecodeError> {
        self.array(field).map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self, field: Field) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, field: Field) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn varint(&mut self, field: Field) -> Result<u32, DecodeError> {
        let (value, len) =
            varint::decode(self.0, field)?.ok_or(DecodeError::new(field, ErrorKind::Truncated))?;
        self.take(usize::from(len), field)?;
        Ok(value)
    }

    #[inline]
    pub(crate) fn binary(&mut self, field: Field) -> Result<&'a [u8], DecodeError> {
        let len = self.u16(field)?;
        self.take(usize::from(len), field)
    }

    /// UTF-8 without U+0000. Surrogates and overlong forms are no UTF-8; U+FEFF stays where it is.
    #[inline]
    pub(crate) fn string(&mut self, field: Field) -> Result<&'a str, DecodeError> {
        let bytes = self.binary(field)?;
        match core::str::from_utf8(bytes) {
            Ok(text) if !bytes.contains(&0) => Ok(text),
            _ => Err(DecodeError::new(field, ErrorKind::NotUtf8)),
        }
    }

    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        let id = self.u16(Field::PacketId)?;
        PacketId::new(id).ok_or(DecodeError::new(Field::PacketId, ErrorKind::Forbidden))
    }

    pub(crate) fn topic_name(
        &mut self,
        field: Field,
        wrong: ErrorKind,
    ) -> Result<TopicName<'a>, DecodeError> {
        let text = self.string(field)?;
        TopicName::parse(text).map_err(|_| DecodeError::new(field, wrong))
    }

    /// Nothing may be left.
    #[inline]
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::new(Field::Body, ErrorKind::TrailingBytes)) }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
