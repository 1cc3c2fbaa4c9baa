//! How the fields of a ledger are read and written. What is there without content is an error: it was left behind by
//! mistake, and would be about everybody or everything.

use super::{Rights, User};
use crate::criteria::Text;
use crate::passwords::StoredPassword;
use crate::topics::Pattern;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Unexpected, Visitor};
use serde::ser::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// A map in which no key comes twice.
struct Unique<K, V>(BTreeMap<K, V>);

impl<'de, K: Deserialize<'de> + Ord + fmt::Display, V: Deserialize<'de>> Deserialize<'de> for Unique<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<K, V>(PhantomData<(K, V)>);

        impl<'de, K: Deserialize<'de> + Ord + fmt::Display, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
            type Value = Unique<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut map = BTreeMap::new();
                while let Some(key) = entries.next_key::<K>()? {
                    if map.contains_key(&key) {
                        return Err(A::Error::custom(format!("`{key}` is there twice")));
                    }
                    map.insert(key, entries.next_value()?);
                }
                Ok(Unique(map))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

pub(super) fn users<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, User>, D::Error> {
    let users =
        Option::<Unique<String, User>>::deserialize(deserializer)?.map_or_else(BTreeMap::new, |map| map.0);
    for (name, user) in &users {
        if name.is_empty() {
            return Err(D::Error::custom("a user has no name"));
        }
        if let Some(other) = user.username.as_ref().filter(|other| *other != name) {
            return Err(D::Error::custom(format!("the user `{name}` has the username `{other}`")));
        }
    }
    Ok(users)
}

pub(super) fn list_or_none<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

pub(super) fn some_list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let list = list_or_none(deserializer)?;
    if list.is_empty() {
        return Err(D::Error::custom("has no rules: leave the key out if everything is to be allowed"));
    }
    Ok(list)
}

pub(super) fn filters<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Pattern, Rights>, D::Error> {
    let filters =
        Option::<Unique<Pattern, Rights>>::deserialize(deserializer)?.map_or_else(BTreeMap::new, |map| map.0);
    if filters.is_empty() {
        return Err(D::Error::custom("has no filters: leave the key out if it is not to be about topics"));
    }
    Ok(filters)
}

/// A text; none at all is as good as an empty one.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

pub(super) fn criterion<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
    Text::parse(&text(deserializer)?).map_err(D::Error::custom)
}

pub(super) fn remote<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
    Text::parse_remote(&text(deserializer)?).map_err(D::Error::custom)
}

pub(super) fn password<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<StoredPassword>, D::Error> {
    match text(deserializer)? {
        empty if empty.is_empty() => {
            Err(D::Error::custom("is empty: leave the key out if there is no password"))
        }
        entry => StoredPassword::parse(&entry).map(Some).map_err(D::Error::custom),
    }
}

/// In a rule, `*` is any password.
pub(super) fn rule_password<'de, D>(deserializer: D) -> Result<Option<StoredPassword>, D::Error>
where
    D: Deserializer<'de>,
{
    match password(deserializer)? {
        Some(stored) if stored.as_str() == "*" => Ok(None),
        Some(stored) if stored.is_plain() && stored.as_str().ends_with('*') => {
            Err(D::Error::custom("ends with *, which stands for nothing in a password: use a hash of it"))
        }
        stored => Ok(stored),
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for StoredPassword {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|error| D::Error::custom(format!("`{text}`: {error}")))
    }
}

/// By number and by name.
const RIGHTS: [(&str, Rights); 4] = [
    ("deny", Rights::Deny),
    ("read", Rights::Read),
    ("write", Rights::Write),
    ("readwrite", Rights::ReadWrite),
];

/// As Mochi writes and reads them.
impl Serialize for Rights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

impl<'de> Deserialize<'de> for Rights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrName;

        impl Visitor<'_> for NumberOrName {
            type Value = Rights;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("deny, read, write, readwrite, 0, 1, 2 or 3")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Rights, E> {
                let known = usize::try_from(number).ok().and_then(|number| RIGHTS.get(number));
                known
                    .map(|(_, rights)| *rights)
                    .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Rights, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
                }
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Rights, E> {
                let known = RIGHTS.iter().find(|(known, _)| *known == name);
                known.map(|(_, rights)| *rights).ok_or_else(|| E::invalid_value(Unexpected::Str(name), &self))
            }
        }

        deserializer.deserialize_any(NumberOrName)
    }
}
