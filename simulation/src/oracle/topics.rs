//! Topic names and filters, level by level, as chapter 4.7 of the standard has them.

/// Does a filter match a topic name?
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    // Leading wildcards do not match what begins with `$` [MQTT-4.7.2-1].
    if topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#')) {
        return false;
    }
    let (mut filters, mut levels) = (filter.split('/'), topic.split('/'));
    loop {
        match (filters.next(), levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}

/// The filter of a shared subscription, or the filter itself.
pub(crate) fn plain(filter: &str) -> &str {
    filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')).map_or(filter, |(_, filter)| filter)
}

pub(crate) fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/")
}

/// Does a filter have wildcards?
pub(crate) fn is_wild(filter: &str) -> bool {
    filter.contains(['+', '#'])
}

/// May anybody subscribe to this? [MQTT-4.7.1-1, 4.7.1-2, 4.7.3-1, 4.8.2-1, 4.8.2-2]
pub(crate) fn is_valid(filter: &str) -> bool {
    let name = filter.strip_prefix("$share/").map(|rest| rest.split('/').next().unwrap_or_default());
    let plain = plain(filter);
    let levels = plain.split('/').collect::<Vec<_>>();
    let wildcards_alone = levels.iter().all(|level| level.len() == 1 || !level.contains(['+', '#']));
    let hash_is_last = levels.iter().rev().skip(1).all(|level| *level != "#");
    let name_is_fine = name.is_none_or(|name| !name.is_empty() && !name.contains(['+', '#']));
    // A shared one that has no filter is its own plain form.
    let has_filter = name.is_none() || !is_shared(plain);
    !plain.is_empty() && wildcards_alone && hash_is_last && name_is_fine && has_filter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_standard() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/monitor", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/monitor", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
        for (filter, expected) in [
            ("#", true),
            ("a/#/b", false),
            ("a#", false),
            ("a/b+", false),
            ("", false),
            ("/", true),
            ("$share/g/a", true),
            ("$share/g", false),
            ("$share//a", false),
            ("$share/+/a", false),
            ("$share/g/", false),
        ] {
            assert_eq!(is_valid(filter), expected, "{filter}");
        }
    }
}
