//! Where encoders write to.

use crate::error::EncodeError;
use crate::varint;

/// Takes bytes in order.
pub trait Sink {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`EncodeError::BufferFull`] when there is no room; what was written before stays.
    fn put(&mut self, bytes: &[u8]) -> Result<(), EncodeError>;
}

/// A sink over a fixed buffer.
#[derive(Debug)]
pub struct SliceSink<'a> {
    buffer: &'a mut [u8],
    written: usize,
}

impl<'a> SliceSink<'a> {
    /// Writes from the start of `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, written: 0 }
    }

    /// What was written.
    pub fn written(&self) -> &[u8] {
        self.buffer.get(..self.written).unwrap_or_default()
    }
}

impl Sink for SliceSink<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let end = self.written.checked_add(bytes.len()).ok_or(EncodeError::BufferFull)?;
        self.buffer.get_mut(self.written..end).ok_or(EncodeError::BufferFull)?.copy_from_slice(bytes);
        self.written = end;
        Ok(())
    }
}

impl<const N: usize> Sink for heapless::Vec<u8, N> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.extend_from_slice(bytes).map_err(|_| EncodeError::BufferFull)
    }
}

#[cfg(feature = "alloc")]
impl Sink for alloc::vec::Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Counts instead of writing.
#[derive(Debug, Default)]
pub(crate) struct Measure(pub(crate) u64);

impl Sink for Measure {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0 += bytes.len() as u64;
        Ok(())
    }
}

pub(crate) fn put_varint<S: Sink>(sink: &mut S, value: u32) -> Result<(), EncodeError> {
    sink.put(&varint::encode(value).ok_or(EncodeError::TooLarge)?)
}

pub(crate) fn put_binary<S: Sink>(sink: &mut S, bytes: &[u8]) -> Result<(), EncodeError> {
    let len = u16::try_from(bytes.len()).map_err(|_| EncodeError::TooLarge)?;
    sink.put(&len.to_be_bytes())?;
    sink.put(bytes)
}

pub(crate) fn put_str<S: Sink>(sink: &mut S, text: &str) -> Result<(), EncodeError> {
    put_binary(sink, text.as_bytes())
}
