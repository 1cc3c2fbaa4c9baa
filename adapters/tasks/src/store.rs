//! The durable store behind the broker's thread: begun with, kept in, and heard.

use crate::Runtime;
use crate::handle::Failure;
use crate::turn::Shared;
use async_channel::Receiver;
use broker_engine::{Config, Durability, Engine, HashKey, Seed, StorePressure};
use metronome_host::HookChain;
use metronome_host::storage::{self, Found};
use metronome_host::stores::{self, Clock, Keeper, KeeperOptions, Promise, Store, StoreError, Totals};
use std::io;
use std::rc::Rc;

/// A store that the broker goes on with.
pub(crate) struct Keeping {
    store: Box<dyn Store>,
    clock: Clock,
    level: Durability,
    /// What earlier processes have counted, where that is kept.
    pub(crate) totals: Option<Totals>,
    pub(crate) found: Found,
}

impl Keeping {
    /// An engine, and what it needs of its store, if it has one.
    pub(crate) fn begin(
        store: Option<Box<dyn Store>>,
        config: Config,
        keeps_counters: bool,
        (seed, hash_key): (Seed, HashKey),
        hooks: &mut HookChain,
    ) -> Result<(Engine, Option<Self>), StoreError> {
        let level = config.durability;
        let Some(mut store) = store.filter(|_| level != Durability::Memory) else {
            return Ok((Engine::new(config, seed, hash_key), None));
        };
        let progress = |records| tracing::info!(records, "reading the store");
        let (engine, clock, found) = storage::begin(&mut *store, config, (seed, hash_key), progress, hooks)?;
        tracing::info!("found {found}");
        match store.promise() {
            Some(Promise { is_durable: true, text }) => tracing::info!("{text}"),
            Some(Promise { is_durable: false, text }) => tracing::warn!("{text}"),
            None => {}
        }
        let totals = keeps_counters.then(|| stores::counters(&*store)).transpose()?;
        Ok((engine, Some(Self { store, clock, level, totals, found })))
    }

    /// The store on its thread, and what is told when there is something to hear of it.
    pub(crate) fn start(self, max_bytes: Option<u64>) -> io::Result<(Keeper, Receiver<()>)> {
        // One word is enough, however often it is said.
        let (tell, events) = async_channel::bounded(1);
        let options = KeeperOptions {
            pause: storage::pause(self.level),
            max_bytes,
            wake: Box::new(move || {
                // If one word waits already, it is enough.
                let _waits = tell.try_send(());
            }),
            report: Box::new(report),
        };
        let keeper = Keeper::start(self.store, self.clock, options)?;
        Ok((keeper.with_found(self.found.load), events))
    }
}

fn report(error: Option<&StoreError>) {
    match error {
        Some(error) if error.may_pass() => {
            tracing::error!(%error, "the store fails: nothing is acknowledged until it works again");
        }
        Some(error) => tracing::error!(%error, "the store cannot be used any more"),
        None => tracing::info!("the store works again"),
    }
}

/// Says what has changed since `before`.
fn report_pressure(before: StorePressure, now: StorePressure) -> StorePressure {
    match now {
        _ if now == before => {}
        StorePressure::None => tracing::info!("the store has room again"),
        StorePressure::High => tracing::warn!("the store is nearly full: QoS 0 is not kept for who is away"),
        StorePressure::Max => tracing::error!("the store is full: what it would keep is refused"),
    }
    now
}

/// Tells the engine what became of what it wanted kept, until the store's thread has ended: then the broker has to.
pub(crate) async fn listen<R: Runtime>(shared: Rc<Shared<R>>, events: Receiver<()>) {
    let mut why = StoreError::Lost("its thread ended, which is a bug".to_owned());
    let mut pressure = StorePressure::None;
    while let Ok(()) = events.recv().await {
        let stored = shared.driver.borrow_mut().stored(shared.now());
        shared.fed();
        pressure = report_pressure(pressure, shared.driver.borrow().view().store_pressure());
        if let Err(error) = stored {
            why = error;
            break;
        }
    }
    shared.fail(Failure::Store(why));
}
