//! What is done by the time that a broker has stopped. The same for each runtime: who includes it has its own as `adapter`.

use crate::adapter::host::recording::{Entry, RecordOptions, Segment, segments_of};
use crate::adapter::{Broker, Hook};
use broker_engine::{Command, Input};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

/// Takes its time to go, and all that goes behind it with it.
struct Slow;

impl Hook for Slow {}

impl Drop for Slow {
    fn drop(&mut self) {
        thread::sleep(Duration::from_millis(300));
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The broker's thread may be there for a while yet: nobody waits for it here.
#[test]
fn the_recording_is_whole_when_the_broker_has_stopped() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ending");
    // Left by an earlier run, or not there.
    let _absent = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let options = RecordOptions::new(folder.join("broker.rec"));
    let broker = Broker::builder().listen("127.0.0.1:0").hook(Slow).record(options.clone()).start().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| broker.shutdown(Duration::from_secs(1)));
        let (mut stopped, waker) = (pin!(broker.stopped()), Waker::from(Arc::new(Unpark(thread::current()))));
        while stopped.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending {
            thread::park();
        }
        let segment = Segment::open(&segments_of(&options.file).unwrap()[0]).unwrap();
        let last = segment.entries().filter_map(|entry| match entry {
            Entry::Input(_, input) => Some(matches!(input, Input::Command(Command::Shutdown))),
            _ => None,
        });
        assert_eq!(last.last(), Some(true));
    });
}
