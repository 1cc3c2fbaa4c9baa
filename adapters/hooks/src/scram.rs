//! Enhanced authentication with SCRAM-SHA-256 (RFC 5802, RFC 7677): the client shows that it knows its password without
//! sending it, and the broker that it knows the client.

use crate::in_force::{RulesInForce, facts};
use crate::passwords::{ScramKeys, hmac};
use crate::rules::Rules;
use base64ct::{Base64, Encoding};
use metronome_host::engine::{Admission, Answer, Authenticate, ConnId, Interest, Note};
use metronome_host::{Client, Commands, Decision, Hook};
use mqtt_proto::ReasonCode;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Its name as an authentication method.
const METHOD: &str = "SCRAM-SHA-256";

/// Iterations and length of the salt of users that there are not, where there is none at all.
const SHAPE: (u32, usize) = (15_000, 16);

/// Lets in users whose entry in the files is one for SCRAM, also again while they are connected. The client is called by the
/// name that it has proven to be its own; where its CONNECT has a user name, that must be the same.
pub struct Scram {
    rules: RulesInForce,
    /// Makes up the same salt for the same unknown user, so that nobody finds out who is one.
    secret: [u8; 32],
    nonces: Box<dyn FnMut() -> Option<String> + Send>,
    exchanges: BTreeMap<ConnId, Exchange>,
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scram").field("exchanges", &self.exchanges.len()).finish_non_exhaustive()
    }
}

/// Between the broker's first message and the client's last.
struct Exchange {
    name: String,
    keys: ScramKeys,
    /// There is such a user.
    known: bool,
    /// Of client and broker.
    nonce: String,
    /// What the client says of channel binding: it knows none.
    header: String,
    /// What both have said so far.
    said: String,
}

impl Scram {
    /// With the users of these rules, and another secret for [`Scram::with_secret`] in each process.
    ///
    /// # Errors
    /// There is no random source.
    pub fn new(rules: RulesInForce) -> io::Result<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { rules, secret, nonces: Box::new(nonce), exchanges: BTreeMap::new() })
    }

    /// What unknown users are shown depends on their names and this. It has to stay the same over restarts, or users can be
    /// told by their salts, which do.
    #[must_use]
    pub fn with_secret(self, secret: [u8; 32]) -> Self {
        Self { secret, ..self }
    }

    /// Keys with which nobody can prove anything, but for their numbers as those of some user.
    fn made_up(&self, rules: &Rules, name: &str) -> ScramKeys {
        let word = |number: usize| hmac(&self.secret, &[&number.to_le_bytes(), name.as_bytes()].concat());
        let (iterations, length) = rules.scram_shape(word(0)).unwrap_or(SHAPE);
        let salt: Vec<u8> = (1..=length.div_ceil(32)).flat_map(word).take(length).collect();
        ScramKeys::derive(b"", &salt, 1).with_iterations(iterations)
    }

    /// Takes the client's first message.
    fn begin(&mut self, client: &Client, data: Option<&[u8]>) -> Option<Answer> {
        let first = First::parse(data?)?;
        if client.username.as_ref().is_some_and(|username| *username != first.name) {
            return None;
        }
        let rules = self.rules.get();
        let known = rules.scram_keys(&first.name).cloned();
        let is_known = known.is_some();
        let keys = known.unwrap_or_else(|| self.made_up(&rules, &first.name));
        let nonce = format!("{}{}", first.nonce, (self.nonces)()?);
        let answer = format!("r={nonce},s={},i={}", Base64::encode_string(&keys.salt), keys.iterations);
        let said = format!("{},{answer}", first.bare);
        let header = first.header.to_owned();
        let exchange = Exchange { name: first.name, keys, known: is_known, nonce, header, said };
        self.exchanges.insert(client.conn, exchange);
        Some(Answer::Continue(answer.into_bytes()))
    }

    /// Takes the client's last message.
    fn finish(&self, exchange: Exchange, client: &Client, data: Option<&[u8]>) -> Option<Decision> {
        let text = str::from_utf8(data?).ok()?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let (binding, nonce) = without_proof.strip_prefix("c=")?.split_once(",r=")?;
        let proof: [u8; 32] = Base64::decode_vec(proof).ok()?.try_into().ok()?;
        let Exchange { name, keys, known, .. } = exchange;
        let said = format!("{},{without_proof}", exchange.said);
        let is_proven = keys.is_proven(said.as_bytes(), &proof);
        let fits = Base64::decode_vec(binding).ok()? == exchange.header.as_bytes() && nonce == exchange.nonce;
        // A user that is gone by now, or has another password, is none.
        let is_current = || self.rules.get().scram_keys(&name) == Some(&keys);
        if !(is_proven && fits && known && is_current()) {
            return None;
        }
        // Only now it is known to be that user.
        let mut client = client.clone();
        client.username = Some(name.clone());
        let permissions = Some(self.rules.begin(&client).permissions(&facts(&client)));
        let signature = format!("v={}", Base64::encode_string(&keys.signature(said.as_bytes())));
        let admission = Admission { permissions, data: signature.into_bytes(), ..Admission::default() };
        Some(Decision::named(name, Answer::Admit(Box::new(admission))))
    }
}

impl Hook for Scram {
    fn interest(&self) -> Interest {
        Interest::CLIENTS
    }

    fn joined(&mut self, commands: Commands) {
        self.rules.joined(commands);
    }

    fn authenticate(&mut self, client: &Client, connect: &Authenticate) -> Decision {
        if connect.method.as_deref() != Some(METHOD) {
            return Decision::NotMine;
        }
        let begun = self.begin(client, connect.data.as_deref());
        begun.map_or(REFUSED, Decision::Now)
    }

    fn authenticate_step(
        &mut self,
        client: &Client,
        method: &str,
        data: Option<&[u8]>,
        again: bool,
    ) -> Decision {
        if method != METHOD {
            return Decision::NotMine;
        }
        match self.exchanges.remove(&client.conn) {
            Some(exchange) => self.finish(exchange, client, data).unwrap_or(REFUSED),
            None if again => self.begin(client, data).map_or(REFUSED, Decision::Now),
            None => REFUSED,
        }
    }

    fn note(&mut self, note: &Note, _: Option<SocketAddr>) {
        match note {
            Note::Connected { conn, client_id, .. } => self.rules.connected(*conn, client_id),
            Note::Disconnected { conn, .. } => {
                self.exchanges.remove(conn);
                self.rules.disconnected(*conn);
            }
            Note::SessionEnded { client_id, .. } => self.rules.ended(client_id),
            _ => {}
        }
    }
}

const REFUSED: Decision = Decision::deny(ReasonCode::NotAuthorized);

/// The client's first message, `n,,n=NAME,r=NONCE`.
struct First<'a> {
    header: &'a str,
    /// What stands behind that.
    bare: &'a str,
    name: String,
    nonce: &'a str,
}

impl<'a> First<'a> {
    /// Neither channel binding nor acting as somebody else is possible here.
    fn parse(data: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(data).ok()?;
        let (header, bare) =
            text.split_at_checked(3).filter(|(header, _)| ["n,,", "y,,"].contains(header))?;
        let mut attributes = bare.split(',');
        let name = attributes.next()?.strip_prefix("n=")?;
        let nonce = attributes.next()?.strip_prefix("r=").filter(|nonce| !nonce.is_empty())?;
        Some(Self { header, bare, name: unescape(name)?, nonce })
    }
}

/// A name in which `,` and `=` are written as `=2C` and `=3D`.
fn unescape(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut unescaped = parts.next()?.to_owned();
    for part in parts {
        let (letter, rest) = part.split_at_checked(2)?;
        unescaped.push(match letter {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        unescaped.push_str(rest);
    }
    (!unescaped.is_empty()).then_some(unescaped)
}

fn nonce() -> Option<String> {
    let mut bytes = [0; 18];
    getrandom::fill(&mut bytes).ok()?;
    Some(Base64::encode_string(&bytes))
}

#[cfg(test)]
mod tests {
    use super::{First, Hook, Scram, unescape};
    use crate::in_force::RulesInForce;
    use crate::mosquitto::password_file;
    use crate::passwords::{ScramKeys, scram_sha_256};
    use metronome_host::engine::{Config, ConnId, Engine, HashKey, ListenerId, Seed, Time};
    use metronome_host::{Driver, HookChain};
    use std::num::NonZeroU32;

    const NOW: Time = Time::from_secs(1);
    const SALT: [u8; 16] = *b"\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81";

    // The exchange of RFC 7677, section 3.
    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const ANSWER: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SIGNATURE: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn driver() -> Driver {
        let entry = scram_sha_256(b"pencil", &SALT, NonZeroU32::new(4096).unwrap());
        let rules = password_file(&format!(
            "user:{entry}\nother:$7$1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\n"
        ));
        let nonces = Box::new(|| Some("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned()));
        let scram = Scram { nonces, ..Scram::new(RulesInForce::new(rules.unwrap())).unwrap() };
        let config = Config { interest: scram.interest(), ..Config::default() };
        Driver::new(Engine::new(config, Seed(1), HashKey([1, 2])), HookChain::from(scram))
    }

    fn text(text: &str) -> Vec<u8> {
        [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
    }

    fn properties(data: &str) -> Vec<u8> {
        let properties = [&[0x15], &text("SCRAM-SHA-256")[..], &[0x16], &text(data)].concat();
        [&[u8::try_from(properties.len()).unwrap()], &properties[..]].concat()
    }

    /// What comes back for a packet with this body.
    fn send(driver: &mut Driver, conn: ConnId, first: u8, body: &[u8]) -> Vec<u8> {
        let length = u8::try_from(body.len()).unwrap();
        let length: &[u8] = if length < 128 { &[length] } else { &[length, 1] };
        driver.received(NOW, conn, &[&[first], length, body].concat());
        let mut bytes = Vec::new();
        driver.flush(NOW, conn, |slices| {
            bytes.extend(slices.iter().flat_map(|slice| slice.iter()));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
        bytes
    }

    fn connect(driver: &mut Driver, data: &str, username: Option<&str>) -> (ConnId, Vec<u8>) {
        let conn = driver.open(NOW, ListenerId(0), None);
        let flags = if username.is_some() { 0x82 } else { 2 };
        let name = username.map(text).unwrap_or_default();
        let head = [b"\0\x04MQTT\x05", &[flags, 0, 0][..]].concat();
        let body = [&head[..], &properties(data), &text("c"), &name].concat();
        let answer = send(driver, conn, 0x10, &body);
        (conn, answer)
    }

    fn auth(driver: &mut Driver, conn: ConnId, reason: u8, data: &str) -> Vec<u8> {
        send(driver, conn, 0xf0, &[&[reason], &properties(data)[..]].concat())
    }

    fn says(packet: &[u8], first: u8, text: &str) -> bool {
        packet[0] == first && packet.windows(text.len()).any(|part| part == text.as_bytes())
    }

    #[test]
    fn the_exchange_of_the_standard_lets_in_and_again() {
        let mut driver = driver();
        for username in [None, Some("user")] {
            let (conn, answer) = connect(&mut driver, FIRST, username);
            assert!(says(&answer, 0xf0, ANSWER), "{}", answer.escape_ascii());
            let connack = auth(&mut driver, conn, 0x18, LAST);
            assert!(connack[3] == 0 && says(&connack, 0x20, SIGNATURE), "{}", connack.escape_ascii());
            // Re-authentication begins from the front.
            assert!(says(&auth(&mut driver, conn, 0x19, FIRST), 0xf0, ANSWER));
            assert!(says(&auth(&mut driver, conn, 0x18, LAST), 0xf0, SIGNATURE));
            assert_eq!(auth(&mut driver, conn, 0x19, &FIRST.replace("=user", "=other"))[0], 0xe0);
        }
    }

    #[test]
    fn whoever_cannot_prove_it_stays_out() {
        let wrong_proof = LAST.replace("p=dHzb", "p=aHzb");
        let other_nonce = LAST.replace("k0,p", "k1,p");
        let bound = LAST.replace("c=biws", "c=eSws");
        for last in [&*wrong_proof, &other_nonce, &bound, "", "c=biws", SIGNATURE] {
            let mut driver = driver();
            let (conn, _) = connect(&mut driver, FIRST, None);
            let connack = auth(&mut driver, conn, 0x18, last);
            assert_eq!((connack[0], connack[3]), (0x20, 0x87), "{last}");
        }
        for (first, username) in [
            ("p=tls-unique,,n=user,r=x", None),
            ("n,a=admin,n=user,r=x", None),
            ("n,,m=x,n=user,r=x", None),
            ("n,,n=,r=x", None),
            ("n,,n=user,r=", None),
            ("n,,n=user", None),
            ("", None),
            (FIRST, Some("admin")),
        ] {
            let (_, connack) = connect(&mut driver(), first, username);
            assert_eq!((connack[0], connack[3]), (0x20, 0x87), "{first}");
        }
    }

    /// Nobody learns from the first answer who is a user, by its numbers neither; who has another kind of entry looks like
    /// nobody.
    #[test]
    fn an_unknown_user_gets_as_far_as_a_known_one() {
        let mut driver = driver();
        for name in ["nobody", "other"] {
            let first = FIRST.replace("user", name);
            let answers = [(); 2].map(|()| {
                let (conn, answer) = connect(&mut driver, &first, None);
                assert!(says(&answer, 0xf0, ",i=4096"), "{}", answer.escape_ascii());
                let connack = auth(&mut driver, conn, 0x18, LAST);
                assert_eq!((connack[0], connack[3]), (0x20, 0x87));
                answer
            });
            assert_eq!(answers[0], answers[1], "the same salt each time");
        }
    }

    #[test]
    fn names_may_have_any_letter() {
        for (written, name) in [("a=2Cb=3Dc", Some("a,b=c")), ("a=2", None), ("a=2D", None), ("", None)] {
            assert_eq!(unescape(written).as_deref(), name);
        }
        assert_eq!(First::parse(b"y,,n=u,r=n,ext=1").unwrap().nonce, "n");
    }

    #[test]
    fn an_entry_is_read_as_it_is_written() {
        let keys = ScramKeys::derive(b"pencil", &SALT, 4096);
        let entry = scram_sha_256(b"pencil", &SALT, NonZeroU32::new(4096).unwrap());
        let wanted = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        assert_eq!(entry, wanted);
        let rules = password_file(&format!("user:{entry}\n")).unwrap();
        assert_eq!(rules.scram_keys("user"), Some(&keys));
    }
}
