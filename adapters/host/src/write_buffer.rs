//! Bytes on their way to one socket.
//!
//! Frames below [`broker_engine::SHARED_PAYLOAD`] are copied into one growing chunk, so that a turn is one write.
//! Larger payloads stay shared between all their receivers and are written with vectored writes. An idle
//! connection keeps no buffer.

use bytes::Bytes;
use std::collections::VecDeque;
use std::io::IoSlice;

/// A chunk that is larger is not appended to, so that memory is given back as it is written.
const CHUNK: usize = 64 << 10;

/// Chunks with more capacity are not kept for reuse.
const KEPT_CHUNK: usize = 2 * CHUNK;

/// Most chunks kept for reuse.
const KEPT_CHUNKS: usize = 64;

#[derive(Debug)]
enum Chunk {
    Copied(Vec<u8>),
    Shared(Bytes),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// Chunks to be used again.
#[derive(Debug, Default)]
pub struct Pool(Vec<Vec<u8>>);

impl Pool {
    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, chunk: Chunk) {
        if let Chunk::Copied(mut bytes) = chunk
            && self.0.len() < KEPT_CHUNKS
            && bytes.capacity() <= KEPT_CHUNK
        {
            bytes.clear();
            self.0.push(bytes);
        }
    }
}

/// What one socket has not taken yet.
#[derive(Debug, Default)]
pub struct WriteBuffer {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are written.
    written: usize,
    len: usize,
}

impl WriteBuffer {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing waits?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy of `head`, changed by `patch`, and a shared payload.
    pub fn push(&mut self, head: &[u8], payload: &Bytes, pool: &mut Pool, patch: impl FnOnce(&mut [u8])) {
        let room = matches!(self.chunks.back(), Some(Chunk::Copied(bytes)) if bytes.len() < CHUNK);
        if !room {
            self.chunks.push_back(Chunk::Copied(pool.take()));
        }
        if let Some(Chunk::Copied(bytes)) = self.chunks.back_mut() {
            let start = bytes.len();
            bytes.extend_from_slice(head);
            patch(&mut bytes[start..]);
        }
        if !payload.is_empty() {
            self.chunks.push_back(Chunk::Shared(payload.clone()));
        }
        self.len += head.len() + payload.len();
    }

    /// The next bytes to write, in order; says how many slices were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut skip = self.written;
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(&chunk.bytes()[skip..]);
            skip = 0;
            filled += 1;
        }
        filled
    }

    /// `count` bytes were written.
    pub fn advance(&mut self, count: usize, pool: &mut Pool) {
        self.len -= count;
        self.written += count;
        while let Some(first) = self.chunks.front() {
            let len = first.bytes().len();
            if self.written < len {
                break;
            }
            self.written -= len;
            if let Some(done) = self.chunks.pop_front() {
                pool.give(done);
            }
        }
        if self.chunks.is_empty() && self.chunks.capacity() > 0 {
            self.chunks = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Pool, WriteBuffer};
    use bytes::Bytes;
    use std::io::IoSlice;

    fn written(buffer: &mut WriteBuffer, pool: &mut Pool, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !buffer.is_empty() {
            let mut slices = [IoSlice::new(&[]); 2];
            let filled = buffer.slices(&mut slices);
            let next: Vec<u8> =
                slices[..filled].iter().flat_map(|slice| slice.iter().copied()).take(step).collect();
            buffer.advance(next.len(), pool);
            all.extend(next);
        }
        all
    }

    #[test]
    fn order_holds_for_any_write_size() {
        for step in 1..12 {
            let (mut buffer, mut pool) = (WriteBuffer::default(), Pool::default());
            buffer.push(b"ab", &Bytes::new(), &mut pool, |_| ());
            buffer.push(b"cd", &Bytes::from_static(b"EFG"), &mut pool, |head| head[0] = b'C');
            buffer.push(b"h", &Bytes::new(), &mut pool, |_| ());
            assert_eq!(buffer.len(), 8);
            assert_eq!(written(&mut buffer, &mut pool, step), b"abCdEFGh");
            assert_eq!(buffer.chunks.capacity(), 0, "an idle connection keeps no buffer");
        }
    }
}
