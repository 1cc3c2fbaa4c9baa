//! Hooks: what becomes of their answers, one behind the other, late, or never.
//!
//! Here are questions about clients and their subscriptions; `messages` has those about messages, `packets` who
//! looks at packets.

#[path = "hooks/messages.rs"]
mod messages;
#[path = "hooks/packets.rs"]
mod packets;

use broker_engine::mqtt_proto::{ReasonCode, SubscribeOptions};
use broker_engine::{
    Answer, Authenticate, CloseCause, Command, Config, ConnId, Engine, HashKey, Interest, ListenerId, Note,
    Question, Seed, Time,
};
use metronome_host::config::listeners::{MetricNames, Transport};
use metronome_host::transport::Page;
use metronome_host::{AllowAll, Client, Commands, Decision, Driver, Hook, HookChain, Responder};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const NOW: Time = Time::from_secs(1);

fn driver(hooks: impl Into<HookChain>) -> Driver {
    let hooks = hooks.into();
    let config = Config { interest: hooks.interest(), ..Config::default() };
    Driver::new(Engine::new(config, Seed(1), HashKey([1, 2])), hooks)
}

/// Sends a CONNECT of MQTT 5 from `user`, with an authentication method where one is given.
fn connect(driver: &mut Driver, name: &str, method: Option<&str>) -> ConnId {
    connect_at(driver, ListenerId(3), name, method)
}

fn connect_at(driver: &mut Driver, listener: ListenerId, name: &str, method: Option<&str>) -> ConnId {
    let text = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
    let properties = method.map(|method| [&[0x15], &text(method)[..]].concat()).unwrap_or_default();
    let length = [u8::try_from(properties.len()).unwrap()];
    let fixed = b"\0\x04MQTT\x05\x82\0\0";
    let body = [&fixed[..], &length, &properties, &text(name), &text("user")].concat();
    let conn = driver.open(NOW, listener, "192.0.2.7:4711".parse().ok());
    driver.received(NOW, conn, &[&[0x10, u8::try_from(body.len()).unwrap()], &body[..]].concat());
    conn
}

/// Reason code of the CONNACK that has come, if one has.
fn connack(driver: &mut Driver, conn: ConnId) -> Option<u8> {
    let bytes = take(driver, conn);
    bytes.first().map(|first| {
        assert_eq!(*first, 0x20, "{bytes:02x?}");
        bytes[3]
    })
}

/// Reason codes of the SUBACK for these topic filters, each of one letter, asked for at QoS 2.
fn suback(driver: &mut Driver, conn: ConnId, filters: &[u8]) -> Vec<u8> {
    let list: Vec<u8> = filters.iter().flat_map(|&filter| [0, 1, filter, 2]).collect();
    driver.received(
        NOW,
        conn,
        &[&[0x82, u8::try_from(list.len() + 3).unwrap(), 0, 1, 0], &list[..]].concat(),
    );
    let bytes = take(driver, conn);
    if bytes.is_empty() { bytes } else { bytes[5..].to_vec() }
}

fn take(driver: &mut Driver, conn: ConnId) -> Vec<u8> {
    let mut bytes = Vec::new();
    driver.flush(NOW, conn, |slices| {
        bytes.extend(slices.iter().flat_map(|slice| slice.iter()));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    });
    bytes
}

type Decides = fn() -> Decision;

/// Says the same to everything, and counts how often it was asked.
#[derive(Clone)]
struct Says(Decides, Arc<AtomicU32>);

impl Says {
    fn new(decision: Decides) -> Self {
        Self(decision, Arc::default())
    }

    fn asked(&self) -> u32 {
        self.1.load(Ordering::Relaxed)
    }
}

impl Hook for Says {
    fn answer(&mut self, _: &Client, _: &Question) -> Decision {
        self.1.fetch_add(1, Ordering::Relaxed);
        (self.0)()
    }
}

const NOT_MINE: Decides = || Decision::NotMine;
const ALLOW: Decides = Decision::allow;
const BANNED: Decides = || Decision::deny(ReasonCode::Banned);
const PANIC: Decides = || panic!("this is the test's panic");

#[test]
fn the_first_that_says_something_decides_who_is_let_in() {
    // Hooks, authentication method, reason code, and how often each hook is asked.
    type Case = (&'static [Decides], Option<&'static str>, u8, &'static [u32]);
    let cases: [Case; 6] = [
        (&[], None, 0x87, &[]),
        (&[NOT_MINE, NOT_MINE], None, 0x87, &[1, 1]),
        (&[NOT_MINE], Some("m"), 0x8c, &[1]),
        (&[NOT_MINE, ALLOW, BANNED], None, 0, &[1, 1, 0]),
        (&[BANNED, ALLOW], None, 0x8a, &[1, 0]),
        (&[PANIC, ALLOW], None, 0x87, &[1, 0]),
    ];
    for (hooks, method, code, asked) in cases {
        let hooks: Vec<Says> = hooks.iter().map(|&decision| Says::new(decision)).collect();
        let mut driver = driver(hooks.iter().cloned().fold(HookChain::default(), HookChain::and));
        let conn = connect(&mut driver, "c", method);
        assert_eq!(connack(&mut driver, conn), Some(code));
        assert_eq!(hooks.iter().map(Says::asked).collect::<Vec<_>>(), asked);
    }
}

#[test]
fn who_allows_all_leaves_authentication_methods_to_others() {
    let mut all = driver(AllowAll);
    for (method, code) in [(None, 0), (Some("m"), 0x8c)] {
        let conn = connect(&mut all, "c", method);
        assert_eq!(connack(&mut all, conn), Some(code));
    }
    let with_method = Says::new(|| Answer::AllowWith(Vec::new()).into());
    let mut both = driver(HookChain::from(AllowAll).and(with_method));
    let conn = connect(&mut both, "c", Some("m"));
    assert_eq!(connack(&mut both, conn), Some(0));
}

/// Has a verdict for each topic filter of a SUBSCRIBE.
struct Verdicts(Decides);

impl Hook for Verdicts {
    fn subscribe(&mut self, _: &Client, _: &[(String, SubscribeOptions)]) -> Decision {
        (self.0)()
    }
}

#[test]
fn a_topic_filter_is_granted_as_far_as_all_grant_it() {
    use ReasonCode::{Banned, GrantedQoS1, GrantedQoS2, NotAuthorized, QuotaExceeded, Success};
    let cases: [(&[Decides], [u8; 3]); 7] = [
        (&[], [2, 2, 2]),
        (&[NOT_MINE, ALLOW], [2, 2, 2]),
        (&[|| Answer::Filters(vec![Success, GrantedQoS1, NotAuthorized]).into(), ALLOW], [2, 1, 0x87]),
        (
            &[
                || Answer::Filters(vec![Success, GrantedQoS1, QuotaExceeded]).into(),
                || Answer::Filters(vec![GrantedQoS1, GrantedQoS2, Success]).into(),
            ],
            [1, 1, 0x97],
        ),
        // Whoever refuses first says why, and what is left out is refused.
        (
            &[
                || Answer::Filters(vec![QuotaExceeded]).into(),
                || Answer::Filters(vec![Banned, Success, Success]).into(),
            ],
            [0x97, 0x87, 0x87],
        ),
        // SUBACK has no code for it.
        (&[ALLOW, BANNED, ALLOW], [0x80, 0x80, 0x80]),
        (&[ALLOW, PANIC], [0x87, 0x87, 0x87]),
    ];
    for (hooks, codes) in cases {
        let hooks = hooks.iter().fold(HookChain::from(AllowAll), |chain, &says| chain.and(Verdicts(says)));
        let mut driver = driver(hooks);
        let conn = connect(&mut driver, "c", None);
        assert_eq!(connack(&mut driver, conn), Some(0));
        assert_eq!(suback(&mut driver, conn, b"abc"), codes);
    }
}

/// Keeps what it must answer.
#[derive(Clone, Default)]
struct Later(Arc<Mutex<Vec<Responder>>>);

impl Later {
    fn responder(&self) -> Responder {
        self.0.lock().unwrap().remove(0)
    }
}

impl Hook for Later {
    fn answer(&mut self, _: &Client, _: &Question) -> Decision {
        let kept = Arc::clone(&self.0);
        Decision::later(move |responder| kept.lock().unwrap().push(responder))
    }
}

#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Has the driver take up answers until there are none.
fn take_up(driver: &mut Driver) {
    while driver.poll_hooks(NOW, &Context::from_waker(Waker::noop())).is_ready() {}
}

#[test]
fn a_later_answer_wakes_the_broker_and_others_go_on_meanwhile() {
    let later = Later::default();
    let mut driver = driver(later.clone());
    let (one, two) = (connect(&mut driver, "one", None), connect(&mut driver, "two", None));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let poll = |driver: &mut Driver| driver.poll_hooks(NOW, &Context::from_waker(&waker));
    assert_eq!(poll(&mut driver), Poll::Pending);

    let (of_one, of_two) = (later.responder(), later.responder());
    std::thread::spawn(move || of_two.answer(Answer::Allow)).join().unwrap();
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert_eq!(poll(&mut driver), Poll::Ready(()));
    assert_eq!((connack(&mut driver, one), connack(&mut driver, two)), (None, Some(0)));
    assert_eq!(poll(&mut driver), Poll::Pending);
    of_one.answer(Decision::deny(ReasonCode::Banned));
    assert_eq!(poll(&mut driver), Poll::Ready(()));
    assert_eq!(connack(&mut driver, one), Some(0x8a));

    // The same again for a SUBSCRIBE.
    assert_eq!(suback(&mut driver, two, b"a"), Vec::<u8>::new());
    later.responder().answer(Answer::Filters(vec![ReasonCode::GrantedQoS1]));
    take_up(&mut driver);
    assert_eq!(take(&mut driver, two).last(), Some(&1));
}

#[test]
fn hooks_further_on_are_asked_when_a_later_answer_has_come() {
    let (later, behind) = (Later::default(), Says::new(BANNED));
    let mut driver = driver(HookChain::from(later.clone()).and(later.clone()).and(behind.clone()));
    let conn = connect(&mut driver, "c", None);
    for _ in 0..2 {
        assert_eq!(behind.asked(), 0);
        later.responder().answer(Decision::NotMine);
        take_up(&mut driver);
    }
    assert_eq!((behind.asked(), connack(&mut driver, conn)), (1, Some(0x8a)));
}

#[test]
fn who_cannot_answer_any_more_denies() {
    let later = Later::default();
    let mut driver = driver(later.clone());
    let conn = connect(&mut driver, "c", None);
    drop(later.responder());
    take_up(&mut driver);
    assert_eq!(connack(&mut driver, conn), Some(0x87));

    let mut panics = self::driver(Says::new(|| Decision::later(|_| panic!("this is the test's panic"))));
    let conn = connect(&mut panics, "c", None);
    take_up(&mut panics);
    assert_eq!(connack(&mut panics, conn), Some(0x87));
}

#[test]
fn an_answer_behind_the_time_limit_or_the_client_comes_to_nothing() {
    let later = Later::default();
    let mut driver = driver(later.clone());
    let (slow, gone) = (connect(&mut driver, "slow", None), connect(&mut driver, "gone", None));
    driver.closed(NOW, gone, CloseCause::PeerClosed);
    driver.release(gone);
    driver.tick(NOW.after(Duration::from_secs(5)));
    assert_eq!((connack(&mut driver, slow), driver.view().counters().hook_timeouts), (Some(0x87), 1));
    later.responder().answer(Answer::Allow);
    later.responder().answer(Answer::Allow);
    take_up(&mut driver);
    assert_eq!((take(&mut driver, slow), driver.view().connections()), (Vec::new(), 0));
    assert_eq!(driver.view().counters().late_replies, 1, "of who is gone nothing is known");
}

/// Writes down whom it is asked about, and what it hears.
#[derive(Clone, Default)]
struct Listening(Arc<Mutex<Vec<String>>>, bool);

impl Hook for Listening {
    fn interest(&self) -> Interest {
        if self.1 { Interest::SUBSCRIBE | Interest::CLIENTS } else { Interest::NONE }
    }

    fn authenticate(&mut self, client: &Client, _: &Authenticate) -> Decision {
        self.0.lock().unwrap().push(format!("{:?} {:?}", client.client_id, client.username));
        Decision::allow()
    }

    fn subscribe(&mut self, client: &Client, _: &[(String, SubscribeOptions)]) -> Decision {
        let Client { client_id, username, listener, peer, .. } = client;
        self.0.lock().unwrap().push(format!("{client_id:?} {username:?} {listener:?} {peer:?}"));
        Decision::allow()
    }

    fn note(&mut self, note: &Note, _: Option<SocketAddr>) {
        if let Note::Connected { client_id, .. } = note {
            self.0.lock().unwrap().push(format!("{client_id:?} came"));
        }
    }
}

#[test]
fn a_hook_hears_what_it_wants_and_knows_the_client() {
    let heard = Listening(Arc::default(), true);
    let deaf = Listening(Arc::default(), false);
    let mut driver = driver(HookChain::from(heard.clone()).and(deaf.clone()));
    let conn = connect(&mut driver, "", None);
    assert_eq!(connack(&mut driver, conn), Some(0));
    assert_eq!(suback(&mut driver, conn, b"a"), [2]);
    let name = driver.view().each_session().next().unwrap().client_id().to_owned();
    let wanted = [
        "\"\" Some(\"user\")".to_owned(),
        format!("{name:?} came"),
        format!("{name:?} Some(\"user\") ListenerId(3) Some(192.0.2.7:4711)"),
    ];
    assert_eq!(*heard.0.lock().unwrap(), wanted);
    // The other one was asked about nothing: authentication was decided before it.
    assert_eq!(*deaf.0.lock().unwrap(), Vec::<String>::new());
}

#[test]
fn a_hook_for_some_listeners_has_to_do_with_no_others() {
    let (inside, outside, elsewhere) = (ListenerId(0), ListenerId(1), ListenerId(2));
    let inner = Listening(Arc::default(), true);
    let hooks = HookChain::default()
        .and_for(vec![outside], Says::new(BANNED))
        .and_for(vec![inside], inner.clone())
        .and_for(vec![inside], Verdicts(|| Answer::Filters(vec![ReasonCode::QuotaExceeded]).into()))
        .and_for(vec![outside], Listening(Arc::default(), true))
        .and_for(vec![elsewhere], Says::new(ALLOW));
    let mut driver = driver(hooks);
    for (listener, wanted) in [(inside, 0), (outside, 0x8a), (elsewhere, 0), (ListenerId(3), 0x87)] {
        let conn = connect_at(&mut driver, listener, &format!("at-{}", listener.0), None);
        assert_eq!(connack(&mut driver, conn), Some(wanted), "{listener:?}");
        if wanted == 0 {
            // Who is of another listener is not asked, and so says nothing against it.
            let granted = if listener == inside { 0x97 } else { 2 };
            assert_eq!(suback(&mut driver, conn, b"t"), [granted], "{listener:?}");
        }
    }
    let heard = inner.0.lock().unwrap();
    assert_eq!(heard.len(), 3, "{heard:?}");
    assert!(heard.iter().all(|line| line.starts_with("\"at-0\"")), "{heard:?}");
}

/// Keeps whom it lets in.
struct LetsIn(Arc<Mutex<Vec<Client>>>);

impl Hook for LetsIn {
    fn authenticate(&mut self, client: &Client, _: &Authenticate) -> Decision {
        self.0.lock().unwrap().push(client.clone());
        Decision::allow()
    }
}

#[test]
fn hooks_and_figures_know_listener_and_transport() {
    let let_in = Arc::default();
    let hooks = HookChain::from(LetsIn(Arc::clone(&let_in)));
    let mut driver = driver(hooks.with_listeners(["inside".to_owned(), "out\"side".to_owned()]));
    let arrivals = [(1, Transport::Wss), (0, Transport::Tcp), (1, Transport::Unix), (1, Transport::Wss)];
    let conns = (b'a'..).zip(arrivals).map(|(name, (listener, transport))| {
        let conn = driver.open(NOW, ListenerId(listener), None);
        driver.came_over(conn, transport);
        driver.received(NOW, conn, &[&b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01"[..], &[name]].concat());
        conn
    });
    let conns: Vec<ConnId> = conns.collect();
    // Nobody knows yet whether it is a client.
    driver.open(NOW, ListenerId(0), None);
    for (client, (listener, transport)) in let_in.lock().unwrap().iter().zip(arrivals) {
        let name = ["inside", "out\"side"][usize::from(listener)];
        assert_eq!((&*client.listener_name, client.transport), (name, transport));
    }
    let figures = |driver: &Driver| {
        let page = driver.page(Page::Metrics(MetricNames::Metronome), NOW, 0);
        let lines = page.body.lines().filter_map(|line| line.strip_prefix("metronome_listener_clients"));
        lines.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let wanted = |counts: [u8; 3]| {
        let names = [("inside", "tcp"), (r#"out\"side"#, "wss"), (r#"out\"side"#, "unix")];
        names
            .iter()
            .zip(counts)
            .map(|((listener, transport), count)| {
                format!("{{listener=\"{listener}\",transport=\"{transport}\"}} {count}")
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(figures(&driver), wanted([1, 2, 1]));
    for conn in conns {
        driver.closed(NOW, conn, CloseCause::PeerClosed);
        driver.release(conn);
    }
    assert_eq!(figures(&driver), wanted([0, 0, 0]));
}

#[test]
fn who_finds_out_the_name_of_a_client_tells_the_others() {
    let heard = Listening(Arc::default(), true);
    let finds = Says::new(|| Decision::named("bob", Answer::Allow));
    let mut driver = driver(HookChain::from(finds).and(heard.clone()));
    let conn = connect(&mut driver, "c", None);
    assert_eq!(connack(&mut driver, conn), Some(0));
    suback(&mut driver, conn, b"a");
    let heard = heard.0.lock().unwrap();
    assert!(heard.iter().any(|line| line.starts_with("\"c\" Some(\"bob\") ")), "{heard:?}");
}

#[test]
fn panics_are_told_with_the_hook_and_its_words() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let hooks = HookChain::from(Says::new(PANIC));
    let mut driver = driver(hooks.on_panic(move |panic| tell.lock().unwrap().push(panic.clone())));
    connect(&mut driver, "c", None);
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert!(told[0].hook.ends_with("Says") && told[0].message == "this is the test's panic", "{told:?}");
}

/// Disconnects whoever subscribes, from inside its answer.
#[derive(Default)]
struct Bouncer(Commands);

impl Hook for Bouncer {
    fn joined(&mut self, commands: Commands) {
        self.0 = commands;
    }

    fn authenticate(&mut self, _: &Client, _: &Authenticate) -> Decision {
        Decision::allow()
    }

    fn subscribe(&mut self, client: &Client, _: &[(String, SubscribeOptions)]) -> Decision {
        let (client_id, reason) = (client.client_id.clone(), ReasonCode::AdministrativeAction);
        self.0.send(Command::Disconnect { client_id, reason, end_session: true });
        Decision::allow()
    }
}

#[test]
fn a_hook_can_have_the_broker_do_something_from_inside_its_answer() {
    let mut driver = driver(Bouncer::default());
    let conn = connect(&mut driver, "c", None);
    take(&mut driver, conn);
    assert_eq!(suback(&mut driver, conn, b"t"), [2], "the answer comes first");
    assert!(driver.poll_hooks(NOW, &Context::from_waker(Waker::noop())).is_ready());
    assert!(driver.is_closing(conn));
    let goodbye = take(&mut driver, conn);
    assert_eq!((goodbye[0], goodbye[2]), (0xe0, 0x98));
}

/// Finds out whose client it is: the user of its password.
struct ByPassword;

impl Hook for ByPassword {
    fn authenticate(&mut self, _: &Client, connect: &Authenticate) -> Decision {
        let password = connect.password.as_deref().and_then(|password| str::from_utf8(password).ok());
        password.map_or(Decision::NotMine, |name| Decision::named(name, Answer::Allow))
    }
}

/// A session belongs to the user that a hook has found out, not to the one that CONNECT names.
#[test]
fn a_session_is_bound_to_the_user_who_was_found_out() {
    let hooks = HookChain::from(ByPassword);
    let config = Config { interest: hooks.interest(), bind_session_to_user: true, ..Config::default() };
    let mut driver = Driver::new(Engine::new(config.clone(), Seed(1), HashKey([1, 2])), hooks);
    for (name, code) in [("ann", 0), ("bob", 0x87), ("ann", 0)] {
        let conn = driver.open(NOW, ListenerId(0), None);
        let password = [&[0, 3], name.as_bytes()].concat();
        // A password without a user name, which only MQTT 5 has; the session lasts.
        let head = b"\x10\x1a\0\x04MQTT\x05\x40\0\0\x05\x11\0\0\0\x09\0\x01c";
        let body = [&head[..], &password].concat();
        let length = u8::try_from(body.len() - 2).unwrap();
        driver.received(NOW, conn, &[&[0x10, length], &body[2..]].concat());
        assert_eq!(take(&mut driver, conn)[3], code, "{name}");
    }
    // The same by certificates, whatever CONNECT says.
    let mut driver = Driver::new(Engine::new(config, Seed(1), HashKey([1, 2])), AllowAll);
    for (name, code) in [("ann", 0), ("bob", 0x87), ("ann", 0)] {
        let conn = driver.open(NOW, ListenerId(0), None);
        driver.identify(conn, name);
        driver.received(NOW, conn, b"\x10\x13\0\x04MQTT\x05\0\0\0\x05\x11\0\0\0\x09\0\x01c");
        assert_eq!(take(&mut driver, conn)[3], code, "{name}");
    }
}
