//! The page for people.

use super::{Campaign, Counted};
use crate::failure::{Failure, Shortest, size};
use std::fmt::Write as _;

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The whole report.
pub(super) fn page(campaign: &Campaign, earlier: Option<&str>) -> String {
    let mut page = "# A campaign of the simulator\n\n".to_owned();
    page += if campaign.has_held() { "Everything held.\n" } else { "**Not everything held**, see below.\n" };
    page += &figures(campaign);
    page += &failures(campaign);
    page += "\n## Over time\n\n\
        Worlds differ in length. 100 % is the moment from which nothing goes wrong any more in each of them; whatever\n\
        is owed must arrive from then on.\n";
    for (file, what) in super::pictures::SHOWN {
        let _ = write!(page, "\n![{what}]({file})\n");
    }
    page += &counted("What must hold", "looked at", &campaign.invariants);
    page += &counted("What must come to the same", "seeds", &campaign.variants);
    page += &counted("Faults", "times", &campaign.faults);
    page += &counted("What was seen", "times", &campaign.marks);
    if let Some(earlier) = earlier {
        let _ = write!(page, "\n## All campaigns\n\n{earlier}");
    }
    page
}

fn figures(campaign: &Campaign) -> String {
    let last = (campaign.from + campaign.seeds).saturating_sub(1);
    let seeds = if campaign.seeds == campaign.wanted {
        format!("{}, from {} to {last}", grouped(campaign.seeds), campaign.from)
    } else {
        format!("{} of {} from {} on", grouped(campaign.seeds), grouped(campaign.wanted), campaign.from)
    };
    let rows = [
        ("commit", format!("`{}`", campaign.commit)),
        ("machine", format!("{}, {} threads", campaign.processor, campaign.threads)),
        ("seeds", seeds),
        ("calls of the engine", grouped(campaign.events)),
        ("of those per second and core", format!("{:.0}", campaign.events_per_second_and_core)),
        ("decisions of the reference broker", grouped(campaign.decided)),
        ("of those left open", grouped(campaign.left_open)),
        ("simulated broker-years", format!("{:.3}", campaign.broker_years)),
        ("of those per core and day", format!("{:.2}", campaign.broker_years_per_core_and_day)),
        ("time on the wall", format!("{:.1} s", campaign.wall_seconds)),
        ("failures", campaign.failures.len().to_string()),
    ];
    let mut text = "\n| | |\n|---|---|\n".to_owned();
    for (name, value) in rows {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text
}

fn failures(campaign: &Campaign) -> String {
    let mut text = String::new();
    if !campaign.has_held() {
        text += "\n## Failures\n";
    }
    for lacking in &campaign.lacking {
        let _ = write!(text, "\n* {lacking}\n");
    }
    for Failure { seed, says, violation, events, repeat, shortest, .. } in &campaign.failures {
        let _ = write!(
            text,
            "\n### Seed {seed}\n\n{violation}, after {} events.\nIt says: {says}.\n",
            grouped(*events)
        );
        let _ = write!(text, "\n```sh\n{repeat}\n");
        if let Some(shortest) = shortest {
            let Shortest { operations, clients, repeat, .. } = shortest;
            let size = size(*operations, *clients);
            let _ = writeln!(text, "# the shortest: {size}\n{repeat}\n```\n");
            let _ = writeln!(text, "```text\n{}", shortest.excerpt().join("\n"));
        }
        text += "```\n";
    }
    text
}

/// A table; what never was is marked.
fn counted(title: &str, count_of: &str, all: &[Counted]) -> String {
    let never = all.iter().filter(|counted| counted.count == 0).count();
    let mut text = format!("\n## {title}\n\n{} in all, {never} of them never.\n\n", all.len());
    let _ = write!(text, "| | | {count_of} |\n|---|---|--:|\n");
    for Counted { name, says, count } in all {
        let count = if *count == 0 { "**never**".into() } else { grouped(*count) };
        let _ = writeln!(text, "| {name} | {says} | {count} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_apart() {
        let texts = [0, 12, 123, 1234, 123_456, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "12", "123", "1,234", "123,456", "1,234,567"]);
    }
}
