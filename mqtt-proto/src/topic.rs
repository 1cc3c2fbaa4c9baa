//! Topic names and filters, and what it means that one matches the other.

use core::fmt;

/// Why a text is not a topic name or filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// Empty [MQTT-4.7.3-1].
    Empty,
    /// Longer than 65,535 bytes [MQTT-4.7.3-3].
    TooLong,
    /// Has U+0000 [MQTT-4.7.3-2].
    Null,
    /// A topic name with `+` or `#` [MQTT-3.3.2-2].
    WildcardInName,
    /// `+` beside other characters of its level, or `#` anywhere but alone at the end [MQTT-4.7.1-1].
    MisplacedWildcard,
    /// `$share` without share name, with a wildcard in it, or without filter behind it [MQTT-4.8.2-1].
    ShareName,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the topic is empty",
            Self::TooLong => "the topic is longer than 65,535 bytes",
            Self::Null => "the topic has a null character",
            Self::WildcardInName => "a topic name must not have wildcards",
            Self::MisplacedWildcard => "a wildcard must stand alone in its level, and # at the end",
            Self::ShareName => "a shared subscription is $share/NAME/FILTER, without wildcard in NAME",
        })
    }
}

impl core::error::Error for TopicError {}

fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        Err(TopicError::Empty)
    } else if text.len() > usize::from(u16::MAX) {
        Err(TopicError::TooLong)
    } else if text.as_bytes().contains(&0) {
        Err(TopicError::Null)
    } else {
        Ok(())
    }
}

/// The name of a topic, as messages carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks a text.
    ///
    /// # Errors
    /// Empty, too long, a null character or a wildcard.
    #[inline]
    pub fn parse(text: &'a str) -> Result<Self, TopicError> {
        check_text(text)?;
        if text.bytes().any(|byte| matches!(byte, b'+' | b'#')) {
            return Err(TopicError::WildcardInName);
        }
        Ok(Self(text))
    }

    /// The text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Its levels; empty ones count.
    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }
}

/// A topic filter, as subscriptions carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicFilter<'a> {
    text: &'a str,
    share: Option<&'a str>,
    filter: &'a str,
}

impl<'a> TopicFilter<'a> {
    /// Checks a text and takes `$share/NAME/` off its front.
    ///
    /// # Errors
    /// Empty, too long, a null character, misplaced wildcards, or a broken `$share` part.
    pub fn parse(text: &'a str) -> Result<Self, TopicError> {
        check_text(text)?;
        let (share, filter) = match text.strip_prefix("$share/") {
            None => (None, text),
            Some(rest) => {
                let (name, filter) = rest.split_once('/').ok_or(TopicError::ShareName)?;
                if name.is_empty()
                    || filter.is_empty()
                    || name.bytes().any(|byte| matches!(byte, b'+' | b'#'))
                {
                    return Err(TopicError::ShareName);
                }
                (Some(name), filter)
            }
        };
        let mut ended = false;
        for level in filter.split('/') {
            let wild = level.bytes().any(|byte| matches!(byte, b'+' | b'#'));
            if ended || (wild && level.len() > 1) {
                return Err(TopicError::MisplacedWildcard);
            }
            ended = level == "#";
        }
        Ok(Self { text, share, filter })
    }

    /// The whole text.
    pub const fn as_str(self) -> &'a str {
        self.text
    }

    /// The share name of a shared subscription.
    pub const fn share(self) -> Option<&'a str> {
        self.share
    }

    /// The filter without its `$share` part.
    pub const fn filter(self) -> &'a str {
        self.filter
    }

    /// Has it `+` or `#`?
    pub fn has_wildcard(self) -> bool {
        self.filter.bytes().any(|byte| matches!(byte, b'+' | b'#'))
    }

    /// Levels of the filter; empty ones count.
    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.filter.split('/')
    }

    /// Does a message to this topic match? This is the definition; indexes must agree with it.
    pub fn matches(self, topic: TopicName<'_>) -> bool {
        matches(self.filter, topic.as_str())
    }
}

/// [`TopicFilter::matches`] for a filter (without `$share` part) and a name that are known to be valid.
pub fn matches(filter: &str, topic: &str) -> bool {
    // A leading wildcard does not reach topics that begin with $ [MQTT-4.7.2-1].
    if topic.starts_with('$') && matches!(filter.as_bytes().first(), Some(b'+' | b'#')) {
        return false;
    }
    let mut names = topic.split('/');
    for level in filter.split('/') {
        // "a/#" matches "a" too, so # is looked at before the name's level is asked for.
        if level == "#" {
            return true;
        }
        match names.next() {
            Some(name) if level == "+" || level == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}
