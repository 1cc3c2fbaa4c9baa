//! Recordings: the mask that keeps secrets out of them, and files that are none or were damaged.

use metronome_host::recording::Segment;
use mqtt_proto::{FILLER, Limits, Mask, Packet, Version};
use simulation::recording::{Options, play};

/// The first byte says how the rest, a stream of packets, is split.
pub fn mask(bytes: &[u8]) {
    let Some((piece, stream)) = bytes.split_first() else { return };
    let mut whole = stream.to_vec();
    Mask::new(true).apply(&mut whole);
    let (mut pieces, mut mask) = (stream.to_vec(), Mask::new(true));
    pieces.chunks_mut(usize::from(*piece).max(1)).for_each(|piece| mask.apply(piece));
    assert_eq!(pieces, whole);
    // Whoever could be let in would be let in all the same, without a secret in sight.
    if let Ok(Some((Packet::Connect(open), len))) = Packet::parse(stream, Version::V5, &Limits::NONE) {
        let Ok(Some((Packet::Connect(masked), masked_len))) =
            Packet::parse(&whole, Version::V5, &Limits::NONE)
        else {
            panic!("a masked CONNECT is none any more");
        };
        assert_eq!((masked_len, masked.client_id, masked.username), (len, open.client_id, open.username));
        let data = masked.properties.authentication_data;
        for secret in [masked.password, data, masked.will.map(|will| will.payload)].into_iter().flatten() {
            assert!(secret.iter().all(|byte| *byte == FILLER));
        }
    }
}

/// A file.
pub fn recording(bytes: &[u8]) {
    let Ok(segment) = Segment::from_bytes(bytes.to_vec()) else { return };
    // It may be of another broker, but a trace of what can be read is always to be had.
    let options = Options { trace: true, ..Options::default() };
    let Ok(report) = play(std::slice::from_ref(&segment), options) else { return };
    let shorter = play(&[segment.with_only(|_| true)], options).expect("the snapshot is the same");
    assert!(report.failure.is_some() || shorter.failure.is_none());
}
