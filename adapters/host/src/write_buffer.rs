//! Bytes on their way to one socket.
//!
//! Policy: a frame whose payload is below [`broker_engine::SHARED_PAYLOAD`] is copied into one growing chunk, so
//! that a turn is one plain write and costs no allocation once the pool is warm. A larger payload stays shared
//! between all its receivers, with its head in a chunk of just that size, and goes out by vectored writes. An
//! empty buffer owns no memory: chunks and their queue go back to the [`Pool`] of the driver.

use bytes::Bytes;
use std::collections::VecDeque;
use std::io::IoSlice;

/// A chunk that is larger is not appended to, so that memory is given back as it is written.
const CHUNK: usize = 64 << 10;

/// Chunks with less or more capacity are not kept for reuse.
const LEAST_CHUNK: usize = 256;
const MOST_CHUNK: usize = 2 * CHUNK;

/// Most chunks kept for reuse, and as many queues.
const KEPT_CHUNKS: usize = 64;

/// Queues with more room are not kept for reuse.
const KEPT_QUEUE: usize = 64;

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

/// Memory to be used again: at most 8 MiB for the whole broker, however many connections there are.
#[derive(Debug, Default)]
pub struct Pool {
    chunks: Vec<Vec<u8>>,
    queues: Vec<VecDeque<Chunk>>,
}

impl Pool {
    fn chunk(&mut self) -> Vec<u8> {
        self.chunks.pop().unwrap_or_default()
    }

    fn keep_chunk(&mut self, chunk: Chunk) {
        if let Chunk::Copied(mut bytes) = chunk
            && self.chunks.len() < KEPT_CHUNKS
            && (LEAST_CHUNK..=MOST_CHUNK).contains(&bytes.capacity())
        {
            bytes.clear();
            self.chunks.push(bytes);
        }
    }

    fn keep_queue(&mut self, queue: VecDeque<Chunk>) {
        if self.queues.len() < KEPT_CHUNKS && (1..=KEPT_QUEUE).contains(&queue.capacity()) {
            self.queues.push(queue);
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
            if self.chunks.capacity() == 0 {
                self.chunks = pool.queues.pop().unwrap_or_default();
            }
            let fresh = if payload.is_empty() { pool.chunk() } else { Vec::with_capacity(head.len()) };
            self.chunks.push_back(Chunk::Copied(fresh));
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

    /// `count` bytes were written; more than there are count as all.
    pub fn advance(&mut self, count: usize, pool: &mut Pool) {
        let count = count.min(self.len);
        self.len -= count;
        self.written += count;
        while let Some(first) = self.chunks.front() {
            let len = first.bytes().len();
            if self.written < len {
                break;
            }
            self.written -= len;
            if let Some(done) = self.chunks.pop_front() {
                pool.keep_chunk(done);
            }
        }
        if self.chunks.is_empty() && self.chunks.capacity() > 0 {
            pool.keep_queue(std::mem::take(&mut self.chunks));
        }
    }

    /// Forgets what waits; for a connection that is gone.
    pub fn clear(&mut self, pool: &mut Pool) {
        self.advance(self.len, pool);
    }

    /// Memory that it owns, bytes; shared payloads not included.
    pub fn memory(&self) -> usize {
        let copied = self.chunks.iter().map(|chunk| match chunk {
            Chunk::Copied(bytes) => bytes.capacity(),
            Chunk::Shared(_) => 0,
        });
        copied.sum::<usize>() + self.chunks.capacity() * size_of::<Chunk>()
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
            assert_eq!(buffer.memory(), 0, "an idle connection keeps no buffer");
        }
    }

    #[test]
    fn large_payloads_are_not_copied_and_their_heads_take_no_pooled_chunk() {
        let (mut buffer, mut pool) = (WriteBuffer::default(), Pool::default());
        // Warm the pool with a large chunk.
        buffer.push(&vec![0; 60 << 10], &Bytes::new(), &mut pool, |_| ());
        buffer.clear(&mut pool);
        assert_eq!(pool.chunks.len(), 1);
        let payload = Bytes::from(vec![7; 1 << 20]);
        for _ in 0..8 {
            buffer.push(b"head", &payload, &mut pool, |_| ());
        }
        assert_eq!(buffer.len(), 8 * (4 + (1 << 20)));
        assert!(buffer.memory() < 2048, "{} bytes for eight heads", buffer.memory());
        assert_eq!(pool.chunks.len(), 1);
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(buffer.slices(&mut slices), 4);
        assert!(std::ptr::eq(slices[1].as_ptr(), payload.as_ptr()));
    }

    #[test]
    fn memory_is_reused_and_bounded() {
        let mut pool = Pool::default();
        let mut buffers: Vec<WriteBuffer> = (0..1000).map(|_| WriteBuffer::default()).collect();
        for buffer in &mut buffers {
            buffer.push(&[1; 300], &Bytes::new(), &mut pool, |_| ());
        }
        for buffer in &mut buffers {
            buffer.clear(&mut pool);
        }
        assert_eq!((pool.chunks.len(), pool.queues.len()), (super::KEPT_CHUNKS, super::KEPT_CHUNKS));
        buffers[0].push(b"again", &Bytes::new(), &mut pool, |_| ());
        assert_eq!((pool.chunks.len(), pool.queues.len()), (super::KEPT_CHUNKS - 1, super::KEPT_CHUNKS - 1));
    }
}
