//! The tables with their figures.

use crate::broker::Runtime;
use crate::judge::{self, Found};
use std::collections::BTreeMap;
use std::fmt::Write;

/// By class, row and runtime.
pub(crate) type Figures = BTreeMap<(&'static str, &'static str, Runtime), Found>;

/// In Markdown.
pub(crate) fn tables(figures: &Figures) -> String {
    let mut text = String::from(
        "| class | what is done | what is to come of it | ceiling | tokio | smol | async-std | figures |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for attack in judge::attacks() {
        let found = |runtime| figures.get(&(attack.class, attack.done, runtime));
        let all = [Runtime::Tokio, Runtime::Smol, Runtime::AsyncStd].map(found);
        let memory = all.map(|found| {
            found.map_or("-".to_owned(), |found| format!("{:.1} / {:.1}", mib(found.peak), mib(found.left)))
        });
        let note = all.iter().flatten().next().map_or("", |found| &found.note);
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {note} |",
            attack.class,
            attack.done,
            attack.expected,
            attack.ceiling,
            memory.join(" | ")
        )
        .unwrap();
    }
    text
}

#[allow(clippy::cast_precision_loss)] // For people.
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
