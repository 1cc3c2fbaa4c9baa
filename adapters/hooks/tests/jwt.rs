//! Tokens: whom they let in and whom not, what their holders may, and what becomes of those when a token is over.

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use metronome_hooks::{AccessControl, Jwt, JwtKeys, RuleFiles, Source};
use metronome_host::config::{JwtAlgorithm, JwtConfig, JwtPlace};
use metronome_host::engine::{Config, ConnId, Engine, HashKey, ListenerId, Seed, Time};
use metronome_host::{Driver, HookChain};
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair, PublicKeyComponents};
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding};
use ring::{hmac, pkcs8};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, io};

const NOW: Time = Time::from_secs(1);
const SECRET: &[u8] = b"a secret of more bytes than the longest hash: sixty-four and some";

fn base64(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token with this header, signed by `sign`.
fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed =
        format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", base64(&signature))
}

fn hs256(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    move |signed| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed).as_ref().to_vec()
}

/// One of HS256, good for a minute, with these claims beside `sub` and `exp`.
fn good(claims: &Value) -> String {
    let mut all = json!({"sub": "u", "exp": seconds() + 60});
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    token(&json!({"alg": "HS256"}), &all, hs256(SECRET))
}

/// A file of its own for each test, in a folder beside those of other tests.
fn file(name: &str, content: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jwt");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path
}

struct World {
    driver: Driver,
    refusals: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn with_rules(config: JwtConfig, keys: &JwtKeys, rules: Option<&RuleFiles>) -> Self {
        let refusals = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&refusals);
        let on_refusal = move |_: &_, problem: &str| tell.lock().unwrap().push(problem.to_owned());
        let mut hooks =
            HookChain::from(Jwt::new(config, keys, rules.map(RuleFiles::rules), on_refusal).unwrap());
        if let Some(rules) = rules {
            hooks = hooks.and(AccessControl::new(rules.rules(), false).unwrap());
        }
        let config = Config { interest: hooks.interest(), ..Config::default() };
        Self { driver: Driver::new(Engine::new(config, Seed(1), HashKey([1, 2])), hooks), refusals }
    }

    /// With the secret above.
    fn new(config: JwtConfig, name: &str) -> Self {
        Self::with_rules(config, &JwtKeys::load(&file(name, SECRET)).unwrap(), None)
    }

    /// Connects as client `c` with MQTT 5, and these properties, user name and password; returns the reason code.
    fn connect_with(
        &mut self,
        properties: &[u8],
        username: Option<&str>,
        password: Option<&str>,
    ) -> (ConnId, u8) {
        let flags = 2 | u8::from(username.is_some()) << 7 | u8::from(password.is_some()) << 6;
        let texts = username.into_iter().chain(password).flat_map(text);
        let fixed = [b"\0\x04MQTT\x05", &[flags, 0, 0][..], &length(properties), properties, &text("c")];
        let body: Vec<u8> = fixed.concat().into_iter().chain(texts).collect();
        let conn = self.driver.open(NOW, ListenerId(0), None);
        self.driver.received(NOW, conn, &[&[0x10][..], &length(&body), &body].concat());
        (conn, self.wait(conn)[3])
    }

    fn connect(&mut self, token: &str) -> (ConnId, u8) {
        self.connect_with(&[], None, Some(token))
    }

    /// What comes next for a client.
    fn wait(&mut self, conn: ConnId) -> Vec<u8> {
        let began = Instant::now();
        loop {
            let bytes = self.taken(conn);
            if !bytes.is_empty() {
                return bytes;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "no answer");
            if self.driver.poll_hooks(NOW, &Context::from_waker(Waker::noop())).is_pending() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn taken(&mut self, conn: ConnId) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.driver.flush(NOW, conn, |slices| -> io::Result<usize> {
            bytes.extend(slices.iter().flat_map(|slice| slice.iter()));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
        bytes
    }

    /// Reason codes for a message to a topic, and for a subscription to it.
    fn may(&mut self, conn: ConnId, topic: &str) -> (u8, u8) {
        let body = [&text(topic)[..], &[0, 7, 0]].concat();
        self.driver.received(NOW, conn, &[&[0x32][..], &length(&body), &body].concat());
        let puback = self.wait(conn);
        let body = [&[0, 8, 0], &text(topic)[..], &[0]].concat();
        self.driver.received(NOW, conn, &[&[0x82][..], &length(&body), &body].concat());
        let suback = self.wait(conn);
        (puback.get(4).copied().unwrap_or(0), suback[5])
    }

    fn refusal(&self) -> String {
        self.refusals.lock().unwrap().pop().unwrap_or_default()
    }
}

fn text(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
}

/// The length of this as a variable byte integer.
fn length(body: &[u8]) -> Vec<u8> {
    let (low, high) = (body.len() % 128, body.len() / 128);
    let byte = |number: usize| u8::try_from(number).unwrap();
    if high == 0 { vec![byte(low)] } else { vec![byte(low) | 0x80, byte(high)] }
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", Base64::encode_string(der))
}

/// A SubjectPublicKeyInfo of a key that stands at its end.
fn info(head: &str, key: &[u8]) -> Vec<u8> {
    let head = (0..head.len()).step_by(2).map(|at| u8::from_str_radix(&head[at..at + 2], 16).unwrap());
    head.chain(key.iter().copied()).collect()
}

const P256: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
const P384: &str = "3076301006072a8648ce3d020106052b81040022036200";
const ED25519: &str = "302a300506032b6570032100";

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// Every algorithm: its name, who signs with it, and the file that the broker has of that.
fn algorithms() -> Vec<(&'static str, Sign, Vec<u8>)> {
    let random = SystemRandom::new();
    let mut all: Vec<(&str, Sign, Vec<u8>)> = Vec::new();
    for (name, kind) in
        [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
    {
        let key = hmac::Key::new(kind, SECRET);
        all.push((name, Box::new(move |signed| hmac::sign(&key, signed).as_ref().to_vec()), SECRET.to_vec()));
    }
    let kinds: [(_, &'static dyn RsaEncoding); 6] = [
        ("RS256", &signature::RSA_PKCS1_SHA256),
        ("RS384", &signature::RSA_PKCS1_SHA384),
        ("RS512", &signature::RSA_PKCS1_SHA512),
        ("PS256", &signature::RSA_PSS_SHA256),
        ("PS384", &signature::RSA_PSS_SHA384),
        ("PS512", &signature::RSA_PSS_SHA512),
    ];
    for (name, kind) in kinds {
        let sign = move |signed: &[u8]| {
            let (key, random) = (rsa(), SystemRandom::new());
            let mut signature = vec![0; key.public().modulus_len()];
            key.sign(kind, &random, signed, &mut signature).unwrap();
            signature
        };
        all.push((name, Box::new(sign), include_bytes!("keys/rsa-public.pem").to_vec()));
    }
    for (name, kind, head) in [
        ("ES256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING, P256),
        ("ES384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING, P384),
    ] {
        let document = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(kind, document.as_ref(), &random).unwrap();
        let public = pem(&info(head, key.public_key().as_ref()));
        let sign = move |signed: &[u8]| key.sign(&SystemRandom::new(), signed).unwrap().as_ref().to_vec();
        all.push((name, Box::new(sign), public.into_bytes()));
    }
    let document: pkcs8::Document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let key = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let public = pem(&info(ED25519, key.public_key().as_ref()));
    all.push(("EdDSA", Box::new(move |signed| key.sign(signed).as_ref().to_vec()), public.into_bytes()));
    all
}

/// A key that is for nothing but these tests.
fn rsa() -> KeyPair {
    let lines = include_str!("keys/rsa.pem").lines().filter(|line| !line.starts_with('-'));
    KeyPair::from_pkcs8(&Base64::decode_vec(&lines.collect::<String>()).unwrap()).unwrap()
}

#[test]
fn a_token_of_every_algorithm_lets_in_by_its_own_key_and_no_other() {
    let all = algorithms();
    let claims = json!({"sub": "u", "exp": seconds() + 60});
    let tokens = all.iter().map(|(name, sign, _)| (*name, token(&json!({"alg": name}), &claims, sign)));
    let tokens: Vec<_> = tokens.collect();
    for (name, _, key) in &all {
        let keys = JwtKeys::load(&file(&format!("algorithm-{name}"), key)).unwrap();
        let mut world = World::with_rules(JwtConfig::default(), &keys, None);
        for (other, token) in &tokens {
            // RSA and HMAC keys are good for three or six.
            let same = all.iter().any(|(named, _, file)| named == other && file == key);
            assert_eq!(world.connect(token).1 == 0, same, "{other} by a key of {name}");
        }
    }
}

#[test]
fn a_set_of_keys_is_asked_for_the_one_that_is_named() {
    let pair = |name| {
        let random = SystemRandom::new();
        let kind = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(kind, key.as_ref(), &random).unwrap();
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let jwk =
            json!({"kty": "EC", "crv": "P-256", "kid": name, "use": "sig", "x": base64(x), "y": base64(y)});
        (jwk, move |signed: &[u8]| key.sign(&SystemRandom::new(), signed).unwrap().as_ref().to_vec())
    };
    let ((one, sign_one), (two, sign_two)) = (pair("one"), pair("two"));
    let modulus: PublicKeyComponents<Vec<u8>> = rsa().public().into();
    let rsa_key = json!({"kty": "RSA", "alg": "RS256", "n": base64(&modulus.n), "e": base64(&modulus.e)});
    let set = json!({"keys": [
        one, two, rsa_key,
        {"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB"},
        {"kty": "of the future"},
        {"kty": "oct", "alg": "A128KW", "k": "x"},
    ]});
    let path = file("set.json", set.to_string().as_bytes());
    let mut world = World::with_rules(JwtConfig::default(), &JwtKeys::load(&path).unwrap(), None);
    let claims = json!({"sub": "u", "exp": seconds() + 60});
    let sign_rsa = |kind: &'static dyn RsaEncoding| {
        move |signed: &[u8]| {
            let mut signature = vec![0; 256];
            rsa().sign(kind, &SystemRandom::new(), signed, &mut signature).unwrap();
            signature
        }
    };
    for (token, wanted) in [
        (token(&json!({"alg": "ES256", "kid": "one"}), &claims, &sign_one), 0),
        (token(&json!({"alg": "ES256", "kid": "two"}), &claims, &sign_two), 0),
        (token(&json!({"alg": "ES256"}), &claims, &sign_two), 0),
        (token(&json!({"alg": "ES256", "kid": "one"}), &claims, &sign_two), 0x87),
        (token(&json!({"alg": "ES256", "kid": "three"}), &claims, &sign_two), 0x87),
        (token(&json!({"alg": "RS256"}), &claims, sign_rsa(&signature::RSA_PKCS1_SHA256)), 0),
        // The set says what the key is for.
        (token(&json!({"alg": "RS384"}), &claims, sign_rsa(&signature::RSA_PKCS1_SHA384)), 0x87),
    ] {
        assert_eq!(world.connect(&token).1, wanted, "{token}");
    }
}

#[test]
fn files_without_a_key_that_can_be_used_are_refused() {
    let private = include_str!("keys/rsa.pem");
    let public = include_str!("keys/rsa-public.pem");
    let short = json!({"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}).to_string();
    let flat = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"}]}).to_string();
    for (content, wanted) in [
        ("", "a secret of 0 bytes; 32 is the least"),
        ("secret\n", "a secret of 6 bytes; 32 is the least"),
        (private, "has a PRIVATE KEY; what is needed is a PUBLIC KEY"),
        (&public[..200], "PEM without an end"),
        (&public.replace('\n', "\n!"), "PEM that is not Base64"),
        (&pem(b"nothing"), "a PUBLIC KEY that cannot be read"),
        ("{\"keys\": []}", "has no key that tokens could be checked with"),
        ("{\"key\": []}", "not a JWK Set: missing field `keys`"),
        (&short, "keys[0]: an RSA key has to have 2048 to 8192 bits"),
        (&flat, "keys[0]: not a point on its curve that is written out"),
        ("{\"keys\": [{\"kty\": \"oct\", \"k\": \"?\"}]}", "keys[0]: not Base64url without padding"),
        ("{\"keys\": [{\"kty\": \"oct\", \"k\": \"AQAB\"}]}", "keys[0]: a secret of 3 bytes"),
    ] {
        let path = file("unusable", content.as_bytes());
        let error = JwtKeys::load(&path).unwrap_err().to_string();
        assert!(error.starts_with(path.to_str().unwrap()) && error.contains(wanted), "{error}");
    }
    assert!(JwtKeys::load(Path::new("no-such-file")).unwrap_err().to_string().contains("cannot be read"));
}

#[test]
fn what_is_not_good_lets_nobody_in() {
    let config = JwtConfig {
        issuer: Some("https://login.example".into()),
        audience: Some("mqtt".into()),
        client_id_claim: Some("client".into()),
        ..JwtConfig::default()
    };
    let mut world = World::new(config, "bad");
    let now = seconds();
    let base = json!({
        "sub": "u", "exp": now + 60, "iss": "https://login.example", "aud": ["web", "mqtt"], "client": "c",
    });
    // `null` takes a claim away.
    let with = |changes: Value| {
        let mut claims = base.clone();
        let object = claims.as_object_mut().unwrap();
        object.extend(changes.as_object().unwrap().clone());
        object.retain(|_, value| !value.is_null());
        claims
    };
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let made = |claims| token(&header, &with(claims), hs256(SECRET));
    for claims in [
        json!({}),
        json!({"aud": "mqtt"}),
        json!({"exp": Duration::from_secs(now).as_secs_f64() + 60.5}),
        // Clocks may be off by half a minute.
        json!({"exp": now - 20, "nbf": now + 20}),
        json!({"publish": [], "subscribe": ["a/#", "+/%c"]}),
    ] {
        assert_eq!(world.connect(&made(claims.clone())).1, 0, "{claims}: {}", world.refusal());
    }
    for (claims, wanted) in [
        (json!({"exp": now - 40}), "it has expired"),
        (json!({"exp": null}), "it has no `exp`"),
        (json!({"exp": "tomorrow"}), "its `exp` is no time"),
        (json!({"exp": -1}), "its `exp` is no time"),
        (json!({"nbf": now + 40}), "its time has not come"),
        (json!({"nbf": [now]}), "its `nbf` is no time"),
        (json!({"iss": "https://login.example.org"}), "its `iss` is another"),
        (json!({"iss": null}), "its `iss` is another"),
        (json!({"aud": "web"}), "its `aud` names somebody else"),
        (json!({"aud": []}), "its `aud` names somebody else"),
        (json!({"aud": null}), "its `aud` names somebody else"),
        (json!({"sub": null}), "it has no `sub`"),
        (json!({"sub": ""}), "it has no `sub`"),
        (json!({"sub": 7}), "it has no `sub`"),
        (json!({"client": "d"}), "its `client` is not the client identifier"),
        (json!({"client": null}), "its `client` is not the client identifier"),
        (json!({"publish": "a/#"}), "its `publish` is no list of topic filters"),
        (json!({"subscribe": ["a/#/b"]}), "its `subscribe` is no list of topic filters"),
        (json!({"subscribe": [7]}), "its `subscribe` is no list of topic filters"),
        (json!({"subscribe": ["$share/g/a"]}), "its `subscribe` is no list of topic filters"),
    ] {
        assert_eq!((world.connect(&made(claims.clone())).1, &*world.refusal()), (0x87, wanted), "{claims}");
    }
    let unsigned = |header: Value| token(&header, &base, |_| Vec::new());
    let signed = |header: Value| token(&header, &base, hs256(SECRET));
    let unaccepted = "it is signed in a way that is not accepted";
    let unknown = "no key that is known has signed it";
    let other_claims = made(json!({"sub": "admin"}));
    let (claims, signature) = (other_claims.split('.').nth(1).unwrap(), made(json!({})));
    let mixed: Vec<&str> = signature.split('.').collect();
    for (token, wanted) in [
        (unsigned(json!({"alg": "none"})), unaccepted),
        (unsigned(json!({"alg": "None"})), unaccepted),
        (unsigned(json!({"alg": "HS256"})), unknown),
        (signed(json!({"alg": "none"})), unaccepted),
        (signed(json!({"alg": "hs256"})), unaccepted),
        (signed(json!({"alg": ["HS256"]})), unaccepted),
        (signed(json!({"alg": "HS512"})), unknown),
        (signed(json!({"alg": "RS256"})), unknown),
        (signed(json!({"alg": "HS256", "crit": ["b64"], "b64": false})), unaccepted),
        (token(&header, &base, hs256(b"a secret that somebody has guessed")), unknown),
        ([mixed[0], claims, mixed[2]].join("."), unknown),
    ] {
        assert_eq!((world.connect(&token).1, &*world.refusal()), (0x87, wanted), "{token}");
    }
    // What is no token is for the next hook to judge, and there is none.
    let good = made(json!({}));
    for password in ["secret", "a.b.c", "..", &good[1..], &format!("{good}="), &format!("{good}.x")] {
        assert_eq!((world.connect(password).1, &*world.refusal()), (0x87, ""), "{password}");
    }
}

/// Who knows a public key must not be able to sign with it.
#[test]
fn a_public_key_is_no_secret() {
    let public = include_bytes!("keys/rsa-public.pem");
    let claims = json!({"sub": "u", "exp": seconds() + 60});
    let keys = JwtKeys::load(&file("public.pem", public)).unwrap();
    let mut world = World::with_rules(JwtConfig::default(), &keys, None);
    let trimmed = public.trim_ascii();
    let der = Base64::decode_vec(
        &str::from_utf8(public).unwrap().lines().filter(|line| !line.starts_with('-')).collect::<String>(),
    );
    for secret in [&public[..], trimmed, &der.unwrap()] {
        let token = token(&json!({"alg": "HS256"}), &claims, hs256(secret));
        assert_eq!(
            (world.connect(&token).1, &*world.refusal()),
            (0x87, "no key that is known has signed it")
        );
    }
}

#[test]
fn only_algorithms_that_are_named_are_accepted() {
    let config = JwtConfig { algorithms: vec![JwtAlgorithm::Hs512], ..JwtConfig::default() };
    let mut world = World::new(config, "named");
    assert_eq!(world.connect(&good(&json!({}))).1, 0x87);
    let key = hmac::Key::new(hmac::HMAC_SHA512, SECRET);
    let claims = json!({"sub": "u", "exp": seconds() + 60});
    let sign = |signed: &[u8]| hmac::sign(&key, signed).as_ref().to_vec();
    assert_eq!(world.connect(&token(&json!({"alg": "HS512"}), &claims, sign)).1, 0);
    // A longer hash needs a longer secret.
    let keys = JwtKeys::load(&file("short", &SECRET[..48])).unwrap();
    let mut world = World::with_rules(JwtConfig::default(), &keys, None);
    let key = hmac::Key::new(hmac::HMAC_SHA512, &SECRET[..48]);
    let sign = |signed: &[u8]| hmac::sign(&key, signed).as_ref().to_vec();
    assert_eq!(world.connect(&token(&json!({"alg": "HS512"}), &claims, sign)).1, 0x87);
    assert_eq!(world.connect(&token(&json!({"alg": "HS256"}), &claims, hs256(&SECRET[..48]))).1, 0);
}

#[test]
fn a_user_name_beside_the_token_has_to_be_that_of_the_token() {
    let mut world = World::new(JwtConfig::default(), "names");
    let token = good(&json!({}));
    assert_eq!(world.connect_with(&[], Some("u"), Some(&token)).1, 0);
    assert_eq!(world.connect_with(&[], Some("admin"), Some(&token)).1, 0x87);
    assert_eq!(world.refusal(), "its `sub` is not the user name");
    assert_eq!(world.connect_with(&[], Some(&token), None).1, 0x87, "it belongs into the password");
    let config = JwtConfig { from: JwtPlace::Username, ..JwtConfig::default() };
    let mut world = World::new(config, "as-name");
    assert_eq!(world.connect_with(&[], Some(&token), None).1, 0);
    assert_eq!(world.connect_with(&[], Some("u"), Some(&token)).1, 0x87);
}

#[test]
fn what_the_token_says_is_what_its_holder_may() {
    let mut world = World::new(JwtConfig::default(), "filters");
    let claims = json!({"publish": ["up/%c/#"], "subscribe": ["down/%u", "up/#"]});
    let (conn, code) = world.connect(&good(&claims));
    assert_eq!(code, 0);
    for (topic, wanted) in [
        ("up/c/1", (0x10, 0)),
        ("up/d", (0x87, 0)),
        ("down/u", (0x87, 0)),
        ("down/v", (0x87, 0x87)),
        ("other", (0x87, 0x87)),
    ] {
        assert_eq!(world.may(conn, topic), wanted, "{topic}");
    }
    // With one list, nothing of the other kind.
    let (conn, _) = world.connect(&good(&json!({"publish": ["#"]})));
    assert_eq!(world.may(conn, "a"), (0x10, 0x87));
    // Without any list, everything, unless rules say something else.
    let (conn, _) = world.connect(&good(&json!({})));
    assert_eq!(world.may(conn, "a"), (0x10, 0));
    let acl = file("tokens.acl", b"user u\ntopic write a\n");
    let mut rules = RuleFiles::load(vec![Source::AclFile(acl.clone())]).unwrap();
    let keys = JwtKeys::load(&file("with-rules", SECRET)).unwrap();
    let mut world = World::with_rules(JwtConfig::default(), &keys, Some(&rules));
    let (conn, _) = world.connect(&good(&json!({})));
    assert_eq!((world.may(conn, "a"), world.may(conn, "b")), ((0x10, 0x87), (0x87, 0x87)));
    // These hold from the moment at which they are others.
    fs::write(&acl, "user u\ntopic b\n").unwrap();
    rules.reload().unwrap();
    while world.driver.poll_hooks(NOW, &Context::from_waker(Waker::noop())).is_ready() {}
    assert_eq!((world.may(conn, "a"), world.may(conn, "b")), ((0x87, 0x87), (0x10, 0)));
}

/// Properties with the method and this authentication data.
fn properties(data: &str) -> Vec<u8> {
    [&[0x15][..], &text("JWT"), &[0x16], &text(data)].concat()
}

impl World {
    /// Authenticates again; returns the first byte of what comes, and the reason code.
    fn again(&mut self, conn: ConnId, data: &str) -> (u8, u8) {
        let properties = properties(data);
        let body = [&[0x19][..], &length(&properties), &properties].concat();
        self.driver.received(NOW, conn, &[&[0xf0][..], &length(&body), &body].concat());
        let answer = self.wait(conn);
        // Behind a length of one or two bytes.
        (answer[0], answer[if answer[1] < 0x80 { 2 } else { 3 }])
    }
}

#[test]
fn a_client_can_show_another_token_while_it_is_connected() {
    let config = JwtConfig { method: Some("JWT".into()), ..JwtConfig::default() };
    let mut world = World::new(config, "again");
    let (conn, code) = world.connect_with(&properties(&good(&json!({"publish": ["a"]}))), None, None);
    assert_eq!((code, world.may(conn, "b")), (0, (0x87, 0x87)));
    assert_eq!(world.again(conn, &good(&json!({"publish": ["b"]}))), (0xf0, 0));
    assert_eq!(world.may(conn, "b"), (0x10, 0x87));
    // Nobody becomes somebody else in this way.
    assert_eq!(world.again(conn, &good(&json!({"sub": "admin"}))), (0xe0, 0x87));
    let (conn, _) = world.connect_with(&properties(&good(&json!({}))), None, None);
    assert_eq!(world.again(conn, "no token"), (0xe0, 0x87));
    assert_eq!(world.connect_with(&properties("no token"), None, None).1, 0x87);
    let mut without = World::new(JwtConfig::default(), "no-method");
    assert_eq!(without.connect_with(&properties(&good(&json!({}))), None, None).1, 0x8c);
}

#[test]
fn who_has_an_expired_token_is_disconnected_unless_it_has_shown_another() {
    let config = JwtConfig { method: Some("JWT".into()), leeway: 0, ..JwtConfig::default() };
    let brief = || good(&json!({"exp": seconds() + 2}));
    let mut world = World::new(config.clone(), "expires");
    let (renewed, code) = world.connect_with(&properties(&brief()), None, None);
    assert_eq!((code, world.again(renewed, &good(&json!({})))), (0, (0xf0, 0)));
    let mut other = World::new(config.clone(), "expires-too");
    let (conn, code) = other.connect(&brief());
    assert_eq!(code, 0);
    let bye = other.wait(conn);
    assert_eq!((bye[0], bye[2]), (0xe0, 0xa0), "{bye:02x?}");
    let mut stays = World::new(JwtConfig { disconnect_expired: false, ..config }, "stays");
    let (conn, _) = stays.connect(&brief());
    std::thread::sleep(Duration::from_millis(3500));
    for (world, conn) in [(&mut world, renewed), (&mut stays, conn)] {
        let _commands = world.driver.poll_hooks(NOW, &Context::from_waker(Waker::noop()));
        assert_eq!(world.taken(conn), b"", "nobody is told to go");
    }
}

#[test]
fn new_keys_hold_for_clients_to_come_and_a_bad_file_changes_nothing() {
    let path = file("reload", SECRET);
    let mut keys = JwtKeys::load(&path).unwrap();
    let mut world = World::with_rules(JwtConfig::default(), &keys, None);
    let other = b"another secret, which is long enough";
    let theirs = token(&json!({"alg": "HS256"}), &json!({"sub": "u", "exp": seconds() + 60}), hs256(other));
    let ours = good(&json!({}));
    let (conn, code) = world.connect(&ours);
    assert_eq!((code, world.connect(&theirs).1), (0, 0x87));
    let _taken_over = world.taken(conn);
    fs::write(&path, "short").unwrap();
    assert!(keys.reload().is_err());
    assert_eq!(world.connect(&ours).1, 0);
    fs::write(&path, [&other[..], b"\r\n"].concat()).unwrap();
    keys.reload().unwrap();
    assert_eq!((world.connect(&ours).1, world.connect(&theirs).1), (0x87, 0));
}
