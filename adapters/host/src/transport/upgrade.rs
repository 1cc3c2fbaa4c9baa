//! Who may turn an HTTP request into a WebSocket for MQTT (RFC 6455, 4.2).

use crate::transport::http::{Request, Response};
use base64ct::{Base64, Encoding};
use sha1::{Digest, Sha1};
use std::net::IpAddr;

/// What the answer to a key is computed with (1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The sub-protocol of MQTT 3.1.1 and 5.0 [MQTT-6.0.0-3], and what clients that speak 3.1 call theirs.
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Where and for whom a listener speaks WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketPolicy {
    /// The path of the URL.
    pub path: String,
    /// Origins that may connect, as browsers send them: a request without one is then refused, and `*` stands for all.
    /// With none given, pages from the host that the request names, where nobody else can have that name lead here, and
    /// clients that are no browser.
    pub origins: Vec<String>,
    /// The longest message, bytes.
    pub max_message: u64,
}

impl WebSocketPolicy {
    /// The answer to a request, which came over TLS or not: 101 where it becomes a WebSocket.
    pub(super) fn answer(&self, request: &Request<'_>, is_secure: bool) -> Response {
        if request.path != self.path {
            return Response::refusal(404);
        }
        if !self.admits(request.field("origin"), request, is_secure) {
            return Response::refusal(403);
        }
        let names =
            |field: &str, wanted: &str| request.list(field).any(|word| word.eq_ignore_ascii_case(wanted));
        if !names("upgrade", "websocket") || !names("connection", "upgrade") {
            return Response::refusal(426).with("Upgrade", "websocket").with("Connection", "Upgrade");
        }
        if request.field("sec-websocket-version") != Some("13") {
            return Response::refusal(426).with("Sec-WebSocket-Version", "13");
        }
        let key = request.field("sec-websocket-key").filter(|key| {
            let mut bytes = [0; 18];
            Base64::decode(key, &mut bytes).is_ok_and(|bytes| bytes.len() == 16)
        });
        let is_offered =
            |protocol: &&str| request.list("sec-websocket-protocol").any(|name| name == *protocol);
        let Some(protocol) = PROTOCOLS.into_iter().find(is_offered) else {
            return Response::text(400, "the sub-protocol mqtt is not offered\n");
        };
        match key {
            Some(key) if request.is_1_1 => Response::text(101, "")
                .with("Upgrade", "websocket")
                .with("Connection", "Upgrade")
                .with("Sec-WebSocket-Accept", accept(key))
                .with("Sec-WebSocket-Protocol", protocol),
            _ => Response::refusal(400),
        }
    }

    /// Browsers send the page's origin with every WebSocket and let nobody change it, so it tells a page that may use
    /// this broker from one that only found it.
    fn admits(&self, origin: Option<&str>, request: &Request<'_>, is_secure: bool) -> bool {
        match origin {
            _ if self.origins.iter().any(|own| own == "*") => true,
            None => self.origins.is_empty() && !request.has("origin"),
            Some(origin) if self.origins.is_empty() => {
                let page = origin.split_once("://").map(|(_, host)| without_port(host));
                let host = request.field("host").map(without_port);
                let is_same = |(page, host): (&str, &str)| page.eq_ignore_ascii_case(host);
                page.zip(host).is_some_and(is_same) && (is_secure || host.is_some_and(is_nobodys))
            }
            Some(origin) => self.origins.iter().any(|own| own.eq_ignore_ascii_case(origin)),
        }
    }
}

/// `host` of `host:port`, where an address of IPv6 stands in brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

/// Is it a host that no server of names is asked about? Whoever owns any other name can have it lead to this machine, once
/// the browser has their page: to the browser both are the same host. Over TLS the certificate would not have that name.
fn is_nobodys(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or(host);
    address.parse::<IpAddr>().is_ok() || last.eq_ignore_ascii_case("localhost")
}

/// What a key is answered with.
fn accept(key: &str) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    Base64::encode_string(&digest)
}

#[cfg(test)]
mod tests {
    use super::{WebSocketPolicy, accept};
    use crate::transport::http;

    const GOOD: &str = "GET /mqtt HTTP/1.1\r\nHost: broker.example:8080\r\nUpgrade: WebSocket\r\n\
                        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqttv3.1, mqtt\r\n\
                        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

    fn answer(head: &str, origins: &[&str], is_secure: bool) -> Vec<u8> {
        let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
        let policy = WebSocketPolicy { path: "/mqtt".to_owned(), origins, max_message: 1 << 20 };
        match http::parse(head.as_bytes()) {
            Ok(request) => policy.answer(&request, is_secure).bytes(),
            Err(refusal) => refusal.bytes(),
        }
    }

    fn status(head: &str, origins: &[&str]) -> u16 {
        status_of(&answer(head, origins, false))
    }

    fn status_of(answer: &[u8]) -> u16 {
        std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap()
    }

    #[test]
    fn the_key_of_the_standard_has_the_answer_of_the_standard() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    /// [MQTT-6.0.0-4], [3.1.1: MQTT-6.0.0-4]
    #[test]
    fn a_good_request_gets_mqtt_and_no_extension() {
        let text = |head: &str| String::from_utf8(answer(head, &[], false)).unwrap();
        assert_eq!(
            text(GOOD),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        let only_3_1 = GOOD.replace("mqttv3.1, mqtt", "mqttv3.1");
        assert!(text(&only_3_1).ends_with("\r\nSec-WebSocket-Protocol: mqttv3.1\r\n\r\n"));
    }

    /// [MQTT-6.0.0-3], [3.1.1: MQTT-6.0.0-3]
    #[test]
    fn every_part_of_the_handshake_is_needed() {
        for (part, instead, wanted) in [
            ("/mqtt", "/other", 404),
            ("HTTP/1.1", "HTTP/1.0", 400),
            ("Upgrade: WebSocket", "Upgrade: h2c", 426),
            ("keep-alive, Upgrade", "keep-alive", 426),
            ("Version: 13", "Version: 8", 426),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", 400),
            ("mqttv3.1, mqtt", "mqttv3.1", 101),
            ("mqttv3.1, mqtt", "MQTT, xmpp", 400),
            ("Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n", "", 400),
            ("Host: broker.example:8080\r\n", "", 400),
            ("GET", "POST", 405),
        ] {
            assert!(GOOD.contains(part));
            assert_eq!(status(&GOOD.replace(part, instead), &[]), wanted, "{part:?} as {instead:?}");
        }
    }

    #[test]
    fn pages_from_elsewhere_are_kept_out() {
        let list = &["https://app.example"][..];
        for (origin, origins, wanted) in [
            (None, &[][..], 101),
            (Some("https://evil.example"), &[], 403),
            (Some("https://broker.example.evil.example"), &[], 403),
            (Some("null"), &[], 403),
            (Some("https://app.example"), list, 101),
            (Some("https://broker.example"), list, 403),
            (Some("https://app.example:444"), list, 403),
            (None, list, 403),
            (None, &["*"], 101),
            (Some("https://evil.example"), &["*"], 101),
        ] {
            let field = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
            let head = GOOD.replace("Upgrade: WebSocket\r\n", &format!("Upgrade: WebSocket\r\n{field}"));
            assert_eq!(status(&head, origins), wanted, "{origin:?} of {origins:?}");
        }
    }

    #[test]
    fn a_name_that_somebody_owns_is_the_brokers_own_only_over_tls() {
        for (host, origin, plain, secure) in [
            ("broker.example:8080", "http://broker.example", 403, 101),
            ("broker.example:8084", "https://BROKER.example:3000", 403, 101),
            ("localhost:8080", "http://localhost:3000", 101, 101),
            ("app.localhost", "http://app.localhost", 101, 101),
            ("127.0.0.1:8080", "http://127.0.0.1", 101, 101),
            ("[::1]:8080", "http://[::1]:3000", 101, 101),
            ("localhost.evil.example", "http://localhost.evil.example", 403, 101),
            ("127.0.0.1.evil.example", "http://127.0.0.1.evil.example", 403, 101),
            ("127.0.0.1", "http://evil.example", 403, 403),
        ] {
            let head =
                GOOD.replace("Host: broker.example:8080", &format!("Host: {host}\r\nOrigin: {origin}"));
            let statuses = [false, true].map(|is_secure| status_of(&answer(&head, &[], is_secure)));
            assert_eq!(statuses, [plain, secure], "{origin} at {host}");
        }
        let twice = "Upgrade: WebSocket\r\nOrigin: http://broker.example\r\nOrigin: http://evil.example\r\n";
        assert_eq!(status(&GOOD.replace("Upgrade: WebSocket\r\n", twice), &[]), 403);
    }
}
