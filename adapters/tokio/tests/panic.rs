//! A panic on the broker's thread, outside hooks: it may have left the engine half-way, so nobody is served any more, the
//! recording is whole, and whoever runs the broker hears of it.

mod common;

use common::Client;
use metronome_tasks::{Accepted, Bound, Builder, Runtime};
use metronome_tokio::host::engine::{Answer, Authenticate, Input, ListenerId};
use metronome_tokio::host::recording::{Entry, RecordOptions, Segment, segments_of};
use metronome_tokio::{BrokerHandle, Client as Asking, Decision, Failure, Hook, Tokio};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

/// Tokio, until a task lets others have their turn or a socket is brought.
struct Brittle;

impl Runtime for Brittle {
    type Stream = <Tokio as Runtime>::Stream;
    type Acceptor = <Tokio as Runtime>::Acceptor;

    fn block_on(broker: impl Future<Output = ()>) -> io::Result<()> {
        Tokio::block_on(broker)
    }

    fn accept_with(bound: Bound) -> io::Result<Self::Acceptor> {
        Tokio::accept_with(bound)
    }

    fn adopt(_: Accepted) -> io::Result<Self::Stream> {
        panic!("this is the test's panic");
    }

    fn spawn(task: impl Future<Output = ()> + 'static) {
        Tokio::spawn(task);
    }

    fn sleep(time: Duration) -> impl Future<Output = ()> {
        Tokio::sleep(time)
    }

    async fn yield_now() {
        panic!("this is the test's panic");
    }
}

/// Lets everybody in; some a moment later. The task that takes up that answer then yields.
struct SomeLater;

impl Hook for SomeLater {
    fn authenticate(&mut self, client: &Asking, _: &Authenticate) -> Decision {
        if client.client_id != "later" {
            return Decision::allow();
        }
        Decision::later(|responder| {
            std::thread::spawn(|| responder.answer(Answer::Allow));
        })
    }
}

/// An answer that is taken up before a task panics: all that its client is to get waits to be written.
fn in_a_task(address: SocketAddr, _: &BrokerHandle) {
    let mut unlucky = Client::open(address, 5);
    unlucky.send(&common::connect(5, "later"));
    assert_eq!(unlucky.try_packet(), None, "it is not served by what may be broken");
}

/// An order, which no task carries out but the thread itself.
fn outside_tasks(_: SocketAddr, broker: &BrokerHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    broker.accept(ListenerId(0), socket, None).unwrap();
}

#[test]
fn a_panic_ends_the_broker_and_not_its_recording() {
    type Panic = fn(SocketAddr, &BrokerHandle);
    let cases: [(&str, Panic, usize); 2] = [("task", in_a_task, 6), ("thread", outside_tasks, 3)];
    for (name, panic, inputs) in cases {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("panic").join(name);
        // Left by an earlier run, or not there.
        let _absent = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let options = RecordOptions::new(folder.join("broker.rec"));
        let broker = Builder::<Brittle>::default().listen("127.0.0.1:0").hook(SomeLater);
        let broker = broker.record(options.clone()).start().unwrap();
        let address = broker.local_addrs()[0];
        let mut client = Client::connect(address, 5, "at once");
        assert_eq!(broker.failure(), None);
        panic(address, &broker);
        assert_eq!(client.try_packet(), None, "{name}: it ends without a word");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let stopped = async { tokio::time::timeout(Duration::from_secs(10), broker.stopped()).await };
        runtime.block_on(stopped).expect("it ends by itself");
        assert_eq!(broker.failure(), Some(&Failure::Panic), "{name}");
        assert_eq!(broker.stats(), None);
        let segment = Segment::open(&segments_of(&options.file).unwrap()[0]).unwrap();
        let of_clients = |entry: &Entry| {
            matches!(
                entry,
                Entry::Input(_, Input::Opened { .. } | Input::Received { .. } | Input::Reply { .. })
            )
        };
        assert_eq!(segment.entries().filter(of_clients).count(), inputs, "{name}");
    }
}
