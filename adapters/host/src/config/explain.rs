//! What is wrong with a configuration file, in one line: where, which key, and what was probably meant.

/// Says so much of `error`, which reading `text` led to.
pub(super) fn explain(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim().replace('\n', " ");
    let Some(span) = error.span() else { return message };
    let before = text.get(..span.start).unwrap_or(text);
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let problem = in_words(&message);
    match line.split_once('=') {
        Some((key, _)) if !problem.contains(key.trim()) => {
            format!("line {number}: {}: {problem}", key.trim())
        }
        _ => format!("line {number}: {problem}"),
    }
}

/// Of a message that lists everything that is known, the nearest is enough.
pub(super) fn in_words(message: &str) -> String {
    match message.split_once(", expected ") {
        Some((unknown, known)) if unknown.starts_with("unknown ") => {
            let unknown = unknown.replacen("unknown field", "unknown key", 1);
            let word = quoted(&unknown).next().unwrap_or_default();
            let hint = nearest(word, quoted(known)).map(|near| format!("; did you mean `{near}`?"));
            format!("{unknown}{}", hint.unwrap_or_default())
        }
        _ => message.to_owned(),
    }
}

/// The line that sets the first limit which `problem` names.
pub(super) fn line_of(text: &str, problem: &str) -> Option<usize> {
    let key = problem.split("limits.").nth(1)?.split_whitespace().next()?;
    let sets = |line: &str| line.split_once('=').is_some_and(|(set, _)| set.trim() == key);
    text.lines().position(sets).map(|at| at + 1)
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The candidate with the fewest changes to it, unless that is more than a third of the word.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (changes, near) =
        candidates.map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate)).min()?;
    (changes <= near.len().max(word.len()) / 3).then_some(near)
}

#[cfg(test)]
mod tests {
    use crate::BrokerConfig;

    #[test]
    fn one_line_names_line_key_and_what_was_meant() {
        for (text, wanted) in [
            (
                "[limits]\nrecieve_maximum = 7\n",
                "line 2: unknown key `recieve_maximum`; did you mean `receive_maximum`?",
            ),
            (
                "[limits]\nconnect_timeout = 5\n",
                "line 2: unknown key `connect_timeout`; did you mean `connect_timeout_ms`?",
            ),
            ("[limits]\ncolour = 5\n", "line 2: unknown key `colour`"),
            ("[limit]\n", "line 1: unknown key `limit`; did you mean `limits`?"),
            (
                "[limits]\nshared_strategy = \"hash-topics\"\n",
                "line 2: shared_strategy: unknown variant `hash-topics`; did you mean `hash-topic`?",
            ),
            (
                "\n[limits]\nmax_inflight = \"many\"\n",
                "line 3: max_inflight: invalid type: string \"many\", expected u16",
            ),
            ("[limits]\nmaximum_qos = 5\n", "line 2: maximum_qos is 0, 1 or 2"),
            ("[[listeners]]\n", "line 1: missing field `address`"),
            ("[limits]\nmax_topic_levels = 9\nmax_inflight=0", "line 3: limits.max_inflight must not be 0"),
            ("limits = { max_inflight = 0 }", "limits.max_inflight must not be 0"),
        ] {
            assert_eq!(BrokerConfig::from_toml(text).unwrap_err().to_string(), wanted);
        }
        let error = BrokerConfig::from_toml("[limits]\nmax_inflight 5\n").unwrap_err().to_string();
        assert!(error.starts_with("line 2: ") && error.lines().count() == 1, "{error}");
    }
}
