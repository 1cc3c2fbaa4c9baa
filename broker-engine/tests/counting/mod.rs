//! An allocator that counts, because bytes are the same on every machine and milliseconds are not.

#![allow(dead_code)] // Shared by several test programs, each of which uses its part.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is handed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + layout.size() as u64);
        LIVE.set(LIVE.get() + size(layout));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - size(layout));
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn size(layout: Layout) -> i64 {
    i64::try_from(layout.size()).unwrap_or(i64::MAX)
}

/// Bytes that this thread has allocated and not given back.
pub(crate) fn live() -> i64 {
    LIVE.get()
}

/// Bytes that this thread allocates meanwhile, whether they are given back or not.
pub(crate) fn allocated(run: impl FnOnce()) -> u64 {
    let before = ALLOCATED.get();
    run();
    ALLOCATED.get() - before
}
