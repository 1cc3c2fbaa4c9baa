//! What the server's settings make of "kept".

use super::link::{Link, describe, failed};
use super::resp::{Pipeline, Reply};
use crate::store::{Promise, StoreError};

/// Settings of a server that decide what it has after its own end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// It has a file of what was written, in order.
    pub(super) appends: bool,
    /// `appendfsync`: when the system is to write that to the disk; `None` if we are not told.
    fsync: Option<String>,
    /// `maxmemory-policy`: what it throws away when its memory is full; `None` if we are not told.
    eviction: Option<String>,
    /// We ask it about every batch whether that is on the disk.
    waits: bool,
}

impl Settings {
    /// Asks the server. With `waits` it has to be one that can be asked about its disk.
    pub(super) fn ask(link: &mut Link, waits: bool) -> Result<Self, StoreError> {
        let mut pipeline = Pipeline::default();
        let persistence = pipeline.push(&[b"INFO", b"persistence"]);
        let fsync = pipeline.push(&[b"CONFIG", b"GET", b"appendfsync"]);
        let eviction = pipeline.push(&[b"CONFIG", b"GET", b"maxmemory-policy"]);
        let waitaof = waits.then(|| pipeline.push(&[b"WAITAOF", b"1", b"0", b"1"]));
        let replies = link.exchange(&pipeline).map_err(|error| failed(describe(&error)))?;
        if let Some(Reply::Error(error)) = replies.get(persistence) {
            return Err(failed(format!("the server says: {error}")));
        }
        if let Some(Reply::Error(error)) = waitaof.and_then(|at| replies.get(at)) {
            return Err(failed(format!(
                "redis_wait_for_fsync needs Redis 7.2 with appendonly yes: the server says: {error}"
            )));
        }
        let info = replies.get(persistence).and_then(Reply::text).unwrap_or_default();
        // Managed servers may keep CONFIG to themselves.
        let value = |at: usize| match replies.get(at) {
            Some(Reply::Array(pair)) => pair.get(1).and_then(Reply::text).map(str::to_owned),
            _ => None,
        };
        Ok(Self {
            appends: info.lines().any(|line| line.trim_end() == "aof_enabled:1"),
            fsync: value(fsync),
            eviction: value(eviction),
            waits,
        })
    }

    /// In one line, what becomes of what was kept.
    pub(super) fn promise(&self) -> Promise {
        let (is_durable, text) = match (self.appends, self.fsync.as_deref()) {
            (true, _) if self.waits => (true, "each batch waits until Redis has it on the disk (WAITAOF)"),
            (true, Some("always")) => {
                (true, "Redis has each batch on the disk before it answers (appendfsync always)")
            }
            (true, Some("everysec")) => (
                false,
                "Redis writes to the disk once a second (appendfsync everysec): what is acknowledged survives the end of \
                 the broker, but that of Redis, or a power cut, may take the last seconds; appendfsync always and \
                 redis_wait_for_fsync take none",
            ),
            (true, Some(_)) => (
                false,
                "Redis leaves to the system when to write to the disk (appendfsync no): what is acknowledged survives the \
                 end of the broker and of Redis, but a power cut may take half a minute",
            ),
            (true, None) => (
                false,
                "Redis has a file of what was written, but does not tell when that is on the disk: CONFIG GET is refused",
            ),
            (false, _) => (
                false,
                "Redis has no file of what was written (appendonly no): when it ends, what was acknowledged since its \
                 latest snapshot is gone",
            ),
        };
        match self.eviction.as_deref().filter(|policy| policy.starts_with("allkeys")) {
            Some(policy) => Promise {
                is_durable: false,
                text: format!(
                    "Redis throws away what it likes when its memory is full (maxmemory-policy {policy}): set noeviction; {text}"
                ),
            },
            None => Promise { is_durable, text: text.to_owned() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn only_what_is_on_the_disk_is_called_durable() {
        for (appends, fsync, eviction, waits, is_durable, wanted) in [
            (true, Some("always"), Some("noeviction"), false, true, "before it answers"),
            (true, Some("everysec"), Some("noeviction"), true, true, "WAITAOF"),
            (true, Some("everysec"), Some("volatile-lru"), false, false, "the last seconds"),
            (true, Some("no"), None, false, false, "half a minute"),
            (true, None, None, false, false, "CONFIG GET is refused"),
            (false, Some("always"), Some("noeviction"), false, false, "appendonly no"),
            (true, Some("always"), Some("allkeys-lru"), false, false, "maxmemory-policy allkeys-lru"),
        ] {
            let own = |text: Option<&str>| text.map(str::to_owned);
            let settings = Settings { appends, fsync: own(fsync), eviction: own(eviction), waits };
            let promise = settings.promise();
            assert_eq!(promise.is_durable, is_durable, "{settings:?}");
            assert!(promise.text.contains(wanted) && promise.text.lines().count() == 1, "{promise:?}");
        }
    }
}
