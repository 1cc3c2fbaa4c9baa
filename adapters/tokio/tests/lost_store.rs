//! A store that cannot be used any more, below a broker that serves: it ends, and everybody hears of that.

mod common;
use common::Client;
use metronome_tokio::host::stores::{Batch, Store, StoreError, Visit};
use metronome_tokio::{AllowAll, Broker, Failure};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A store that keeps nothing, until it ends: with an error or, with none, with a panic.
#[derive(Clone, Default)]
struct Mortal(Arc<OnceLock<Option<StoreError>>>);

impl Store for Mortal {
    fn commit(&mut self, _: &Batch) -> Result<(), StoreError> {
        match self.0.get() {
            None => Ok(()),
            Some(Some(error)) => Err(error.clone()),
            Some(None) => panic!("this is the test's panic"),
        }
    }

    fn scan(&self, _: &[u8], _: &mut Visit<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[test]
fn a_lost_store_and_a_panic_of_its_thread_end_the_broker() {
    let lost = StoreError::Lost("it is gone".into());
    let panicked = StoreError::Lost("its thread panicked, which is a bug".into());
    for (end, wanted) in [(Some(lost.clone()), lost), (None, panicked)] {
        let store = Mortal::default();
        let broker =
            Broker::builder().listen("127.0.0.1:0").hook(AllowAll).store(store.clone()).start().unwrap();
        let mut client = Client::connect(broker.local_addrs()[0], 5, "writer");
        assert_eq!(broker.failure(), None);
        store.0.set(end).unwrap();
        // RETAIN: there is something to be kept.
        let mut retained = common::publish(5, "t", 1, b"x");
        retained[0] |= 1;
        client.send(&retained);
        let goodbye = client.packet();
        assert_eq!((goodbye[0], goodbye[2]), (0xe0, 0x8b), "not acknowledged: {goodbye:02x?}");
        assert_eq!(client.try_packet(), None);
        drop(client);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let stopped = async { tokio::time::timeout(Duration::from_secs(10), broker.stopped()).await };
        runtime.block_on(stopped).expect("it ends by itself");
        assert_eq!(broker.failure(), Some(&Failure::Store(wanted)));
        assert_eq!(broker.stats(), None);
    }
}
