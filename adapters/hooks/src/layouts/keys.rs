//! The leaves of a file by their path, such as `listeners[0].address`, as far as nobody has taken them: what is left is not
//! honoured.

use super::Rule;
use crate::source::LoadError;
use metronome_host::BrokerConfig;
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) struct Keys(BTreeMap<String, Value>);

impl Keys {
    pub(super) fn of(file: Value) -> Self {
        let mut keys = Self(BTreeMap::new());
        keys.add(String::new(), file);
        keys
    }

    fn add(&mut self, path: String, value: Value) {
        match value {
            // A key without a value says nothing.
            Value::Null => {}
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    self.add(if path.is_empty() { key } else { format!("{path}.{key}") }, value);
                }
            }
            Value::Array(list) if list.iter().any(Value::is_object) => {
                for (number, value) in list.into_iter().enumerate() {
                    self.add(format!("{path}[{number}]"), value);
                }
            }
            leaf => {
                self.0.insert(path, leaf);
            }
        }
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key)
    }

    /// Takes a key if it says this; did it?
    pub(super) fn take_if(&mut self, key: &str, says: impl Into<Value>) -> bool {
        let does = self.0.get(key) == Some(&says.into());
        if does {
            self.0.remove(key);
        }
        does
    }

    /// Where a key says the first, it says the second from now on.
    pub(super) fn reword(&mut self, key: &str, said: impl Into<Value>, meant: impl Into<Value>) {
        if let Some(value) = self.0.get_mut(key)
            && *value == said.into()
        {
            *value = meant.into();
        }
    }

    pub(super) fn take_flag(&mut self, key: &str) -> Result<bool, LoadError> {
        match self.take(key) {
            None => Ok(false),
            Some(Value::Bool(is)) => Ok(is),
            Some(_) => Err(wrong(key, "is neither true nor false")),
        }
    }

    pub(super) fn take_text(&mut self, key: &str) -> Result<Option<String>, LoadError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(key, "is no text")),
        }
    }

    /// Takes a list of words.
    pub(super) fn take_words(&mut self, key: &str) -> Result<Vec<String>, LoadError> {
        let words = self.take(key).unwrap_or_else(|| Value::Array(Vec::new()));
        serde_json::from_value(words).map_err(|_| wrong(key, "is no list of words"))
    }

    /// Is the key there, or anything below it?
    pub(super) fn has_below(&self, key: &str) -> bool {
        self.0.keys().any(|path| is_below(path, key))
    }

    /// Takes the key and what is below it, whatever it is; was there anything?
    pub(super) fn take_below(&mut self, key: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|path, _| !is_below(path, key));
        self.0.len() < before
    }

    /// The paths of the entries of a list.
    pub(super) fn entries(&mut self, key: &str) -> Result<Vec<String>, LoadError> {
        self.take_if(key, Vec::<Value>::new());
        if self.0.contains_key(key) {
            return Err(wrong(key, "is no list of sections"));
        }
        let is_there = |entry: &String| self.has_below(entry);
        Ok((0..self.0.len()).map(|number| format!("{key}[{number}]")).take_while(is_there).collect())
    }

    /// What these rules make of a configuration.
    pub(super) fn follow(
        &mut self,
        mut config: BrokerConfig,
        rules: &[Rule],
    ) -> Result<BrokerConfig, LoadError> {
        for (theirs, section, ours, becomes) in rules {
            let Some(value) = self.take(theirs) else { continue };
            let value = becomes.apply(&value).ok_or_else(|| wrong(theirs, &format!("cannot be {value}")))?;
            let toml = format!("[{section}]\n{ours} = {value}\n");
            config = config.with_toml(&toml).map_err(|error| {
                let problem = error.to_string();
                // Of what was written here.
                wrong(theirs, problem.strip_prefix("line 2: ").unwrap_or(&problem))
            })?;
        }
        Ok(config)
    }

    /// What is left and says something.
    pub(super) fn ignored(self) -> impl Iterator<Item = String> {
        let says_something = |value: &Value| value.as_object().is_none_or(|section| !section.is_empty());
        self.0.into_iter().filter(move |(_, value)| says_something(value)).map(|(key, _)| key)
    }
}

fn is_below(path: &str, key: &str) -> bool {
    path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

pub(super) fn wrong(key: &str, problem: &str) -> LoadError {
    LoadError::new(problem).at_key(key)
}
