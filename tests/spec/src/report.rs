//! `docs/conformance.md`, made from the ledgers: `cargo run -p metronome-spec` writes it, a test sees that it is
//! current.

use crate::gotchas;
use crate::ledger::{Ledger, Statement, Status, read};
use crate::names::{Place, Tests, root};
use crate::parity::{self, State};
use crate::trace::DOCUMENTS;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// How the lines about conformance in the README begin and end.
const README_MARKS: [&str; 2] =
    ["<!-- conformance: written by `cargo run -p metronome-spec` -->", "<!-- end -->"];

/// Statements by how they stand.
#[derive(Clone, Copy, Default)]
struct Totals {
    all: usize,
    tested: usize,
    not_applicable: usize,
    waits: usize,
    deviates: usize,
}

impl Totals {
    fn of<'a>(statements: impl IntoIterator<Item = &'a Statement>) -> Self {
        let mut totals = Self::default();
        for statement in statements {
            totals.all += 1;
            match statement.status {
                Status::Tested => totals.tested += 1,
                Status::NotApplicable => totals.not_applicable += 1,
                Status::Waits => totals.waits += 1,
                Status::Deviates => totals.deviates += 1,
            }
        }
        totals
    }

    fn row(self) -> String {
        let Self { all, tested, not_applicable, waits, deviates } = self;
        format!("{all} | {tested} | {not_applicable} | {waits} | {deviates} |")
    }
}

/// Numbers in an identifier compare as numbers.
fn natural(id: &str) -> Vec<(u32, String)> {
    id.split(['.', '-']).map(|part| (part.parse().unwrap_or(u32::MAX), part.to_owned())).collect()
}

/// The section that a statement belongs to: `3.1.2` of `MQTT-3.1.2-10`.
fn section(id: &str) -> String {
    let place = id.split('-').nth(1).unwrap_or_default();
    if id.starts_with("V31") { "3.1".into() } else { place.split('.').take(2).collect::<Vec<_>>().join(".") }
}

fn title(document: &str) -> &'static str {
    match document {
        "5.0" => "MQTT 5.0",
        "3.1.1" => "MQTT 3.1.1",
        _ => "Rules without a number, and MQTT 3.1",
    }
}

/// The statements of a document by section, in the order of the document.
fn by_section(ledger: &Ledger) -> Vec<(String, Vec<(&String, &Statement)>)> {
    let mut sorted: Vec<_> = ledger.iter().collect();
    sorted.sort_by_key(|(id, _)| (id.starts_with("V31"), natural(id)));
    let mut sections: Vec<(String, Vec<_>)> = Vec::new();
    for (id, statement) in sorted {
        let name = if id.starts_with("V31") { "MQTT 3.1".to_owned() } else { section(id) };
        match sections.last_mut() {
            Some((same, statements)) if *same == name => statements.push((id, statement)),
            _ => sections.push((name, vec![(id, statement)])),
        }
    }
    sections
}

/// The names of tests, each with a link to where it is and what it is run against.
fn links(names: &[String], tests: &Tests) -> String {
    let link = |name: &String| {
        let Place { file, line } = tests.place(name).unwrap_or_else(|| panic!("no test {name}"));
        let short = name.rsplit("::").next().unwrap_or(name);
        let against = tests.against(name).map(|what| format!(" ({what})")).unwrap_or_default();
        format!("[{short}](../{file}#L{line}){against}")
    };
    names.iter().map(link).collect::<Vec<_>>().join("<br>")
}

fn how_it_stands(statement: &Statement, tests: &Tests) -> String {
    let reason = statement.reason.as_deref().unwrap_or_default();
    match statement.status {
        Status::Tested => links(&statement.tests, tests),
        Status::NotApplicable => format!("not applicable: {reason}"),
        Status::Waits => format!("waits for {reason}"),
        Status::Deviates => format!("deviates: {reason}<br>{}", links(&statement.tests, tests)),
    }
}

/// The statements that are not kept, or that there are none.
fn deviations(ledgers: &[(&str, Ledger)]) -> String {
    let all = ledgers.iter().flat_map(|(document, ledger)| {
        let deviating = ledger.iter().filter(|(_, statement)| statement.status == Status::Deviates);
        deviating.map(|(id, _)| format!("{id} ({})", title(document)))
    });
    let all: Vec<String> = all.collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}

/// The whole report.
pub fn report() -> String {
    let tests = Tests::all();
    let ledgers: Vec<(&str, Ledger)> = DOCUMENTS.iter().map(|document| (*document, read(document))).collect();
    let mut text = format!(
        "# Conformance\n\n\
         Every normative statement of the standard, how it stands, and the tests that show it. A test without a mark\n\
         drives the engine through bytes, and runs over real sockets against the binary as well. Enhanced\n\
         authentication, which the binary does not have, runs against the engine and over real sockets against the\n\
         library that the binary is made of. Other tests are of one crate alone, which is named. This page is\n\
         written by `cargo run -p metronome-spec` from the ledgers in [tests/spec](../tests/spec), which are guarded\n\
         from both sides: no statement may be missing, no test that is named, and none that names a statement.\n\n\
         Deviations from the standard: {}. What the standard leaves open is decided in\n\
         [ARCHITECTURE.md](../ARCHITECTURE.md).\n\n\
         | document | chapter | statements | tested | not applicable | waiting | deviating |\n\
         |---|---|---|---|---|---|---|\n",
        deviations(&ledgers),
    );
    for (document, ledger) in &ledgers {
        let mut chapters: BTreeMap<Vec<(u32, String)>, Vec<&Statement>> = BTreeMap::new();
        for (id, statement) in ledger {
            let chapter = section(id).split('.').next().unwrap_or_default().to_owned();
            let chapter = if id.starts_with("V31") { "3.1".to_owned() } else { chapter };
            chapters.entry(natural(&chapter)).or_default().push(statement);
        }
        let numbered = *document != "unnumbered";
        for (chapter, statements) in chapters.iter().filter(|_| numbered) {
            let name: Vec<&str> = chapter.iter().map(|(_, part)| part.as_str()).collect();
            let totals = Totals::of(statements.iter().copied());
            writeln!(text, "| {} | {} | {}", title(document), name.join("."), totals.row()).unwrap();
        }
        let all = Totals::of(ledger.values());
        writeln!(text, "| **{}** | | {}", title(document), all.row()).unwrap();
    }
    text += "\n## What the model brokers do\n\n\
             Each behaviour of the two brokers that are the model for this one is accounted for in\n\
             [tests/parity.toml](../tests/parity.toml).\n\n\
             | rows | done | different on purpose | refused | open |\n|---|---|---|---|---|\n";
    let rows = parity::read();
    let count = |state: State| rows.values().filter(|row| row.state == state).count();
    let [done, different, refused, open] =
        [State::Done, State::Different, State::Refused, State::Open].map(count);
    writeln!(text, "| {} | {done} | {different} | {refused} | {open} |", rows.len()).unwrap();
    text += "\n## What brokers get wrong\n\n\
             Mistakes that others made, from [tests/gotchas.toml](../tests/gotchas.toml), and what shows that they are\n\
             not made here.\n\n\
             | | right is | shown by |\n|---|---|---|\n";
    for (number, gotcha) in gotchas::read() {
        writeln!(text, "| {number} | {} | {} |", gotcha.says, links(&gotcha.tests, tests)).unwrap();
    }
    for (document, ledger) in &ledgers {
        writeln!(text, "\n## {}", title(document)).unwrap();
        for (section, statements) in by_section(ledger) {
            writeln!(text, "\n### {section}\n\n| statement | binds | says | shown by |\n|---|---|---|---|")
                .unwrap();
            for (id, statement) in statements {
                let stands = how_it_stands(statement, tests);
                writeln!(text, "| {id} | {} | {} | {stands} |", statement.binds, statement.says).unwrap();
            }
        }
    }
    text
}

/// What the README says of it.
pub fn short() -> String {
    let mut text = String::from(
        "| | statements | tested | not applicable | waiting | deviating |\n|---|---|---|---|---|---|\n",
    );
    for document in DOCUMENTS {
        let totals = Totals::of(read(document).values());
        writeln!(text, "| {} | {}", title(document), totals.row()).unwrap();
    }
    text
}

/// The two files and what has to be in them.
///
/// # Panics
/// The README has no place for it.
pub fn files() -> [(PathBuf, String); 2] {
    let readme = root().join("README.md");
    let text = fs::read_to_string(&readme).expect("README.md");
    let [begin, end] = README_MARKS;
    let (before, rest) = text.split_once(begin).unwrap_or_else(|| panic!("README.md has no {begin}"));
    let (_, after) = rest.split_once(end).unwrap_or_else(|| panic!("README.md has no {end}"));
    let readme_text = format!("{before}{begin}\n{}{end}{after}", short());
    [(root().join("docs/conformance.md"), report()), (readme, readme_text)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_those_of_the_ledgers() {
        let ledger = |status: &str| {
            let text =
                format!("[a]\nbinds = \"server\"\nsays = \"so\"\nstatus = \"{status}\"\nreason = \"why\"");
            [("5.0", toml::from_str::<Ledger>(&text).unwrap())]
        };
        assert_eq!(deviations(&ledger("not-applicable")), "none");
        assert_eq!(deviations(&ledger("deviates")), "a (MQTT 5.0)");
        assert_eq!(Totals::of(ledger("deviates")[0].1.values()).row(), "1 | 0 | 0 | 0 | 1 |");
    }
}
