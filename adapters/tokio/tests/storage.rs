//! What outlives the binary, and what is said of a store that cannot be used.

mod common;
#[allow(dead_code)] // Each test program uses a part of it.
#[path = "../../storage/tests/common/redis_server.rs"]
mod redis_server;

use common::process::{Running, metronome, run, start};
use common::{Client, packet};
use redis_server::RedisServer;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A directory of its own for each call, which does not exist yet.
fn directory() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("store-{}-{number}", std::process::id()));
    if path.exists() {
        std::fs::remove_dir_all(&path).unwrap();
    }
    path
}

fn start_with(flags: &[&str], variables: &[(&str, &Path)]) -> Running {
    let mut command = metronome();
    command.env_remove("METRONOME_DURABILITY").envs(variables.iter().copied());
    command.args(["--listen", "127.0.0.1:0"]).args(flags);
    start(command)
}

fn start_on(path: &Path, level: &str) -> Running {
    start_with(&["--data", path.to_str().unwrap(), "--durability", level], &[])
}

/// MQTT 3.1.1 without Clean Session; says whether the session was there.
fn lasting(broker: &Running, name: &str) -> (Client, bool) {
    let mut client = Client::open(broker.address, 4);
    let name = [&[0, u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
    client.send(&packet(0x10, &[&b"\0\x04MQTT\x04\0\0\x3c"[..], &name].concat()));
    let connack = client.packet();
    assert_eq!((connack[0], connack[3]), (0x20, 0));
    (client, connack[2] == 1)
}

/// A message that waits, and a retained one, before the process is killed.
fn leave_something(broker: &Running) {
    let (mut reader, present) = lasting(broker, "reader");
    assert!(!present);
    reader.subscribe("t", 1);
    // It is gone once the broker has closed its side, too.
    reader.send(&packet(0xe0, &[]));
    assert_eq!(reader.try_packet(), None);
    let mut writer = Client::connect(broker.address, 4, "writer");
    writer.publish("t", 1, b"waiting");
    assert_eq!(writer.packet(), [0x40, 2, 0, 7]);
    let mut retained = common::publish(4, "r", 1, b"kept");
    retained[0] |= 1;
    writer.send(&retained);
    assert_eq!(writer.packet(), [0x40, 2, 0, 7]);
}

fn find_it_again(broker: &Running) {
    let (mut reader, present) = lasting(broker, "reader");
    assert!(present);
    let waiting = reader.packet();
    assert!(waiting.ends_with(b"waiting"), "{waiting:?}");
    let mut other = Client::connect(broker.address, 4, "other");
    other.subscribe("r", 0);
    assert_eq!(other.message(), b"kept");
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let path = directory();
    let broker = start_on(&path, "durable");
    assert!(broker.greeting.contains(path.to_str().unwrap()), "{}", broker.greeting);
    assert!(broker.greeting.contains("found there: 0 sessions"), "{}", broker.greeting);
    leave_something(&broker);
    drop(broker);
    let broker = start_on(&path, "durable");
    let found = "found there: 1 sessions with 1 subscriptions, 1 messages waiting and 0 in flight, 1 retained messages";
    assert!(broker.greeting.contains(found), "{}", broker.greeting);
    assert!(broker.greeting.contains("it was not closed the last time"), "{}", broker.greeting);
    find_it_again(&broker);
}

/// Nobody waits for the store, but a process that ends in peace leaves nothing behind.
#[cfg(unix)]
#[test]
fn with_async_everything_is_there_after_the_end() {
    let path = directory();
    let mut broker = start_on(&path, "async");
    leave_something(&broker);
    broker.signal("TERM");
    assert_eq!(broker.ended().0, Some(0));
    let broker = start_on(&path, "async");
    assert!(!broker.greeting.contains("it was not closed"), "{}", broker.greeting);
    find_it_again(&broker);
}

/// Where the configuration wants it: at the end in peace all of them, and when it is killed those of some seconds ago.
#[cfg(unix)]
#[test]
fn totals_go_on_after_a_restart() {
    let path = directory();
    let start = || {
        let flags = ["--data", path.to_str().unwrap(), "--durability", "durable"];
        start_with(&flags, &[("METRONOME_STORAGE_KEEP_COUNTERS", Path::new("true"))])
    };
    let received = |broker: &Running| {
        let mut client = Client::connect(broker.address, 4, "watcher");
        client.subscribe("$SYS/broker/publish/messages/received", 0);
        String::from_utf8(client.message()).unwrap()
    };
    let mut broker = start();
    leave_something(&broker);
    broker.signal("TERM");
    assert_eq!(broker.ended().0, Some(0));
    let broker = start();
    assert_eq!(received(&broker), "2");
    drop(broker);
    assert_eq!(received(&start()), "2");
    let (_, said, _) = store(&path, &["export"]);
    assert!(said.contains("\"publish_received_qos_1\":2"), "{said}");
    assert_eq!(store(&path, &["verify"]).1, "everything is sound\n");
    // Nothing of it where nobody asks for it.
    assert_eq!(received(&start_on(&path, "durable")), "0");
}

#[test]
fn with_memory_nothing_is_written() {
    let path = directory();
    let broker = start_on(&path, "memory");
    assert!(broker.greeting.contains("in memory"), "{}", broker.greeting);
    leave_something(&broker);
    assert!(!path.exists());
}

#[cfg(unix)]
#[test]
fn without_a_word_it_is_durable_in_the_users_data_directory() {
    let home = directory();
    for (variables, folder) in [
        (vec![("XDG_DATA_HOME", &*home)], home.join("metronome")),
        (vec![("XDG_DATA_HOME", Path::new("")), ("HOME", &*home)], home.join(".local/share/metronome")),
    ] {
        let broker = start_with(&[], &variables);
        assert!(broker.greeting.contains(&format!("{}, when acknowledged", folder.display())));
        assert!(folder.join("metronome.redb").exists(), "{}", broker.greeting);
    }
    let mut command = metronome();
    command.env_remove("METRONOME_DURABILITY").env_remove("HOME").env_remove("XDG_DATA_HOME");
    let output = command.args(["--listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no home directory"));
}

#[test]
fn a_store_that_cannot_be_used_is_one_clear_line() {
    let path = directory();
    let flags = |path: &Path| {
        let path = path.to_str().unwrap().to_owned();
        ["--listen", "127.0.0.1:0", "--durability", "durable", "--data", &path].map(str::to_owned)
    };
    let refused = |path: &Path, wanted: &str| {
        let flags = flags(path);
        let (code, errors) = run(&flags.each_ref().map(String::as_str));
        let wanted = format!("metronome: cannot use the store in {}: {wanted}", path.display());
        assert!(errors.ends_with('\n') && errors.lines().count() == 1, "{errors}");
        assert!(errors.starts_with(&wanted), "{errors}");
        assert_eq!(code, Some(1));
    };
    let broker = start_on(&path, "durable");
    refused(
        &path,
        "another broker is using it; take another directory with --data, or keep nothing with --durability memory\n",
    );
    drop(broker);
    let file = path.join("metronome.redb");
    std::fs::write(&file, "something else").unwrap();
    refused(&path, "this is not a store of Metronome");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "something else");
    refused(&file, "it is no directory\n");
    refused(Path::new("/dev/null/x"), "");
}

/// Exit code, standard output and standard error of `metronome store`.
fn store(path: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = metronome();
    command.arg("store").args(words).arg("--data").arg(path);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn operators_look_into_a_store_and_take_it_elsewhere() {
    let (path, other) = (directory(), directory());
    let (code, _, errors) = store(&path, &["inspect"]);
    assert_eq!(code, Some(1));
    assert!(errors.ends_with("there is none\n") && !path.exists(), "{errors}");
    let broker = start_on(&path, "durable");
    leave_something(&broker);
    let (code, _, errors) = store(&path, &["inspect"]);
    assert!(code == Some(1) && errors.ends_with("another broker is using it\n"), "{errors}");
    drop(broker);
    let (code, said, _) = store(&path, &["inspect"]);
    assert_eq!(code, Some(0));
    let has = |what: &str, count: &str| {
        said.lines().any(|line| line.starts_with(what) && line.ends_with(&format!(" {count}")))
    };
    assert!(has("sessions", "1") && has("deliveries", "1") && has("retained messages", "1"), "{said}");
    assert_eq!(store(&path, &["verify"]), (Some(0), "everything is sound\n".into(), String::new()));
    assert_eq!(store(&path, &["compact"]).0, Some(0));
    let file = other.with_extension("json");
    let exported = (Some(0), "4 records are exported\n".to_owned(), String::new());
    assert_eq!(store(&path, &["export", file.to_str().unwrap()]), exported);
    let lines = store(&path, &["export"]).1;
    assert_eq!(lines.lines().count(), 5, "{lines}");
    assert_eq!(store(&other, &["import", file.to_str().unwrap()]).1, "4 records are imported\n");
    find_it_again(&start_on(&other, "durable"));
}

/// Who could read an earlier file reads none of this one.
#[cfg(unix)]
#[test]
fn an_export_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let path = directory();
    leave_something(&start_on(&path, "durable"));
    let file = path.join("export.json");
    std::fs::write(&file, "theirs").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let mut theirs = std::fs::File::open(&file).unwrap();
    assert_eq!(store(&path, &["export", file.to_str().unwrap()]).0, Some(0));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 5);
    let mut seen = String::new();
    std::io::Read::read_to_string(&mut theirs, &mut seen).unwrap();
    assert_eq!(seen, "theirs");
    // Nothing else is left there, and what is no file is left alone.
    let files = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name());
    let mut files: Vec<_> = files.collect();
    files.sort();
    assert_eq!(files, ["export.json", "metronome.lock", "metronome.redb"]);
    let (code, _, errors) = store(&path, &["export", "/dev/null"]);
    assert_eq!((code, &*errors), (Some(1), "metronome: cannot write /dev/null: it is no ordinary file\n"));
}

/// What is wrong with the file of an export is not said of the store.
#[test]
fn an_export_that_cannot_be_written_or_read_is_named() {
    let (path, other) = (directory(), directory());
    drop(start_on(&path, "durable"));
    let none = path.join("none/export.json");
    let none = none.to_str().unwrap();
    let (code, _, errors) = store(&path, &["export", none]);
    assert!(code == Some(1) && errors.starts_with(&format!("metronome: cannot write {none}: ")), "{errors}");
    let (code, _, errors) = store(&other, &["import", none]);
    assert!(code == Some(1) && errors.starts_with(&format!("metronome: cannot read {none}: ")), "{errors}");
    assert!(!other.exists(), "nothing is begun for it");
    let diary = path.join("diary");
    std::fs::write(&diary, "dear diary").unwrap();
    let (code, _, errors) = store(&other, &["import", diary.to_str().unwrap()]);
    let wanted = format!(
        "metronome: cannot import {} into the store in {}: line 1: ",
        diary.display(),
        other.display()
    );
    assert!(code == Some(1) && errors.starts_with(&wanted) && errors.lines().count() == 1, "{errors}");
}

/// Publishes until the store is full, has what waits read, and publishes again.
fn fill_and_drain(broker: &Running, most: u32) {
    let (mut reader, _) = lasting(broker, "reader");
    reader.subscribe("t", 1);
    reader.send(&packet(0xe0, &[]));
    assert_eq!(reader.try_packet(), None);
    let mut writer = Client::connect(broker.address, 5, "writer");
    let mut seed = 1_u64;
    let mut publish = || {
        let noise = (0..32 << 10).map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        });
        writer.publish("t", 1, &noise.collect::<Vec<u8>>());
        let answer = writer.packet();
        assert_eq!(answer[0], 0x40);
        answer.get(4).copied().unwrap_or(0)
    };
    let kept = (0..most).take_while(|_| publish() == 0).count();
    assert!(kept > 0 && kept < most as usize, "{kept}");
    let (mut reader, present) = lasting(broker, "reader");
    assert!(present);
    for _ in 0..kept {
        let message = reader.packet();
        // Behind the topic.
        let at = message.len() - (32 << 10) - 2;
        reader.send(&[0x40, 2, message[at], message[at + 1]]);
    }
    let began = Instant::now();
    while publish() != 0 {
        assert!(began.elapsed() < Duration::from_secs(30), "there is room for {kept} messages");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_store_keeps_to_its_bound_and_goes_on_when_there_is_room() {
    let mut engines = vec!["redb"];
    if cfg!(feature = "fjall") {
        engines.push("fjall");
    }
    let bound = Path::new("4194304");
    for engine in engines {
        let path = directory();
        let flags = ["--data", path.to_str().unwrap(), "--durability", "durable"];
        let variables =
            [("METRONOME_STORAGE_MAX_BYTES", bound), ("METRONOME_STORAGE_ENGINE", Path::new(engine))];
        fill_and_drain(&start_with(&flags, &variables), 140);
        if engine == "redb" {
            let length = path.join("metronome.redb").metadata().unwrap().len();
            assert!(length <= 2 * 4_194_304, "{length}");
        }
    }
    let path = directory();
    let server = RedisServer::start(&path.join("data"), &[]);
    let file = file_for(&path, &server.url());
    let flags = ["--durability", "durable", "--config", file.to_str().unwrap()];
    // It is looked at ten times a second, so the queue has to hold more.
    let variables = [
        ("METRONOME_STORAGE_MAX_BYTES", bound),
        ("METRONOME_LIMITS_MAX_QUEUED_BYTES", Path::new("1000000000")),
    ];
    fill_and_drain(&start_with(&flags, &variables), 30_000);
}

/// A configuration file with this server.
fn file_for(path: &Path, url: &str) -> PathBuf {
    std::fs::create_dir_all(path).unwrap();
    let file = path.join("metronome.toml");
    std::fs::write(&file, format!("[storage]\nengine = \"redis\"\nredis_url = \"{url}\"\n")).unwrap();
    file
}

#[test]
fn a_redis_server_keeps_it_for_one_broker() {
    let path = directory();
    let server = RedisServer::start(&path.join("data"), &[]);
    let file = file_for(&path, &server.url());
    let flags = ["--durability", "durable", "--config", file.to_str().unwrap()];
    let place = format!("{}/0 below metronome", server.url());
    let broker = start_with(&flags, &[]);
    assert!(broker.greeting.contains(&format!("in {place}, when acknowledged")), "{}", broker.greeting);
    leave_something(&broker);
    let (code, errors) = run(&[&flags[..], &["--listen", "127.0.0.1:0"]].concat());
    let wanted = format!(
        "metronome: cannot use the store in {place}: another broker is using it; take another storage.redis_prefix"
    );
    assert!(code == Some(1) && errors.lines().last().unwrap().starts_with(&wanted), "{errors}");
    drop(broker);
    let store = |words: &[&str]| {
        let mut command = metronome();
        command.arg("store").args(words).arg("--config").arg(&file);
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout) + &text(output.stderr))
    };
    let (code, said) = store(&["inspect"]);
    assert!(code == Some(0) && said.contains("sessions") && !said.contains("on disk"), "{said}");
    assert_eq!(store(&["verify"]), (Some(0), "everything is sound\n".to_owned()));
    let (code, said) = store(&["compact"]);
    assert!(code == Some(1) && said.contains("appendonly is no"), "{said}");
    find_it_again(&start_with(&flags, &[]));
    server.say("FLUSHALL");
    let (code, said) = store(&["inspect"]);
    assert!(code == Some(1) && said.ends_with("there is none\n"), "{said}");
    assert_eq!(server.say("DBSIZE"), ":1");
}

/// What the broker knows does not fit what is there: it ends, and whoever supervises it starts it again.
#[test]
fn a_redis_server_that_lost_everything_ends_the_broker() {
    let path = directory();
    let server = RedisServer::start(&path.join("data"), &[]);
    let file = file_for(&path, &server.url());
    let mut broker = start_with(&["--durability", "durable", "--config", file.to_str().unwrap()], &[]);
    let mut client = Client::connect(broker.address, 5, "client");
    server.say("FLUSHALL");
    let goodbye = client.packet();
    assert_eq!((goodbye[0], goodbye[2]), (0xe0, 0x8b), "{goodbye:02x?}");
    drop(client);
    let (code, log) = broker.ended();
    let wanted = "metronome: the store cannot be used any more: the server has nothing of it any more; restart this broker to \
                  go on with what is there\n";
    assert!(code == Some(1) && log.contains(wanted), "{log}");
}

#[test]
fn a_redis_server_that_cannot_be_used_is_one_clear_line() {
    let path = directory();
    let server = RedisServer::start(&path.join("data"), &["--requirepass", "right"]);
    for (url, code, wanted) in [
        (server.url().replace("//", "//:wrong@"), 1, "the server says: WRONGPASS"),
        (server.url(), 1, "the server says: NOAUTH"),
        (server.url().replace("//", "//:right@") + "/99", 1, "the server says: ERR DB index is out of range"),
        ("redis://127.0.0.1:1".to_owned(), 1, "no server is there"),
        ("http://127.0.0.1".to_owned(), 2, "line 3: redis_url: the URL of a Redis server begins with"),
    ] {
        let file = file_for(&path, &url);
        let (found, errors) =
            run(&["--listen", "127.0.0.1:0", "--durability", "durable", "--config", file.to_str().unwrap()]);
        assert!(errors.lines().count() == 1 && errors.contains(wanted), "{errors}");
        assert!(!errors.contains("right") && !errors.contains("wrong@"), "{errors}");
        assert_eq!(found, Some(code), "{errors}");
    }
    let bare = path.join("bare.toml");
    std::fs::write(&bare, "[storage]\nengine = \"redis\"\n").unwrap();
    let (code, errors) = run(&["--durability", "durable", "--config", bare.to_str().unwrap()]);
    assert!(code == Some(2) && errors.contains("needs storage.redis_url"), "{errors}");
}

#[test]
fn the_level_is_one_of_three() {
    let (code, errors) = run(&["--durability", "eternal"]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("memory, async, durable") && errors.lines().count() == 1, "{errors}");
}
