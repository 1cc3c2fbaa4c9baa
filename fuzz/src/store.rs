//! Records of the store lane: they come back as they were written, and a queue gives what was put into it.

use broker_engine::{MemoryStore, StoreOp, Time};
use std::collections::BTreeMap;

/// Records one behind the other, applied to the store and to a map of queues.
pub fn store_records(bytes: &[u8]) {
    let (mut store, mut queues) = (MemoryStore::new(), BTreeMap::<String, BTreeMap<u64, usize>>::new());
    let mut rest = bytes;
    while let Ok((op, tail)) = postcard::take_from_bytes::<StoreOp>(rest) {
        rest = tail;
        let written = postcard::to_extend(&op, Vec::new()).expect("plain data");
        assert_eq!(postcard::from_bytes(&written), Ok(op.clone()));
        let page = store.apply(Time::ZERO, op.clone());
        assert_eq!(page.is_some(), matches!(op, StoreOp::Fetch { .. }), "{op:?}");
        match op {
            StoreOp::PutQueued { client_id, delivery } => {
                queues.entry(client_id).or_default().insert(delivery.position, delivery.publish.len());
            }
            StoreOp::RemoveQueued { client_id, position } => {
                if let Some(queue) = queues.get_mut(&client_id) {
                    queue.remove(&position);
                }
            }
            StoreOp::EndSession { client_id } => drop(queues.remove(&client_id)),
            StoreOp::Fetch { client_id, from, max_messages, max_bytes } => {
                let page: Vec<u64> = page.unwrap_or_default().iter().map(|kept| kept.position).collect();
                let queue = queues.get(&client_id).into_iter().flatten();
                let wanted = wanted(queue.filter(|(at, _)| **at >= from), max_messages, max_bytes);
                assert_eq!(page, wanted, "of {client_id:?} from {from}");
            }
            _ => {}
        }
        assert_eq!(store.queued(), queues.values().map(BTreeMap::len).sum::<usize>());
    }
}

/// Positions of a page: so many messages, and no further one once so many bytes are together.
fn wanted<'a>(queue: impl Iterator<Item = (&'a u64, &'a usize)>, messages: u32, most: u64) -> Vec<u64> {
    let (mut positions, mut bytes) = (Vec::new(), 0);
    for (position, len) in queue.take(messages as usize) {
        bytes += *len as u64;
        if !positions.is_empty() && bytes > most {
            break;
        }
        positions.push(*position);
    }
    positions
}
