//! The plugin from its section of the file to its end.

use metronome_last_seen::{LastSeen, Section, read};
use metronome_tokio::host::engine::mqtt_proto::SubscribeOptions;
use metronome_tokio::{AllowAll, Broker};
use std::sync::mpsc::channel;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn it_has_a_section_of_its_own_and_tells_of_clients() {
    let text =
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[last_seen]\ntopic = \"seen\"\nexcept = [\"watcher\"]\n";
    let (config, section) = read(text).unwrap();
    let section = section.unwrap();
    assert_eq!(section, Section { topic: "seen".into(), except: vec!["watcher".into()] });
    let broker =
        Broker::builder().config(config).hook(AllowAll).hook(LastSeen::new(section)).start().unwrap();
    let (tell, told) = channel();
    let mut watcher = broker
        .inline_client("watcher", move |message| {
            let state = String::from_utf8_lossy(message.payload);
            tell.send(format!("{} {state}", message.topic.unwrap().as_str())).unwrap();
        })
        .unwrap();
    watcher.subscribe("seen/#", SubscribeOptions::default()).unwrap();
    let client = broker.inline_client("c", |_| ()).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "seen/c online");
    drop(client);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "seen/c offline");
    // Its name must not lead to topics of others.
    drop(broker.inline_client("c/d", |_| ()).unwrap());
    broker.shutdown(PATIENCE);
    assert!(told.try_recv().is_err());
}

#[test]
fn without_a_section_it_is_not_loaded_and_mistakes_are_named() {
    assert_eq!(read("[limits]\nreceive_maximum = 7\n").unwrap().1, None);
    for (text, wanted) in [
        ("[last_seen]\n", "last_seen: missing field `topic`"),
        ("[last_seen]\ntopic = \"seen\"\ntopics = 1\n", "last_seen: unknown field `topics`"),
        ("[lastseen]\n", "unknown key `lastseen`"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}
