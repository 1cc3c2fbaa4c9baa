#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| metronome_fuzz::packets::decode_v311(bytes));
