//! Attacks below MQTT: WebSocket, TLS, HTTP and PROXY headers.

use crate::broker::Broker;
use crate::client::{Client, Heard};
use crate::judge::{ATTACK, Attack, Site, config, connect};
use crate::packets::{Hello, PINGREQ, publish};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        class: "D-01",
        done: "frames of 2^63 and 2^62 bytes, frames of none, fragments without end, packets longer than their frame",
        expected: "close 1002 or 1009 for lengths that cannot be; the rest is a stream of bytes",
        run: frames,
        ..ATTACK
    },
    Attack {
        class: "D-02",
        done: "asks for compression before it is let in",
        expected: "no extension is agreed on",
        run: compression,
        ..ATTACK
    },
    Attack {
        class: "D-03",
        done: "a foreign Origin, none where there is a list, one of 64 KiB, two",
        expected: "403, 403, 431, 400 or 403; the page that may comes in",
        run: origins,
        ..ATTACK
    },
    Attack {
        class: "D-04",
        done: "text, frames without a mask, no sub-protocol, packets split and joined",
        expected: "close 1003, 1002, status 400; packets in any frames are served",
        run: form,
        ..ATTACK
    },
    Attack {
        class: "D-05",
        done: "another path, an upgrade where there are pages, requests within requests, 64 KiB of headers",
        expected: "404, 404, 400, 431, and the end of the connection",
        run: requests,
        ..ATTACK
    },
    Attack {
        class: "D-06",
        done: "a configuration with packets of 0 bytes",
        expected: "refused at the start",
        run: no_packets,
        ..ATTACK
    },
    Attack {
        class: "D-07",
        done: "TLS: garbage, a record that is too long, half a handshake, new keys again and again",
        expected: "closed, the half at the deadline; new keys cost no memory",
        limits: "connect_timeout_ms = 1500",
        run: tls,
        ..ATTACK
    },
    Attack {
        class: "D-08",
        done: "a PROXY header from who is no proxy, none from who is, and headers that are none",
        expected: "closed without an answer",
        run: proxy_headers,
        ..ATTACK
    },
];

/// A frame of a client, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    if let Ok(len @ ..126) = u8::try_from(payload.len()) {
        bytes.push(0x80 | len);
    } else {
        bytes.push(0xfe);
        bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// A WebSocket whose frames are ours to make.
fn raw_websocket(site: &Site<'_>) -> TcpStream {
    let mut stream = site.to("ws");
    let answer = ask(&mut stream, "/mqtt", &[WEBSOCKET, MQTT]);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    stream
}

const WEBSOCKET: &str = "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
const MQTT: &str = "Sec-WebSocket-Protocol: mqtt\r\n";

/// A request and the head of its answer.
fn ask(stream: &mut TcpStream, path: &str, headers: &[&str]) -> String {
    // It may be refused before it is whole.
    let _refused = stream.write_all(format!("GET {path} HTTP/1.1\r\n{}\r\n", headers.concat()).as_bytes());
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        answer.extend(byte);
    }
    String::from_utf8(answer).unwrap()
}

fn status(mut stream: TcpStream, path: &str, headers: &[&str]) -> String {
    let answer = ask(&mut stream, path, headers);
    answer.split(' ').nth(1).unwrap_or("closed").to_owned()
}

/// The payload of the broker's next frame; the status where it closes.
fn heard(stream: &mut TcpStream) -> Result<Vec<u8>, u16> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a frame");
    let mut len = usize::from(head[1]);
    if len == 126 {
        let mut long = [0; 2];
        stream.read_exact(&mut long).expect("its length");
        len = u16::from_be_bytes(long).into();
    }
    let mut payload = vec![0; len];
    stream.read_exact(&mut payload).expect("its payload");
    if head[0] == 0x88 { Err(u16::from_be_bytes([payload[0], payload[1]])) } else { Ok(payload) }
}

const PINGRESP: &[u8] = &[0xd0, 0];

/// A WebSocket of somebody who was let in.
fn accepted(site: &Site<'_>, name: &str) -> TcpStream {
    let mut stream = raw_websocket(site);
    stream.write_all(&frame(0x82, &Hello::new(name).bytes())).unwrap();
    assert_eq!(heard(&mut stream).unwrap()[0], 0x20);
    stream
}

fn frames(site: &Site<'_>) -> String {
    for (len, wanted) in [(1u64 << 63, [1002, 1009]), (1 << 62, [1009, 1009])] {
        let mut stream = raw_websocket(site);
        let head = [&[0x82, 0x80 | 127][..], &len.to_be_bytes(), &[0; 4]].concat();
        // Its first bytes come; nothing is put aside for the rest.
        let _closed = stream.write_all(&[head, vec![0; 1000]].concat());
        let said = heard(&mut stream).unwrap_err();
        assert!(wanted.contains(&said), "{len}: {said}");
    }
    let mut stream = accepted(site, "frames");
    for _ in 0..site.scale(100, 1000) {
        stream.write_all(&frame(0x82, b"").repeat(1000)).unwrap();
    }
    stream.write_all(&frame(0x02, PINGREQ)).unwrap();
    assert_eq!(heard(&mut stream).unwrap(), PINGRESP);
    for _ in 0..site.scale(10, 100) {
        stream.write_all(&frame(0x00, b"").repeat(1000)).unwrap();
        stream.write_all(&frame(0x00, PINGREQ)).unwrap();
        assert_eq!(heard(&mut stream).unwrap(), PINGRESP);
    }
    stream.write_all(&frame(0x80, b"")).unwrap();
    let packet = publish("t", 1, 1, &[], &[7; 60]);
    for half in [&packet[..20], &packet[20..]] {
        stream.write_all(&frame(0x82, half)).unwrap();
    }
    assert_eq!(heard(&mut stream).unwrap()[..2], [0x40, 3]);
    String::new()
}

/// A goodbye in the words of the layer, in one write with the last question.
pub(crate) fn goodbyes(site: &Site<'_>) {
    let mut stream = accepted(site, "frames");
    stream.write_all(&[frame(0x82, PINGREQ), frame(0x88, &1000u16.to_be_bytes())].concat()).unwrap();
    assert_eq!((heard(&mut stream).unwrap(), heard(&mut stream)), (PINGRESP.to_vec(), Err(1000)));
    let mut stream = site.tls(site.broker.address("mqtts"));
    stream.write_all(&Hello::new("records").bytes()).unwrap();
    // CONNACK, and what TLS says behind its handshake.
    assert!(stream.read(&mut [0; 100]).unwrap() > 4);
    stream.conn.writer().write_all(PINGREQ).unwrap();
    stream.conn.send_close_notify();
    let mut records = Vec::new();
    stream.conn.write_tls(&mut records).unwrap();
    stream.sock.write_all(&records).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, PINGRESP);
}

fn compression(site: &Site<'_>) -> String {
    for offer in ["permessage-deflate", "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame"]
    {
        let offer = format!("Sec-WebSocket-Extensions: {offer}\r\n");
        let mut stream = site.to("ws");
        let answer = ask(&mut stream, "/mqtt", &[WEBSOCKET, MQTT, &offer]);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(!answer.to_lowercase().contains("extensions"), "{answer}");
        // What says that it is compressed nevertheless.
        stream.write_all(&frame(0xc2, &Hello::new("small").bytes())).unwrap();
        assert_eq!(heard(&mut stream), Err(1002));
    }
    String::new()
}

fn origins(site: &Site<'_>) -> String {
    let [anyone, listed] = [0, 1].map(|number| site.broker.nth("ws", number));
    let long = format!("https://{}", "a".repeat(64 << 10));
    let twice = "https://app.example\r\nOrigin: https://evil.example";
    for (address, origin, wanted) in [
        (anyone, Some("https://evil.example"), &["403"][..]),
        (anyone, Some("null"), &["403"]),
        (anyone, Some("http://localhost:3000"), &["101"]),
        (listed, Some("https://app.example"), &["101"]),
        (listed, Some("https://app.example.evil.example"), &["403"]),
        (listed, None, &["403"]),
        (listed, Some(&*long), &["431"]),
        (listed, Some(twice), &["400", "403"]),
    ] {
        let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        let found = status(connect(address), "/mqtt", &[WEBSOCKET, MQTT, &origin]);
        assert!(wanted.contains(&&*found), "{}: {found}", &origin[..origin.len().min(60)]);
    }
    String::new()
}

fn form(site: &Site<'_>) -> String {
    let connect = Hello::new("form").bytes();
    let mut unmasked = vec![0x82, u8::try_from(connect.len()).unwrap()];
    unmasked.extend(&connect);
    for (bytes, wanted) in [(frame(0x81, &connect), 1003), (unmasked, 1002), (frame(0x83, b""), 1002)] {
        let mut stream = raw_websocket(site);
        stream.write_all(&bytes).unwrap();
        assert_eq!(heard(&mut stream), Err(wanted), "{bytes:02x?}");
    }
    assert_eq!(status(site.to("ws"), "/mqtt", &[WEBSOCKET]), "400");
    let mut stream = raw_websocket(site);
    for byte in &connect {
        stream.write_all(&frame(0x82, &[*byte])).unwrap();
    }
    heard(&mut stream).unwrap();
    stream.write_all(&frame(0x82, &PINGREQ.repeat(100))).unwrap();
    let mut answers = Vec::new();
    while answers.len() < 200 {
        answers.extend(heard(&mut stream).unwrap());
    }
    assert_eq!(answers, PINGRESP.repeat(100));
    String::new()
}

fn requests(site: &Site<'_>) -> String {
    let long = format!("X: {}\r\n", "a".repeat(64 << 10));
    let many = "X: a\r\n".repeat(100);
    for (scheme, path, headers, wanted) in [
        ("ws", "/other", &[WEBSOCKET, MQTT][..], "404"),
        ("ws", "/mqtt/", &[WEBSOCKET, MQTT], "404"),
        ("http", "/mqtt", &[WEBSOCKET, MQTT], "404"),
        ("ws", "/mqtt", &[WEBSOCKET, MQTT, "Content-Length: 40\r\n"], "400"),
        ("ws", "/mqtt", &[WEBSOCKET, MQTT, "Transfer-Encoding: chunked\r\n"], "400"),
        ("ws", "/mqtt", &[WEBSOCKET, MQTT, "Host: other\r\n"], "400"),
        ("ws", "/mqtt", &[WEBSOCKET, MQTT, &long], "431"),
        ("ws", "/mqtt", &[WEBSOCKET, MQTT, &many], "431"),
        ("http", "/stats", &["Host: x\r\n", &long], "431"),
    ] {
        assert_eq!(status(site.to(scheme), path, headers), wanted, "{scheme} {path}");
    }
    // One request for each connection, so what stands behind it is answered by nobody.
    let mut stream = site.to("http");
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /stats HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    String::new()
}

fn no_packets(site: &Site<'_>) -> String {
    for limit in ["max_packet_size = 0", "max_packet_size_before_connect = 0"] {
        let config = config(site.authority, limit);
        let folder = site.authority.file("refused");
        let said = Broker::try_start(site.runtime, &folder, &config).err().expect("it does not start");
        assert!(said.contains("max_packet_size"), "{said}");
    }
    String::new()
}

fn tls(site: &Site<'_>) -> String {
    let handshake = [&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[0; 100]].concat();
    for (bytes, at_once) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), true),
        (vec![0xff; 4096], true),
        ([&[0x16, 3, 1, 0xff, 0xff][..], &vec![0; 1 << 16]].concat(), true),
        (handshake, false),
    ] {
        for _ in 0..site.scale(10, 100) {
            let (mut stream, began) = (site.to("mqtts"), Instant::now());
            let _closed = stream.write_all(&bytes);
            // An alert may be said first.
            while stream.read(&mut [0; 100]).is_ok_and(|count| count > 0) {}
            let took = began.elapsed();
            assert!(took < Duration::from_secs(4), "{took:?}");
            assert_eq!(took < Duration::from_millis(1200), at_once, "{took:?}");
            if !at_once {
                break;
            }
        }
    }
    let mut stream = Client::accepted(site.tls(site.broker.address("mqtts")), &Hello::new("keys"));
    assert!(stream.is_well());
    let mut stream = site.tls(site.broker.address("mqtts"));
    stream.sock.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut changes = 0;
    'changes: for _ in 0..site.scale(2_000, 100_000) {
        stream.conn.refresh_traffic_keys().unwrap();
        while stream.conn.wants_write() {
            match stream.conn.write_tls(&mut stream.sock) {
                // It may have had enough of it.
                Err(error) if error.kind() != ErrorKind::Interrupted => break 'changes,
                _ => {}
            }
        }
        changes += 1;
    }
    format!("{changes} new keys")
}

fn proxy_headers(site: &Site<'_>) -> String {
    let connect_packet = Hello::new("proxied").bytes();
    let header = b"PROXY TCP4 203.0.113.9 127.0.0.1 1 1883\r\n";
    let mut second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec();
    second.extend([0; 100]);
    let [open, trusted, others] = [0, 1, 2].map(|number| site.broker.nth("mqtt", number));
    for (address, begin) in [
        (open, &header[..]),
        (others, header),
        (others, b""),
        (trusted, b""),
        (trusted, b"PROXY TCP4 203.0.113.9\r\n"),
        (trusted, b"PROXY TCP4 203.0.113.999 127.0.0.1 1 1883\r\n"),
        (trusted, b"PROXY TCP4 203.0.113.9 127.0.0.1 1 1883 and a very long line that is longer than any header may be, 107 bytes\r\n"),
        (trusted, &second),
    ] {
        let mut client = Client::over(connect(address));
        client.send(&[begin, &connect_packet].concat());
        assert_eq!(client.hear(), Heard::Closed, "{}", String::from_utf8_lossy(begin));
    }
    let mut client = Client::over(connect(trusted));
    assert_eq!(client.ask(&[&header[..], &connect_packet].concat()), "CONNACK 0x00");
    String::new()
}
