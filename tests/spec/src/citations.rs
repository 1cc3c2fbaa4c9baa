//! Statements that comments cite.
//!
//! * `[MQTT-3.3.1-5]`: of MQTT 5.0; `[MQTT-4.4.0-1, 4.6.0-1]`: two of them
//! * `[3.1.1: MQTT-3.1.2-22]`: of MQTT 3.1.1
//! * `[U-4.9-no-quota-for-pubrec]`, `[V31-dup-elsewhere]`: without a number, or of MQTT 3.1
//! * `[U-*-reason-code]`: every one whose name begins and ends like that

use crate::ledger::Ledger;
use std::collections::BTreeMap;

/// One citation: the document, and the statement or the pattern of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citation {
    /// `5.0`, `3.1.1` or `unnumbered`.
    pub document: &'static str,
    /// What is in the brackets.
    pub pattern: String,
}

impl Citation {
    /// Is it this statement that is meant?
    pub fn means(&self, id: &str) -> bool {
        match self.pattern.split_once('*') {
            Some((begin, end)) => id.strip_prefix(begin).is_some_and(|rest| rest.ends_with(end)),
            None => id == self.pattern,
        }
    }

    /// The statements that are meant.
    pub fn ids<'a>(&self, ledgers: &'a BTreeMap<&str, Ledger>) -> Vec<&'a String> {
        ledgers[self.document].keys().filter(|id| self.means(id)).collect()
    }
}

/// All citations in a text.
pub fn cited(text: &str) -> Vec<Citation> {
    let lists = text.split('[').skip(1).filter_map(|rest| rest.split_once(']').map(|(list, _)| list));
    let lists = lists.filter_map(|list| match list.strip_prefix("3.1.1: ") {
        Some(list) => Some(("3.1.1", list)),
        None if is_numbered(list) => Some(("5.0", list)),
        None if list.starts_with("U-") || list.starts_with("V31-") => Some(("unnumbered", list)),
        None => None,
    });
    lists
        .flat_map(|(document, list)| {
            list.split(',').map(move |id| {
                let id = id.trim();
                let pattern = match document {
                    "unnumbered" => id.to_owned(),
                    _ => format!("MQTT-{}", id.trim_start_matches("MQTT-")),
                };
                Citation { document, pattern }
            })
        })
        .collect()
}

fn is_numbered(list: &str) -> bool {
    list.strip_prefix("MQTT-").is_some_and(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()))
}

/// Every identifier with a number in a text, in whatever form it is written.
pub fn numbered(text: &str) -> Vec<String> {
    let places = text.match_indices("MQTT-").map(|(at, _)| &text[at..]).filter(|rest| is_numbered(rest));
    places
        .map(|rest| {
            let number = &rest["MQTT-".len()..];
            let end = number.find(|letter: char| !letter.is_ascii_digit() && letter != '.' && letter != '-');
            format!("MQTT-{}", number[..end.unwrap_or(number.len())].trim_end_matches(['.', '-']))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Braces stand for brackets, so that nobody takes these for citations.
    #[test]
    fn every_form_is_read() {
        let of = |document, pattern: &str| Citation { document, pattern: pattern.into() };
        for (text, wanted) in [
            ("{MQTT-3.1.2-4}: so", vec![of("5.0", "MQTT-3.1.2-4")]),
            ("{MQTT-3.1.2-4, 3.1.2-5}", vec![of("5.0", "MQTT-3.1.2-4"), of("5.0", "MQTT-3.1.2-5")]),
            ("{MQTT-3.1.2-4, MQTT-3.1.2-5}", vec![of("5.0", "MQTT-3.1.2-4"), of("5.0", "MQTT-3.1.2-5")]),
            ("{3.1.1: MQTT-3.1.2-22}", vec![of("3.1.1", "MQTT-3.1.2-22")]),
            ("{U-a, U-*-b} {V31-c}", ["U-a", "U-*-b", "V31-c"].map(|id| of("unnumbered", id)).to_vec()),
            ("{`Connect`} bytes{3} #{test}", vec![]),
        ] {
            assert_eq!(cited(&text.replace('{', "[").replace('}', "]")), wanted, "{text}");
        }
        assert!(of("unnumbered", "U-*-twice").means("U-3.14.2.2.3-reason-string-twice"));
        assert!(!of("unnumbered", "U-*-twice").means("U-3.14.2.1-disconnect-short-forms"));
        assert!(!of("5.0", "MQTT-3.1.2-2").means("MQTT-3.1.2-22"));
    }

    #[test]
    fn numbers_are_found_in_any_form() {
        let text = "see MQTT-3.1.2-22. (MQTT-3.1.2-4) `MQTT-3.1.2-5`, `MQTT-x`";
        assert_eq!(numbered(text), ["MQTT-3.1.2-22", "MQTT-3.1.2-4", "MQTT-3.1.2-5"]);
    }
}
