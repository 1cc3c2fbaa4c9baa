//! `password_file`: a line `NAME:HASH` for each user.

use super::lines;
use crate::passwords::StoredPassword;
use crate::rules::{Parts, Rules, User};
use crate::source::LoadError;
use std::collections::BTreeMap;

/// Reads the text of a `password_file`. Whoever is in it with the right password is let in. An empty one, from which the
/// last user was taken, lets in nobody.
///
/// # Errors
/// A line is no `NAME:HASH`, or a name is there twice; names the line.
pub fn password_file(text: &str) -> Result<Rules, LoadError> {
    let mut users = BTreeMap::new();
    for (number, line) in lines(text) {
        let wrong = |problem: &str| LoadError::new(problem).at_line(number);
        let (name, hash) = line.trim_end().split_once(':').ok_or_else(|| wrong("is not NAME:HASH"))?;
        if name.is_empty() {
            return Err(wrong("has no user name"));
        }
        let password = StoredPassword::parse(hash).map_err(|problem| wrong(problem).at_key(name))?;
        if password.is_plain() {
            return Err(wrong("is no hash: mosquitto_passwd -U FILE makes hashes of passwords").at_key(name));
        }
        if users.insert(name.to_owned(), User { password: Some(password), disallow: false }).is_some() {
            return Err(wrong("is there twice").at_key(name));
        }
    }
    Ok(Rules::new(Parts { otherwise: !users.is_empty(), users, ..Parts::default() }))
}
