//! Hooks that are asked about messages, and about the end of subscriptions.

use super::{Decides, NOW, connect, driver, suback, take};
use broker_engine::mqtt_proto::ReasonCode;
use broker_engine::{Answer, ApplicationMessage, Authenticate, CloseCause, ConnId, Interest};
use metronome_host::{AllowAll, Client, Decision, Driver, Hook, HookChain, Responder};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

/// Puts its letter behind the payload, or does something else with messages of that payload.
struct Letter(char, Option<(&'static str, Decides)>);

impl Hook for Letter {
    fn authenticate(&mut self, _: &Client, _: &Authenticate) -> Decision {
        Decision::allow()
    }

    fn publish(&mut self, client: &Client, message: &ApplicationMessage) -> Decision {
        assert_eq!((&*client.client_id, client.username.as_deref()), ("c", Some("user")));
        if let Some((payload, decision)) = self.1
            && message.payload == payload.as_bytes()
        {
            return decision();
        }
        let payload = format!("{}{}", String::from_utf8_lossy(&message.payload), self.0);
        Answer::Replace(Box::new(ApplicationMessage { payload: payload.into(), ..message.clone() })).into()
    }
}

/// Publishes at QoS 1 to `t`, and returns the payload that came back, and the reason of the PUBACK.
fn publish(driver: &mut Driver, conn: ConnId, payload: &str) -> (String, u8) {
    let publish =
        [&[0x32, u8::try_from(6 + payload.len()).unwrap(), 0, 1, b't', 0, 1, 0], payload.as_bytes()];
    driver.received(NOW, conn, &publish.concat());
    let bytes = take(driver, conn);
    let (echo, ack) = match bytes.iter().position(|byte| *byte == 0x40) {
        Some(0) => (&[][..], &bytes[..]),
        at => bytes.split_at(at.expect("PUBACK")),
    };
    let code = if ack[1] == 2 { 0 } else { ack[4] };
    (echo.get(6..).map(|payload| String::from_utf8_lossy(payload).into_owned()).unwrap_or_default(), code)
}

#[test]
fn a_message_goes_through_all_hooks() {
    let first = Letter('1', Some(("drop", || Answer::Discard.into())));
    let second = Letter('2', Some(("no1", || Decision::deny(ReasonCode::QuotaExceeded))));
    let mut driver = driver(HookChain::from(first).and(AllowAll).and(second));
    let conn = connect(&mut driver, "c", None);
    take(&mut driver, conn);
    assert_eq!(suback(&mut driver, conn, b"t"), [2]);
    // Every subscriber is at QoS 2, so the echo is a PUBLISH of QoS 1 with a packet identifier.
    let (echo, code) = publish(&mut driver, conn, "x");
    assert_eq!((echo.trim_start_matches(|c: char| !c.is_ascii_lowercase()), code), ("x12", 0));
    assert_eq!(publish(&mut driver, conn, "drop"), (String::new(), 0));
    assert_eq!(publish(&mut driver, conn, "no"), (String::new(), 0x97));
}

/// Takes its time with every message.
struct Slow(Arc<Mutex<Vec<Responder>>>);

impl Hook for Slow {
    fn authenticate(&mut self, _: &Client, _: &Authenticate) -> Decision {
        Decision::allow()
    }

    fn publish(&mut self, _: &Client, _: &ApplicationMessage) -> Decision {
        let open = Arc::clone(&self.0);
        Decision::later(move |responder| open.lock().unwrap().push(responder))
    }
}

/// Who publishes at QoS 0 and is gone before the hook has answered, has published.
#[test]
fn a_late_answer_about_a_message_counts_also_when_its_client_is_gone() {
    let open = Arc::default();
    let mut driver = driver(Slow(Arc::clone(&open)));
    let listener = connect(&mut driver, "l", None);
    take(&mut driver, listener);
    assert_eq!(suback(&mut driver, listener, b"t"), [2]);
    let conn = connect(&mut driver, "c", None);
    driver.received(NOW, conn, &[0x30, 5, 0, 1, b't', 0, b'x']);
    driver.received(NOW, conn, &[0xe0, 0]);
    driver.closed(NOW, conn, CloseCause::PeerClosed);
    driver.release(conn);
    for responder in open.lock().unwrap().drain(..) {
        responder.answer(Answer::Allow);
    }
    assert!(driver.poll_hooks(NOW, &Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(take(&mut driver, listener), [0x30, 5, 0, 1, b't', 0, b'x']);
}

/// Wants to be asked about one kind of packet only, and says this.
struct Only(Interest, fn() -> Answer);

impl Hook for Only {
    fn interest(&self) -> Interest {
        self.0
    }

    fn authenticate(&mut self, _: &Client, _: &Authenticate) -> Decision {
        Decision::allow()
    }

    fn unsubscribe(&mut self, client: &Client, filters: &[String]) -> Decision {
        assert_eq!(
            (client.username.as_deref(), filters),
            (Some("user"), &["a".to_owned(), "b".to_owned()][..])
        );
        (self.1)().into()
    }

    fn publish(&mut self, client: &Client, _: &ApplicationMessage) -> Decision {
        assert_eq!(client.username.as_deref(), Some("user"));
        (self.1)().into()
    }
}

#[test]
fn who_wants_to_be_asked_about_messages_alone_is() {
    let mut driver = driver(Only(Interest::PUBLISH, || Answer::Allow));
    let conn = connect(&mut driver, "c", None);
    take(&mut driver, conn);
    assert_eq!(suback(&mut driver, conn, b"t"), [2]);
    assert_eq!(publish(&mut driver, conn, "x").1, 0);
}

#[test]
fn a_subscription_ends_if_all_agree() {
    let first: fn() -> Answer = || Answer::Filters(vec![ReasonCode::Success, ReasonCode::UnspecifiedError]);
    for (second, wanted) in [
        ((|| Answer::Allow) as fn() -> Answer, [0, 0x80]),
        (|| Answer::Filters(vec![ReasonCode::NotAuthorized]), [0x87, 0x80]),
        (|| Answer::Deny(ReasonCode::NotAuthorized), [0x87, 0x87]),
    ] {
        let hooks = HookChain::from(Only(Interest::UNSUBSCRIBE, first))
            .and(AllowAll)
            .and(Only(Interest::UNSUBSCRIBE, second));
        let mut driver = driver(hooks);
        let conn = connect(&mut driver, "c", None);
        take(&mut driver, conn);
        assert_eq!(suback(&mut driver, conn, b"ab"), [2, 2]);
        driver.received(NOW, conn, b"\xa2\x09\0\x01\0\0\x01a\0\x01b");
        assert_eq!(take(&mut driver, conn)[5..], wanted);
    }
}
