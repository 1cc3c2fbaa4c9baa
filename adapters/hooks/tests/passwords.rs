//! Stored passwords: what other programs wrote is understood, and what is damaged is no password.

use metronome_hooks::accounts::{self, Digest};
use metronome_hooks::passwords::{StoredPassword, argon2id, pbkdf2, scram_sha_256};
use metronome_hooks::{ClientFacts, Rules, Verdict};
use std::num::NonZeroU32;

const PASSWORD: &[u8] = b"correct horse";

/// Of this password, each by a program of its own.
const WRITTEN_ELSEWHERE: [&str; 6] = [
    "$argon2id$v=19$m=64,t=1,p=1$oArBBKX+azgHCvPIVb5LGw$NHNQz6E3F7PselMrhgLca44MpBMo5ybJxRdcFHTKtgM",
    "$7$101$v7AM+x/7txQGV9Tu$pnEKOcGoFL2Ua2McogLpyJ5W9PZn/YLk3nSImZAdoODrRRCDw9hSPzGIyyMS0ZX0adRf1r5kL0pwbUMPa1mWMg==",
    "$6$0Z+Rt2mS1SemlTy7$WGSl0W7iFvZdgz26eWudjgSesAc8prx4fxocHSqlQNen92g/7Qcwaw+6rmmEruGtekwv5mF/5c2fJwtxsuV4ag==",
    "$2b$04$05HdjQZYS.9CNGMniIAggensIerm7bFXgCv8Ncr9OTWPKj2PZkjQm",
    "$2a$04$1tqNDUOjaSLrjTzAnP.fSu695wiGUHI.IZsthWsujpxaKvl8GVtji",
    "correct horse",
];

fn verify(entry: &str, password: &[u8]) -> bool {
    StoredPassword::parse(entry).unwrap_or_else(|problem| panic!("{entry} {problem}")).verify(password)
}

#[test]
fn what_other_programs_wrote_is_understood() {
    for entry in WRITTEN_ELSEWHERE {
        assert!(verify(entry, PASSWORD), "{entry}");
        for wrong in [&b"correct hors"[..], b"correct horse ", b"correct horse\n", b"Correct horse", b""] {
            assert!(!verify(entry, wrong), "{entry} {wrong:?}");
        }
    }
}

#[test]
fn what_is_written_is_read() {
    let iterations = NonZeroU32::new(1000).unwrap();
    for entry in [
        argon2id(PASSWORD, &[7; 16]).unwrap(),
        pbkdf2(PASSWORD, &[7; 12], iterations),
        scram_sha_256(PASSWORD, &[7; 16], iterations),
    ] {
        assert!(verify(&entry, PASSWORD) && !verify(&entry, b"x"), "{entry}");
    }
    assert_ne!(pbkdf2(PASSWORD, &[7; 12], iterations), pbkdf2(PASSWORD, &[8; 12], iterations));
    assert!(argon2id(PASSWORD, &[7; 16]).unwrap().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
}

#[test]
fn what_is_damaged_or_unknown_is_no_password() {
    for (entry, wanted) in [
        ("", "is empty"),
        ("$argon2id$v=19$m=64,t=1,p=1$oArBBKX+azgHCvPIVb5LGw", "damaged Argon2id"),
        ("$argon2id$", "damaged Argon2id"),
        ("$argon2i$v=19$m=64,t=1,p=1$oArBBKX+azgHCvPIVb5LGw$NHNQz6E3F7PselMrhgLca44M", "not known"),
        ("$7$101$v7AM+x/7txQGV9Tu$pnEKOcGo", "damaged hash of mosquitto"),
        ("$7$-1$v7AM$pnEK", "damaged hash of mosquitto"),
        ("$6$$", "damaged hash of mosquitto"),
        ("$2b$04$05HdjQZYS", "damaged bcrypt"),
        ("$2b$03$05HdjQZYS.9CNGMniIAggensIerm7bFXgCv8Ncr9OTWPKj2PZkjQm", "damaged bcrypt"),
        ("SCRAM-SHA-256$4096:AAAA$AAAA:AAAA", "damaged entry for SCRAM"),
        ("SCRAM-SHA-256$", "damaged entry for SCRAM"),
        ("$1$abc$def", "not known"),
        ("$y$j9T$abc", "not known"),
        ("$2b$31$05HdjQZYS.9CNGMniIAggensIerm7bFXgCv8Ncr9OTWPKj2PZkjQm", "too long"),
        ("$argon2id$v=19$m=2097152,t=1,p=1$oArBBKX+azgHCvPIVb5LGw$NHNQz6E3F7PselMrhgLca44M", "too long"),
    ] {
        let problem = StoredPassword::parse(entry).unwrap_err();
        assert!(problem.contains(wanted), "{entry}: {problem}");
    }
    for (iterations, wanted) in [("0", "damaged"), ("4294967295", "too long"), ("4294967296", "damaged")] {
        let entry = WRITTEN_ELSEWHERE[1].replace("101", iterations);
        assert!(StoredPassword::parse(&entry).unwrap_err().contains(wanted), "{entry}");
    }
    // A dollar alone makes no hash.
    for entry in ["$", "$money", "a$7$b", "$ $", "$$"] {
        assert!(verify(entry, entry.as_bytes()), "{entry}");
    }
}

/// bcrypt itself would take what comes behind for the same.
#[test]
fn bcrypt_takes_no_more_than_it_looks_at() {
    let of_72 = "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i";
    assert!(verify(of_72, &[b'x'; 72]));
    assert!(!verify(of_72, &[b'x'; 73]));
}

#[test]
fn secrets_stay_out_of_logs() {
    for entry in WRITTEN_ELSEWHERE {
        let text = format!("{:?}", StoredPassword::parse(entry).unwrap());
        assert!(!text.contains(&entry[..8]), "{text}");
    }
}

#[test]
fn accounts_of_each_kind_let_in_by_their_password() {
    for (digest, password) in [
        (Digest::Plain, "correct horse"),
        (Digest::Md5, "3cb4e732631f47e6eb961f34554b7cde"),
        (Digest::Sha256, "4104d36f8da2c254349f85836793ebe029e0c957063a34c91c2e9203187b5631"),
        (Digest::Sha256, "4104D36F8DA2C254349F85836793EBE029E0C957063A34C91C2E9203187B5631"),
        (Digest::Bcrypt, WRITTEN_ELSEWHERE[4]),
    ] {
        let text = format!("- username: bob\n  password: \"{password}\"\n");
        let rules = accounts::read(&text, digest).unwrap();
        let connect = |username, password| {
            rules.authenticate(&ClientFacts { username, ..ClientFacts::default() }, Some(password))
        };
        assert_eq!(connect(Some("bob"), PASSWORD), Verdict::Allow, "{digest:?}");
        assert_eq!(connect(Some("bob"), b"x"), Verdict::Deny, "{digest:?}");
        assert_eq!(connect(Some("eve"), PASSWORD), Verdict::NotMine, "{digest:?}");
        assert_eq!(connect(None, PASSWORD), Verdict::NotMine, "{digest:?}");
        // Beside that there are no access rules.
        assert_eq!(rules.warnings().len() == 1, digest == Digest::Bcrypt, "{:?}", rules.warnings());
    }
}

#[test]
fn accounts_that_cannot_be_are_named() {
    for (text, wanted) in [
        (
            "- {username: bob, password: zz}\n",
            "line 1: [0].password: is not the 32 hexadecimal digits of an MD5 sum",
        ),
        ("- username: bob\n  password:\n", "line 2: [0].password: is empty"),
        (
            "- username: bob\n  pasword: x\n",
            "line 2: [0].pasword: unknown key `pasword`; did you mean `password`?",
        ),
        (
            "- {username: \"\", password: 3cb4e732631f47e6eb961f34554b7cde}\n",
            "line 1: [0].username: is empty",
        ),
        (
            "- {username: bob, password: 3cb4e732631f47e6eb961f34554b7cde}\n\
             - {username: bob, password: 3cb4e732631f47e6eb961f34554b7cde}\n",
            "line 2: [1].username: `bob` is there twice",
        ),
    ] {
        let error = accounts::read(text, Digest::Md5).unwrap_err().to_string();
        assert_eq!(error, wanted, "{text}");
    }
    let nobody: Rules = accounts::read("[]", Digest::Md5).unwrap();
    assert_eq!(nobody.warnings(), ["there are no users and no rules: everything is refused"]);
}
