//! Links codec and engine with nothing but `core` and `alloc`, and calls both.
#![no_std]
#![no_main]

extern crate alloc;

use broker_engine::{Config, ConnIds, Engine, HashKey, Input, ListenerId, Outbox, Seed, Time};
use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};
use mqtt_proto::{Limits, Packet, Version};

const HEAP: usize = 1 << 20;

/// Gives out memory and never takes it back; enough for one call.
struct Bump {
    heap: core::cell::UnsafeCell<[u8; HEAP]>,
    used: AtomicUsize,
}

// SAFETY: every byte is given out once.
unsafe impl Sync for Bump {}

// SAFETY: blocks are aligned, inside the heap and disjoint, or null.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let at = self.used.fetch_add(layout.size() + layout.align(), Ordering::Relaxed);
        let base = self.heap.get() as usize + at;
        let aligned = base.next_multiple_of(layout.align());
        if at + layout.size() + layout.align() > HEAP { core::ptr::null_mut() } else { aligned as *mut u8 }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: Bump = Bump { heap: core::cell::UnsafeCell::new([0; HEAP]), used: AtomicUsize::new(0) };

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// `alloc` was built to unwind and names these; nothing here unwinds, so they are never called.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() {}

// `memcpy` and the like come from the C library, which is not std.
#[link(name = "c")]
unsafe extern "C" {}

#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    let ping = Packet::parse(b"\xc0\x00", Version::V5, &Limits::default());
    let mut engine = Engine::new(Config::default(), Seed(0), HashKey([0, 0]));
    let (mut ids, mut out) = (ConnIds::new(), Outbox::new());
    let opened = Input::Opened { conn: ids.allocate(), listener: ListenerId(0), peer: None };
    engine.handle(Time::ZERO, opened, &mut out);
    let works = ping.is_ok_and(|packet| packet.is_some()) && engine.next_deadline().is_some();
    i32::from(!works)
}
