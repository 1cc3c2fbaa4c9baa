//! Trace files: cases made of lines, one step a line.
//!
//! ```text
//! # what this file is about
//!
//! == a_name_for_the_case                        begins a case
//! holds MQTT-3.1.0-2 (3.1.1) MQTT-3.1.0-2       statements it shows; without a version they are of MQTT 5.0
//! in 3.1 3.1.1 5.0                              versions that it is run in; all of them if not said
//! with receive_maximum = 2                      a limit of the broker; a line of TOML
//! authentication in-steps                       the broker knows an authentication method; see [`Authentication`]
//! a > CONNECT a clean                           client `a` sends; its first packet opens its connection
//! a > SUBSCRIBE #1 t ; PINGREQ                  both in one write
//! a < CONNACK 00 ...                            it gets that packet; `...` lets it have further words
//! a < CONNACK 00 !present ...                   but not this one; `!name` also stands for a property, with any value
//! a < CONNACK 00 server-keep-alive=* ...        this property, with any value
//! [5.0] a < DISCONNECT 82                       in these versions only; [3] is 3.1 and 3.1.1
//! a < closed                                    the broker ends the connection
//! a < nothing                                   nothing comes
//! a cut                                         the transport breaks
//! wait 1.5                                      seconds pass
//! ```
//! `reason-string` is never compared: its words are for people.

use crate::Version;
use crate::authentication::Authentication;
use std::collections::BTreeSet;

/// One case of a file.
#[derive(Clone, Debug)]
pub struct Case {
    /// File without ending, `::`, name.
    pub name: String,
    /// Line number in the file.
    pub line: usize,
    /// Statements that it shows, as (document, number).
    pub holds: Vec<(String, String)>,
    /// Versions that it is run in.
    pub versions: Vec<Version>,
    /// Lines of TOML for the broker's limits.
    pub limits: Vec<String>,
    /// How clients come in.
    pub authentication: Authentication,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One line of a case.
#[derive(Clone, Debug)]
pub struct Step {
    /// Line number in the file.
    pub line: usize,
    /// Versions that it is meant for.
    pub versions: Vec<Version>,
    /// What happens.
    pub action: Action,
}

/// What happens in a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A client sends a packet.
    Send(String, String),
    /// A client gets a packet.
    Expect(String, String),
    /// A client's connection is closed by the broker.
    Closed(String),
    /// A client gets nothing.
    Nothing(String),
    /// A client's transport breaks.
    Cut(String),
    /// Time passes, milliseconds.
    Wait(u64),
}

/// Documents that statements are of.
pub const DOCUMENTS: [&str; 3] = ["5.0", "3.1.1", "unnumbered"];

/// Reads a file.
///
/// # Errors
/// Names the line that is not understood.
pub fn parse(file: &str, text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    let mut names = BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        let wrong = |what: &str| format!("{file}:{number}: {what}: {line}");
        if line.is_empty() || line.starts_with("# ") || line == "#" {
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            if !names.insert(name.to_owned()) {
                return Err(wrong("a second case of that name"));
            }
            cases.push(Case {
                name: format!("{file}::{name}"),
                line: number,
                holds: Vec::new(),
                versions: Version::ALL.to_vec(),
                limits: Vec::new(),
                authentication: Authentication::AllowAll,
                steps: Vec::new(),
            });
            continue;
        }
        let Some(case) = cases.last_mut() else { return Err(wrong("a step before the first case")) };
        if let Some(ids) = line.strip_prefix("holds ") {
            let mut document = "5.0".to_owned();
            for id in ids.split_whitespace() {
                match id.strip_prefix('(').and_then(|id| id.strip_suffix(')')) {
                    Some(title) if DOCUMENTS.contains(&title) => title.clone_into(&mut document),
                    Some(_) => return Err(wrong("no such document")),
                    None => case.holds.push((document.clone(), id.to_owned())),
                }
            }
        } else if let Some(versions) = line.strip_prefix("in ") {
            case.versions =
                Version::list(versions).ok_or_else(|| wrong("versions are 3.1, 3.1.1, 5.0 or 3"))?;
        } else if let Some(limit) = line.strip_prefix("with ") {
            case.limits.push(limit.to_owned());
        } else if let Some(name) = line.strip_prefix("authentication ") {
            case.authentication =
                Authentication::named(name).ok_or_else(|| wrong("no such authentication"))?;
        } else {
            let step = step(number, line).ok_or_else(|| wrong("not understood"))?;
            case.steps.push(step);
        }
    }
    Ok(cases)
}

fn step(number: usize, line: &str) -> Option<Step> {
    let (versions, line) = match line.strip_prefix('[') {
        Some(rest) => {
            let (versions, rest) = rest.split_once(']')?;
            (Version::list(versions)?, rest.trim())
        }
        None => (Version::ALL.to_vec(), line),
    };
    if let Some(seconds) = line.strip_prefix("wait ") {
        let millis = (seconds.parse::<f64>().ok()? * 1000.0).round();
        // Small and whole, so the cast is exact.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        return Some(Step { line: number, versions, action: Action::Wait(millis as u64) });
    }
    let (who, rest) = line.split_once(' ')?;
    let who = who.to_owned();
    let action = match rest.trim() {
        "cut" => Action::Cut(who),
        "< closed" => Action::Closed(who),
        "< nothing" => Action::Nothing(who),
        rest => match rest.split_once(' ')? {
            (">", packet) => Action::Send(who, packet.trim().to_owned()),
            ("<", packet) => Action::Expect(who, packet.trim().to_owned()),
            _ => return None,
        },
    };
    Some(Step { line: number, versions, action })
}
