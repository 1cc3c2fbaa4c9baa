//! On which line of YAML or JSON a key is.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The line of the value of a key, such as `listeners[0].address`, or of the nearest section around it that is there.
pub(crate) fn line_of(text: &str, key: &str, is_json: bool) -> Option<usize> {
    let around = std::iter::successors(Some(key), |key| key.get(..key.rfind(['.', '['])?));
    around
        .filter(|key| !key.is_empty())
        .find_map(|key| if is_json { in_json(text, key) } else { in_yaml(text, key) })
}

fn in_yaml(text: &str, key: &str) -> Option<usize> {
    let search = Search { key, here: String::new() };
    let found = serde_saphyr::with_deserializer_from_str(text, |yaml| search.deserialize(yaml)).err()?;
    usize::try_from(found.location()?.line()).ok()
}

fn in_json(text: &str, key: &str) -> Option<usize> {
    let found =
        Search { key, here: String::new() }.deserialize(&mut serde_json::Deserializer::from_str(text));
    found.err().map(|found| found.line())
}

/// Reads nothing, and fails at one key: a parser says where that is.
struct Search<'a> {
    key: &'a str,
    here: String,
}

impl Search<'_> {
    fn at(&self, step: &str) -> Self {
        let dot = if self.here.is_empty() || step.starts_with('[') { "" } else { "." };
        Self { key: self.key, here: format!("{}{dot}{step}", self.here) }
    }

    fn look<E: Error>(&self) -> Result<(), E> {
        if self.here == self.key { Err(E::custom("here it is")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.look()?;
        while let Some(key) = map.next_key::<String>()? {
            map.next_value_seed(self.at(&key))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.look()?;
        let mut number = 0;
        while seq.next_element_seed(self.at(&format!("[{number}]")))?.is_some() {
            number += 1;
        }
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.look()
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.look()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.look()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.look()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.look()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.look()
    }
}

#[cfg(test)]
mod tests {
    use super::line_of;

    #[test]
    fn a_key_is_found_or_what_is_around_it() {
        let yaml = "a:\n  - b: 1\n    c: x\n  - b: true\nd:\n  e: ~\n";
        let json = "{\n\"a\": [\n{\"b\": 1,\n\"c\": \"x\"},\n{\"b\": true}],\n\"d\": {\n\"e\": null}}\n";
        for (key, in_yaml, in_json) in [
            ("a[0].b", Some(2), Some(3)),
            ("a[0].c", Some(3), Some(4)),
            ("a[1].b", Some(4), Some(5)),
            ("a[1].f", Some(4), Some(5)),
            ("d.e", Some(6), Some(7)),
            ("f", None, None),
            ("", None, None),
        ] {
            assert_eq!((line_of(yaml, key, false), line_of(json, key, true)), (in_yaml, in_json), "{key}");
        }
    }
}
