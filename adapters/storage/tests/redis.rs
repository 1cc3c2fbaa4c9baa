//! The store in a Redis server: who may have it, what is never written twice or by two, and what is told of a server.
#![cfg(feature = "redis")]

mod common;
#[allow(dead_code)] // Each test program uses a part of it.
#[path = "common/redis_server.rs"]
mod redis_server;

use common::{directory, keys, put};
use metronome_storage::{Batch, Clock, Keeper, KeeperOptions, RedisOptions, RedisStore, Store, StoreError};
use redis_server::{DURABLE, RedisServer};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

fn options(url: &str) -> RedisOptions {
    RedisOptions {
        url: url.parse().unwrap(),
        password_file: None,
        ca: None,
        prefix: "metronome".into(),
        wait_for_fsync: false,
    }
}

fn open(server: &RedisServer) -> Result<RedisStore, StoreError> {
    RedisStore::open(options(&server.url()))
}

/// The text of an error that says nothing of a store.
fn failure(result: Result<RedisStore, StoreError>) -> String {
    match result.unwrap_err() {
        StoreError::Failed(text) => {
            assert_eq!(text.lines().count(), 1, "{text}");
            text
        }
        other => panic!("{other:?}"),
    }
}

fn keep(store: RedisStore) -> Keeper {
    let options = KeeperOptions {
        pause: Duration::ZERO,
        max_bytes: None,
        wake: Box::new(|| ()),
        report: Box::new(|error| panic!("{error:?}")),
    };
    Keeper::start(Box::new(store), Clock::default(), options).unwrap()
}

/// It looks ten times a second.
#[test]
fn it_knows_how_large_it_is() {
    let server = RedisServer::start(&directory(), &[]);
    let mut store = open(&server).unwrap();
    assert_eq!(store.size(), Some(0));
    for key in 0..1000_u32 {
        put(&mut store, &[&key.to_be_bytes()[..], &[b'k'; 1000]].concat());
    }
    std::thread::sleep(Duration::from_millis(150));
    let size = store.size().unwrap();
    assert!((2_000_000..4_000_000).contains(&size), "every key stands there twice: {size}");
    let mut batch = Batch::default();
    batch.clear(vec![0]);
    store.commit(&batch).unwrap();
    std::thread::sleep(Duration::from_millis(150));
    assert!(store.size().unwrap() < 10_000);
}

#[test]
fn it_is_there_again_and_for_one_broker_only() {
    let server = RedisServer::start(&directory(), &[]);
    let mut store = open(&server).unwrap();
    put(&mut store, b"a");
    // Its thread gives signs of life while there is nothing to do.
    let keeper = keep(store);
    assert_eq!(open(&server).unwrap_err(), StoreError::Locked);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(open(&server).unwrap_err(), StoreError::Locked);
    drop(RedisStore::open(RedisOptions { prefix: "other".into(), ..options(&server.url()) }).unwrap());
    drop(keeper);
    let began = Instant::now();
    assert_eq!(keys(&open(&server).unwrap()), [b"a"]);
    assert!(began.elapsed() < Duration::from_secs(1), "who ended in peace is waited for");
}

/// Also who was only taken for dead.
#[test]
fn who_lost_it_writes_nothing_more() {
    let server = RedisServer::start(&directory(), &[]);
    let mut first = open(&server).unwrap();
    put(&mut first, b"a");
    // Nobody gives signs of life for it.
    let began = Instant::now();
    let mut second = open(&server).unwrap();
    assert!(began.elapsed() > Duration::from_secs(1));
    let mut batch = Batch::default();
    batch.put(b"b".to_vec(), b"value".to_vec());
    let lost = StoreError::Lost("another broker has taken it over".into());
    assert_eq!(first.commit(&batch).unwrap_err(), lost);
    assert_eq!(first.reopen().unwrap_err(), lost);
    drop(first);
    assert_eq!(server.say("EXISTS metronome:alive"), ":1");
    put(&mut second, b"c");
    assert_eq!(keys(&second), [b"a", b"c"]);
}

/// What the server has lost is not written over with what came later.
#[test]
fn a_server_that_has_lost_something_is_noticed() {
    let server = RedisServer::start(&directory(), &[]);
    for (harm, wanted) in [
        ("FLUSHALL", "the server has nothing of it any more"),
        ("HSET metronome:owner batches 1", "of 2 batches that the server had kept it has 1"),
    ] {
        let mut store = open(&server).unwrap();
        put(&mut store, b"a");
        put(&mut store, b"b");
        server.say(harm);
        let mut batch = Batch::default();
        batch.put(b"c".to_vec(), Vec::new());
        assert_eq!(store.commit(&batch).unwrap_err(), StoreError::Lost(wanted.into()));
        assert_eq!(store.reopen().unwrap_err(), StoreError::Lost(wanted.into()));
        drop(store);
        assert!(!keys(&open(&server).unwrap()).contains(&b"c".to_vec()));
    }
}

#[test]
fn what_is_something_else_is_refused_and_left_alone() {
    let server = RedisServer::start(&directory(), &[]);
    server.say("SET metronome:keys diary");
    let foreign = StoreError::Foreign("its key metronome:keys is a string".into());
    assert_eq!(open(&server).unwrap_err(), foreign);
    assert_eq!(server.say("STRLEN metronome:keys"), ":5");
    assert_eq!(server.say("DBSIZE"), ":1");
}

/// What becomes of what is sent: it passes; it is cut off before the server has it; or after that.
const PASSES: u8 = 0;
const CUT_BEFORE: u8 = 1;
const CUT_AFTER: u8 = 2;

/// A way to the server that is cut on request, once.
fn proxy(server: &RedisServer) -> (String, Arc<AtomicU8>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let (mode, port) = (Arc::new(AtomicU8::new(PASSES)), server.port);
    let shared = Arc::clone(&mode);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mode) = (client.unwrap(), Arc::clone(&shared));
            std::thread::spawn(move || {
                let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let mut buffer = [0; 1 << 14];
                while let Ok(count @ 1..) = client.read(&mut buffer) {
                    let mode = mode.swap(PASSES, Ordering::SeqCst);
                    if mode == CUT_BEFORE {
                        break;
                    }
                    server.write_all(&buffer[..count]).unwrap();
                    let count = server.read(&mut buffer).unwrap();
                    if mode == CUT_AFTER {
                        break;
                    }
                    client.write_all(&buffer[..count]).unwrap();
                }
                let _gone = client.shutdown(Shutdown::Both);
            });
        }
    });
    (url, mode)
}

/// Nobody knows whether the server had a batch when the connection ended, until somebody asks.
#[test]
fn a_batch_without_an_answer_is_sent_again_and_carried_out_as_if_once() {
    let server = RedisServer::start(&directory(), &[]);
    let (url, mode) = proxy(&server);
    let mut store = RedisStore::open(options(&url)).unwrap();
    for (cut, had) in [(CUT_BEFORE, 0), (CUT_AFTER, 1), (CUT_AFTER, 1), (CUT_BEFORE, 0)] {
        let before = keys(&store).len();
        let mut batch = Batch::default();
        batch.put(vec![u8::try_from(before).unwrap()], b"value".to_vec());
        mode.store(cut, Ordering::SeqCst);
        let error = store.commit(&batch).unwrap_err();
        assert_eq!(error, StoreError::Failed("the server has closed the connection".into()));
        store.reopen().unwrap();
        assert_eq!(keys(&store).len(), before + had);
        store.commit(&batch).unwrap();
        assert_eq!(keys(&store).len(), before + 1);
    }
    assert!(store.check().unwrap());
}

/// With `appendfsync always` everything that was answered is there, and the broker goes on without a restart.
#[test]
fn a_server_that_is_killed_comes_back_with_everything() {
    let mut server = RedisServer::start(&directory(), DURABLE);
    let mut store = open(&server).unwrap();
    for number in 0..20_u8 {
        put(&mut store, &[number]);
        if number % 5 == 4 {
            server.kill();
            assert!(matches!(store.idle().and_then(|_| store.commit(&one())), Err(StoreError::Failed(_))));
            let gone = StoreError::Failed("no server is there: the connection is refused".into());
            assert_eq!(store.reopen().unwrap_err(), gone);
            server.start_again();
            store.reopen().unwrap();
        }
    }
    let wanted: Vec<Vec<u8>> = (0..20).map(|number| vec![number]).collect();
    assert_eq!(keys(&store), wanted);
    store.compact().unwrap();
}

/// A batch of one record that is there already.
fn one() -> Batch {
    let mut batch = Batch::default();
    batch.put(vec![0], b"value".to_vec());
    batch
}

#[test]
fn who_may_come_in_is_said_in_one_line() {
    let path = directory();
    let server = RedisServer::start(&path, &["--requirepass", "a b/c", "--databases", "2"]);
    let with = |user: &str| RedisStore::open(options(&server.url().replace("//", &format!("//{user}"))));
    assert!(failure(with("")).contains("NOAUTH"));
    assert!(failure(with(":wrong@")).contains("WRONGPASS"));
    assert!(failure(with("nobody:a%20b%2Fc@")).contains("WRONGPASS"));
    drop(with(":a%20b%2Fc@").unwrap());
    drop(with("default:a%20b%2Fc@").unwrap());
    let (file, url) = (path.join("password"), server.url() + "/1");
    let by_file = || RedisOptions { password_file: Some(file.clone()), ..options(&url) };
    assert!(failure(RedisStore::open(by_file())).starts_with("cannot read "));
    std::fs::write(&file, "a b/c\n").unwrap();
    drop(RedisStore::open(by_file()).unwrap());
    let elsewhere = RedisOptions { url: (server.url() + "/2").parse().unwrap(), ..by_file() };
    assert!(failure(RedisStore::open(elsewhere)).contains("DB index is out of range"));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(failure(RedisStore::open(options(&format!("redis://{nobody}")))).contains("no server is there"));
}

/// Another protocol is noticed, and silence at the end.
#[test]
fn what_is_no_redis_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let _asked = client.read(&mut [0; 64]).unwrap();
        client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    assert_eq!(failure(RedisStore::open(options(&url))), "it does not answer as Redis does");
}

#[test]
fn over_tls_the_server_shows_who_it_is() {
    let path = directory();
    std::fs::create_dir_all(&path).unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(path.join(name), text).unwrap();
        path.join(name)
    };
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, other) = (file("own.pem", &own.cert.pem()), file("other.pem", &other.cert.pem()));
    let key = file("key.pem", &own.signing_key.serialize_pem());
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let flags = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no"];
    let server = RedisServer::start_with_tls(
        &path.join("data"),
        &[&flags[..], &["--tls-ca-cert-file", certificate]].concat(),
    );
    let with = |host: &str, ca: Option<&std::path::Path>| {
        let url = format!("rediss://{host}:{}", server.port);
        RedisStore::open(RedisOptions { ca: ca.map(Into::into), ..options(&url) })
    };
    let mut store = with("localhost", Some(certificate.as_ref())).unwrap();
    put(&mut store, b"a");
    assert_eq!(keys(&store), [b"a"]);
    assert!(failure(with("localhost", None)).contains("redis_ca"));
    assert!(failure(with("localhost", Some(&other))).contains("certificate"));
    assert!(failure(with("127.0.0.1", Some(certificate.as_ref()))).contains("certificate"));
    assert!(failure(with("localhost", Some(key.as_ref()))).contains("there is no certificate in it"));
}

#[test]
fn what_its_settings_promise_is_told() {
    for (flags, is_durable, wanted) in [
        (&[][..], false, "appendonly no"),
        (&["--appendonly", "yes", "--appendfsync", "everysec"], false, "everysec"),
        (DURABLE, true, "always"),
    ] {
        let server = RedisServer::start(&directory(), flags);
        let promise = open(&server).unwrap().promise().unwrap();
        assert!(promise.is_durable == is_durable && promise.text.contains(wanted), "{promise:?}");
    }
}

/// Servers before 7.2 cannot be asked, which is said at the start.
#[test]
fn the_disk_can_be_waited_for_where_the_server_tells_of_it() {
    let server = RedisServer::start(&directory(), &["--appendonly", "yes", "--appendfsync", "everysec"]);
    let opened = RedisStore::open(RedisOptions { wait_for_fsync: true, ..options(&server.url()) });
    if server.say("WAITAOF 0 0 0").starts_with("-ERR unknown command") {
        assert!(failure(opened).starts_with("redis_wait_for_fsync needs Redis 7.2"));
    } else {
        let mut store = opened.unwrap();
        assert!(store.promise().unwrap().is_durable);
        put(&mut store, b"a");
        assert_eq!(keys(&store), [b"a"]);
    }
}

/// A full server takes nothing of a batch, and the next attempt all of it.
#[test]
fn a_server_without_memory_takes_all_of_a_batch_or_nothing() {
    let server = RedisServer::start(&directory(), &[]);
    let mut store = open(&server).unwrap();
    put(&mut store, b"a");
    server.say("CONFIG SET maxmemory 1");
    let mut batch = Batch::default();
    batch.clear(b"a".to_vec());
    batch.put(b"b".to_vec(), b"value".to_vec());
    let error = store.commit(&batch).unwrap_err().to_string();
    assert!(error.contains("OOM"), "{error}");
    server.say("CONFIG SET maxmemory 0");
    store.reopen().unwrap();
    assert_eq!(keys(&store), [b"a"]);
    store.commit(&batch).unwrap();
    assert_eq!(keys(&store), [b"b"]);
}

/// Records come in the order of their bytes from anywhere, however many there are and however large.
#[test]
fn records_come_in_pages_and_in_order() {
    let server = RedisServer::start(&directory(), &[]);
    let mut store = open(&server).unwrap();
    let mut batch = Batch::default();
    let mut wanted = Vec::new();
    for number in 0..30_000_u32 {
        let key = [&[u8::try_from(number % 3).unwrap()], &number.to_be_bytes()[..]].concat();
        let len = if number % 1000 == 0 { 200_000 } else { 1 };
        batch.put(key.clone(), vec![7; len]);
        wanted.push(key);
    }
    batch.put(vec![255, 255], Vec::new());
    wanted.push(vec![255, 255]);
    wanted.sort();
    store.commit(&batch).unwrap();
    assert_eq!(keys(&store), wanted);
    assert_eq!(store.count(), Some(wanted.len() as u64));
    let mut seen = 0;
    let from = &wanted[12_345];
    store
        .scan(from, &mut |key, value| {
            assert!(key == wanted[12_345 + seen] && (value.len() == 1 || value.len() == 200_000), "{key:?}");
            seen += 1;
            if seen == 5000 { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(seen, 5000);
    let mut batch = Batch::default();
    batch.clear(vec![1]);
    batch.clear(vec![255]);
    batch.put(vec![1, 9], vec![1]);
    store.commit(&batch).unwrap();
    wanted.retain(|key| key[0] != 1 && key[0] != 255);
    wanted.push(vec![1, 9]);
    wanted.sort();
    assert_eq!(keys(&store), wanted);
    assert!(store.check().unwrap());
}
