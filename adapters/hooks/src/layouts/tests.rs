//! Files as the two brokers document them.

use super::{seconds, translate};
use metronome_host::BrokerConfig;
use metronome_host::config::listeners::{ClientCertificates, Transport};
use metronome_host::engine::Durability;
use std::path::Path;

fn read(text: &str) -> Result<(BrokerConfig, Vec<String>), String> {
    let foreign = translate(Path::new("/etc/broker/their.yaml"), text, BrokerConfig::default());
    foreign.map(|foreign| (foreign.config, foreign.ignored)).map_err(|error| error.to_string())
}

#[test]
fn a_file_of_mochi_is_read() {
    let (config, ignored) = read(
        r#"
listeners:
  - {type: tcp, id: file-tcp1, address: ":1883"}
  - {type: ws, id: file-websocket, address: ":1882"}
  - {type: unix, id: file-unix, address: "/run/mochi.sock"}
  - {type: healthcheck, id: file-health, address: ":8080"}
  - {type: carrier-pigeon, id: file-pigeon, address: ":8081"}
hooks:
  auth: {ledger: {users: {bob: {password: secret}}}}
  debug: {enable: true}
options:
  client_net_write_buffer_size: 2048
  sys_topic_resend_interval: 10
  inline_client: true
  capabilities:
    maximum_clients: 9223372036854775807
    maximum_message_expiry_interval: 100
    maximum_session_expiry_interval: 4294967295
    maximum_packet_size: 0
    receive_maximum: 512
    maximum_inflight: 4096
    topic_alias_maximum: 32
    shared_sub_available: 1
    minimum_protocol_version: 4
    maximum_qos: 1
    retain_available: 0
    wildcard_sub_available: 1
    sub_id_available: 1
    compatibilities:
      obscure_not_authorized: true
      passive_client_disconnect: false
      restore_sys_info_on_restart: true
logging: {level: INFO}
"#,
    )
    .unwrap();
    let addresses: Vec<&str> = config.listeners.iter().map(|listener| &*listener.address).collect();
    assert_eq!(addresses, ["0.0.0.0:1883", "0.0.0.0:1882", "/run/mochi.sock", "0.0.0.0:8080"]);
    let kinds: Vec<_> = config.listeners.iter().filter_map(|listener| listener.transport).collect();
    assert_eq!(kinds, [Transport::Ws, Transport::Unix, Transport::Http]);
    assert_eq!(config.access_control.ledgers, [Path::new("/etc/broker/their.yaml")]);
    assert!(!config.allow_anonymous);
    assert_eq!(config.listeners[0].name, "file-tcp1");
    let limits = &config.limits;
    assert_eq!((limits.max_connections, limits.max_message_expiry), (u32::MAX, 100));
    assert_eq!((limits.max_session_expiry, limits.max_packet_size), (u32::MAX, 268_435_455));
    assert_eq!((limits.receive_maximum, limits.max_inflight, limits.topic_alias_maximum), (512, 4096, 32));
    assert_eq!((limits.minimum_protocol_version.level(), limits.maximum_qos as u8), (4, 1));
    assert!(!limits.retain_available && limits.shared_subscriptions && limits.obscure_not_authorized);
    assert_eq!((config.sys_topics.interval_ms, config.storage.keep_counters), (10_000, true));
    let wanted = [
        "hooks.debug.enable",
        "listeners[4]: a listener of the type carrier-pigeon",
        "logging.level",
        "options.client_net_write_buffer_size",
    ];
    assert_eq!(ignored, wanted);
}

#[test]
fn allowing_all_is_stronger_than_a_ledger() {
    let json = r#"{"hooks": {"auth": {"allow_all": true, "ledger": {"users": {"bob": {}}}}}}"#;
    let (config, ignored) = read(json).unwrap();
    assert!(config.allow_anonymous && !config.access_control.has_files());
    assert_eq!(ignored, ["hooks.auth.ledger: hooks.auth.allow_all is stronger"]);
}

#[test]
fn a_file_of_gmqtt_is_read() {
    let (config, ignored) = read(
        r#"
listeners:
  - {address: "127.0.0.1:1883"}
  - {address: ":8883", websocket: {path: "/"}}
  - {address: ":8884", tls: {cert: own.pem, key: own.key, cacert: /ca.pem, verify: true}}
api: {grpc: [{address: "tcp://127.0.0.1:8084"}]}
mqtt:
  session_expiry: 2h
  session_expiry_check_timer: 20s
  message_expiry: 1h30m
  max_packet_size: 268435456
  server_receive_maximum: 100
  max_keepalive: 300
  topic_alias_maximum: 10
  subscription_identifier_available: true
  wildcard_subscription_available: false
  shared_subscription_available: true
  maximum_qos: 2
  retain_available: true
  max_queued_messages: 1000
  max_inflight: 100
  queue_qos0_messages: true
  delivery_mode: overlap
  allow_zero_length_clientid: false
persistence: {type: memory}
topic_alias_manager: {type: fifo}
plugins:
  prometheus: {path: "/metrics"}
  auth: {hash: sha256, password_file: ./users.yml}
plugin_order: [prometheus, auth]
log: {level: info}
"#,
    )
    .unwrap();
    let kinds: Vec<_> = config.listeners.iter().filter_map(|listener| listener.transport).collect();
    assert_eq!(kinds, [Transport::Tcp, Transport::Ws, Transport::Tls]);
    let tls = config.listeners[2].tls.as_ref().unwrap();
    assert_eq!(
        (tls.key.as_path(), tls.ca.as_deref()),
        ("/etc/broker/own.key".as_ref(), Some("/ca.pem".as_ref()))
    );
    assert_eq!(tls.client_certificates, ClientCertificates::Required);
    let limits = &config.limits;
    assert_eq!((limits.max_session_expiry, limits.max_message_expiry), (7200, 5400));
    assert_eq!(
        (limits.max_packet_size, limits.receive_maximum, limits.max_keep_alive),
        (268_435_455, 100, 300)
    );
    assert!(limits.subscription_ids && !limits.wildcard_subscriptions && !limits.allow_empty_client_id);
    assert_eq!(
        (limits.max_queued_messages, limits.max_inflight, limits.queue_qos0_offline),
        (1000, 100, true)
    );
    assert_eq!(config.storage.durability, Durability::Memory);
    assert_eq!(limits.overlap, metronome_host::engine::Overlap::PerSubscription);
    let access = &config.access_control;
    assert_eq!(access.accounts.as_deref(), Some(Path::new("/etc/broker/./users.yml")));
    assert_eq!(access.accounts_hash, metronome_host::config::AccountsHash::Sha256);
    let wanted = [
        "api.grpc[0].address",
        "log.level",
        "mqtt.session_expiry_check_timer",
        "plugin_order: prometheus",
        "plugins.prometheus.path",
    ];
    assert_eq!(ignored, wanted);
    // Without its plugin, gmqtt lets in everybody.
    let (config, _) = read("mqtt: {max_inflight: 5}\nplugins: {auth: {hash: md5}}\n").unwrap();
    assert!(config.allow_anonymous && !config.access_control.has_files());
}

#[test]
fn a_file_with_nothing_but_listeners_is_known_by_them() {
    let (config, ignored) = read("listeners: [{address: ':1', websocket: {}, name: x}]\n").unwrap();
    assert!(config.allow_anonymous);
    let listener = &config.listeners[0];
    assert_eq!((listener.transport, listener.path.as_deref()), (Some(Transport::Ws), Some("/")));
    assert_eq!(ignored, ["listeners[0].name"]);
    let error = read("listeners: [{type: tcp, address: ':1'}]\n").unwrap_err();
    assert!(error.contains("hooks.auth: says nothing"), "{error}");
}

#[test]
fn no_key_is_ignored_silently() {
    for (text, wanted) in [
        (
            "hooks: {auth: {allow_all: true}}\nlisteners: [{type: tcp, id: a, address: ':1', tls: {cert: c}}]\n",
            &["listeners[0].tls.cert"][..],
        ),
        ("hooks: {auth: {allow_all: true}}\noptions: {inline_clinet: false}\n", &["options.inline_clinet"]),
        ("hooks: {auth: {allow_all: true}, debug: {enable: false}}\n", &[]),
        ("mqtt: {max_inflite: 5}\npersistence: {type: redis}\n", &["mqtt.max_inflite", "persistence.type"]),
    ] {
        assert_eq!(read(text).unwrap().1, wanted, "{text}");
    }
}

#[test]
fn what_cannot_be_is_named() {
    for (text, wanted) in [
        ("listeners: []\n", "neither Mochi nor gmqtt"),
        ("mqtt: {}\nhooks: {}\n", "neither Mochi nor gmqtt"),
        ("hooks: {debug: {enable: true}}\n", "hooks.auth: says nothing: nobody could connect"),
        ("hooks: {auth: {allow_all: 1}}\n", "hooks.auth.allow_all: is neither true nor false"),
        (
            "hooks: {auth: {allow_all: true}}\noptions: {capabilities: {maximum_qos: 3}}\n",
            "line 2: options.capabilities.maximum_qos: maximum_qos is",
        ),
        (
            "hooks: {auth: {allow_all: true}}\noptions: {capabilities: {retain_available: 2}}\n",
            "options.capabilities.retain_available: cannot be 2",
        ),
        ("mqtt:\n  session_expiry: 2d\n", "line 2: mqtt.session_expiry: cannot be \"2d\""),
        ("mqtt: {max_inflight: 0}\n", "line 1: mqtt.max_inflight: limits.max_inflight must not be 0"),
        ("{\"mqtt\": {\n\"maximum_qos\": 3}}", "line 2: mqtt.maximum_qos: maximum_qos is"),
        (
            "hooks: {auth: {allow_all: true}}\nlisteners:\n  - {type: tcp, addres: ':1'}\n",
            "line 3: listeners[0]: has no address",
        ),
        (
            "hooks: {auth: {allow_all: true}}\nlisteners:\n  - {type: tpc, address: ':1'}\n",
            "line 3: listeners: none of them is of a type that there is here",
        ),
        ("hooks: {auth: {allow_all: true}}\nlisteners: ':1'\n", "listeners: is no list of sections"),
        ("plugin_order: auth\n", "line 1: plugin_order: is no list of words"),
        // Not without TLS, whatever is wrong with it.
        (
            "mqtt: {}\nlisteners: [{address: ':1', tls: {cert_file: c, key_file: k}}]\n",
            "listeners[0].tls: has to have cert",
        ),
        ("mqtt: {}\nlisteners: [{address: ':1', tls: {cert: c}}]\n", "listeners[0].tls: has to have cert"),
        ("mqtt: {}\nlisteners: [{address: ':1', tls: {}}]\n", "listeners[0].tls: has to have cert"),
        (
            "mqtt: {}\nlisteners: [{address: ':1', tls: {verify: true}}]\n",
            "listeners[0].tls: has to have cert",
        ),
        (
            "mqtt: {}\nlisteners: [{address: ':1', tls: {cert: c, key: k, verify: 'yes'}}]\n",
            "listeners[0].tls.verify: is neither true nor false",
        ),
        ("mqtt: [\n", "line "),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn times_of_go() {
    for (text, wanted) in
        [("2h", Some(7200)), ("1h30m5s", Some(5405)), ("0s", Some(0)), ("5ms", None), ("5", None), ("", None)]
    {
        assert_eq!(seconds(text), wanted, "{text}");
    }
}
