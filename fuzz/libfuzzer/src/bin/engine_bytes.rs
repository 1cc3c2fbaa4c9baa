#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| metronome_fuzz::engine::engine_bytes(bytes));
