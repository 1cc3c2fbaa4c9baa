#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| metronome_fuzz::transport::transport(bytes));
