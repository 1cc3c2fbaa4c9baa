//! Redis: a server that may be elsewhere, for one broker at a time.
//!
//! * `resp` — the protocol
//! * `link` — a connection, plain or over TLS
//! * `settings` — what the server's settings make of "kept"
//!
//! Four keys begin with the prefix: `keys`, a sorted set that has the records' keys in the order of their bytes; `values`, a
//! hash of the records; `owner`, whose store it is, and how many batches that broker has written; and `alive`, which ends
//! by itself unless that broker renews it. A batch is a transaction (MULTI and EXEC) that Redis refuses once somebody else
//! has changed `owner`: so who was taken for dead writes nothing, and who comes back finds out what became of a batch that
//! was not answered.

mod link;
mod resp;
mod settings;

use crate::redis_url::RedisUrl;
use crate::store::{Batch, Promise, Store, StoreError, Visit, end_of};
use link::{Link, SILENCE, failed};
use resp::{Pipeline, Reply};
use settings::Settings;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// So long after it was heard of for the last time, a broker counts as dead.
const LEASE: Duration = Duration::from_secs(3);

/// Time between two signs of life.
const RENEWAL: Duration = Duration::from_secs(1);

/// Time between two looks at whether another broker gives signs of life.
const LOOK: Duration = Duration::from_millis(100);

/// Time between two looks at what the records take.
const MEASUREMENT: Duration = Duration::from_millis(100);

/// Records that one command sets or removes.
const CHUNK: usize = 10_000;

/// Records that are read at once, first and at most, and the bytes from which on it is fewer.
const PAGE: usize = 64;
const MAX_PAGE: usize = 16_384;
const PAGE_BYTES: usize = 1 << 20;

/// Where a store is, and how it is used.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// The server.
    pub url: RedisUrl,
    /// A file with the password, instead of one in the URL.
    pub password_file: Option<PathBuf>,
    /// Certificates of those who may vouch for the server, for `rediss://`.
    pub ca: Option<PathBuf>,
    /// What the names of all keys begin with. Brokers that share a database need different ones.
    pub prefix: String,
    /// Wait with each batch until the server has it on its disk, also where its settings do not make it: `WAITAOF`, Redis
    /// 7.2 or newer.
    pub wait_for_fsync: bool,
}

/// Names of the keys.
struct Names {
    owner: Vec<u8>,
    alive: Vec<u8>,
    keys: Vec<u8>,
    values: Vec<u8>,
}

/// A store in a Redis server.
pub struct RedisStore {
    options: RedisOptions,
    names: Names,
    settings: Settings,
    /// Which broker this is, among all that ever were.
    token: String,
    /// Batches of this broker that the server has.
    batches: u64,
    /// It was taken over.
    is_ours: bool,
    /// `None` between an error and what it takes to begin anew.
    link: RefCell<Option<Link>>,
    /// The latest sign of life.
    renewed: Cell<Instant>,
    /// What the records took at the latest look.
    size: Option<(Instant, u64)>,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("options", &self.options).finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Connects, and takes the store over once no other broker gives signs of life: after a broker that was killed, that
    /// takes three seconds.
    ///
    /// # Errors
    /// The server is not there, does not let us in or has not what is asked for; another broker uses the store; or the
    /// keys are something else, which is left as it is.
    pub fn open(options: RedisOptions) -> Result<Self, StoreError> {
        let mut link = Link::open(&options)?;
        let settings = Settings::ask(&mut link, options.wait_for_fsync)?;
        let name = |what: &str| format!("{}:{what}", options.prefix).into_bytes();
        let names =
            Names { owner: name("owner"), alive: name("alive"), keys: name("keys"), values: name("values") };
        let mut token = [0; 16];
        getrandom::fill(&mut token).map_err(|error| failed(error.to_string()))?;
        let mut store = Self {
            names,
            settings,
            token: format!("{:032x}", u128::from_be_bytes(token)),
            batches: 0,
            is_ours: false,
            link: RefCell::new(Some(link)),
            renewed: Cell::new(Instant::now()),
            size: None,
            options,
        };
        store.take_over()?;
        Ok(store)
    }

    /// Makes the store ours, unless another broker is alive.
    fn take_over(&mut self) -> Result<(), StoreError> {
        let (began, mut left_before) = (Instant::now(), i64::MAX);
        loop {
            let mut pipeline = Pipeline::default();
            pipeline.push(&[b"WATCH", &self.names.owner, &self.names.alive]);
            let left = pipeline.push(&[b"PTTL", &self.names.alive]);
            let kinds = self.names.kinds().map(|(name, kind)| (pipeline.push(&[b"TYPE", name]), name, kind));
            let replies = self.ask(&pipeline)?;
            for (at, name, kind) in kinds {
                match replies[at].text() {
                    Some(found) if found != "none" && found != kind => {
                        let name = String::from_utf8_lossy(name);
                        return Err(StoreError::Foreign(format!("its key {name} is a {found}")));
                    }
                    _ => {}
                }
            }
            match replies[left] {
                // There is no such key.
                Reply::Integer(-2) => {
                    let token = self.token.clone();
                    let ours = |pipeline: &mut Pipeline, names: &Names| {
                        pipeline.push(&[b"HSET", &names.owner, b"token", token.as_bytes(), b"batches", b"0"]);
                    };
                    // If another broker was faster, the next look sees it.
                    if let (true, owner) = self.try_to(ours)? {
                        self.batches = self.batches_of(&owner)?;
                        self.is_ours = true;
                        return Ok(());
                    }
                }
                // It was renewed, or has no end.
                Reply::Integer(left) if left > left_before || began.elapsed() > LEASE + RENEWAL => {
                    return Err(StoreError::Locked);
                }
                Reply::Integer(left) => left_before = left,
                _ => return Err(failed("the server does not answer as Redis does")),
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Asks the server; after an error the connection is given up.
    fn ask(&self, pipeline: &Pipeline) -> Result<Vec<Reply>, StoreError> {
        let mut link = self.link.borrow_mut();
        let replies = link.as_mut().ok_or_else(|| failed("there is no connection"))?.ask(pipeline);
        if replies.is_err() {
            *link = None;
        }
        replies
    }

    /// Carries out commands, all or none, and gives a sign of life. Refused if the owner has changed since the latest
    /// call, be it by what was left of a connection of our own.
    fn transact(&mut self, commands: impl FnOnce(&mut Pipeline, &Names)) -> Result<(), StoreError> {
        let (is_done, owner) = self.try_to(commands)?;
        let found = self.batches_of(&owner);
        if !is_done || found.is_err() {
            *self.link.get_mut() = None;
        }
        self.batches = found?;
        if is_done { Ok(()) } else { Err(failed("something else has changed the owner")) }
    }

    /// The same; says whether it was done, and who is the owner now.
    fn try_to(&mut self, commands: impl FnOnce(&mut Pipeline, &Names)) -> Result<(bool, Reply), StoreError> {
        let mut pipeline = Pipeline::default();
        pipeline.push(&[b"MULTI"]);
        commands(&mut pipeline, &self.names);
        self.sign_of_life(&mut pipeline);
        let done = pipeline.push(&[b"EXEC"]);
        let most = (SILENCE / 2).as_millis().to_string();
        let waits = self.options.wait_for_fsync;
        let synced = waits.then(|| pipeline.push(&[b"WAITAOF", b"1", b"0", most.as_bytes()]));
        let owner = self.watch(&mut pipeline);
        let mut replies = self.ask(&pipeline)?;
        if let Some(Reply::Array(disks)) = synced.map(|at| &replies[at])
            && disks.first() == Some(&Reply::Integer(0))
        {
            *self.link.get_mut() = None;
            return Err(failed("the server did not get it to its disk in time"));
        }
        Ok((replies[done] != Reply::Nil, replies.swap_remove(owner)))
    }

    fn sign_of_life(&self, pipeline: &mut Pipeline) {
        let lease = LEASE.as_millis().to_string();
        pipeline.push(&[b"SET", &self.names.alive, self.token.as_bytes(), b"PX", lease.as_bytes()]);
        self.renewed.set(Instant::now());
    }

    /// From here on a transaction is refused if the owner has changed; its place in the replies says who that is.
    fn watch(&self, pipeline: &mut Pipeline) -> usize {
        pipeline.push(&[b"WATCH", &self.names.owner]);
        pipeline.push(&[b"HMGET", &self.names.owner, b"token", b"batches"])
    }

    /// Batches that the server has of us: those that it has answered, and perhaps one that it could not answer any more.
    fn batches_of(&self, owner: &Reply) -> Result<u64, StoreError> {
        let fields = if let Reply::Array(fields) = owner { &**fields } else { &[] };
        let mut fields = fields.iter().map(Reply::text);
        let what = match fields.next().flatten() {
            None => "the server has nothing of it any more".to_owned(),
            Some(token) if token != self.token => "another broker has taken it over".to_owned(),
            Some(_) => {
                let found = fields.next().flatten().and_then(|text| text.parse().ok()).unwrap_or(0);
                if found == self.batches || found == self.batches + 1 {
                    return Ok(found);
                }
                format!("of {} batches that the server had kept it has {found}", self.batches)
            }
        };
        Err(StoreError::Lost(what))
    }

    /// Keys of the records whose keys begin with one of these.
    fn below<'a>(&self, prefixes: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut pipeline = Pipeline::default();
        for prefix in prefixes {
            let end = end_of(prefix).map_or_else(|| b"+".to_vec(), |end| [b"(", &*end].concat());
            pipeline.push(&[b"ZRANGEBYLEX", &self.names.keys, &[b"[", prefix].concat(), &end]);
        }
        if pipeline.requests() == 0 {
            return Ok(Vec::new());
        }
        Ok(self.ask(&pipeline)?.into_iter().flat_map(Reply::into_list).collect())
    }
}

impl Names {
    /// Each with the type of its value.
    fn kinds(&self) -> [(&[u8], &'static str); 4] {
        [(&self.owner, "hash"), (&self.alive, "string"), (&self.keys, "zset"), (&self.values, "hash")]
    }
}

impl Store for RedisStore {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let cleared = self.below(batch.cleared())?;
        let removed = batch.changes().filter(|(_, value)| value.is_none()).map(|(key, _)| key);
        let gone: Vec<&[u8]> = cleared.iter().map(Vec::as_slice).chain(removed).collect();
        let set: Vec<(&[u8], &[u8])> =
            batch.changes().filter_map(|(key, value)| Some((key, value?))).collect();
        if gone.is_empty() && set.is_empty() {
            return Ok(());
        }
        let number = (self.batches + 1).to_string();
        self.transact(|pipeline, names| {
            for keys in gone.chunks(CHUNK) {
                pipeline.push(&[&[&b"ZREM"[..], &names.keys], keys].concat());
                pipeline.push(&[&[&b"HDEL"[..], &names.values], keys].concat());
            }
            for records in set.chunks(CHUNK) {
                // All have the same score, so it is the bytes that order them.
                let mut keys: Vec<&[u8]> = vec![b"ZADD", &names.keys];
                keys.extend(records.iter().flat_map(|(key, _)| [&b"0"[..], key]));
                pipeline.push(&keys);
                let mut values: Vec<&[u8]> = vec![b"HSET", &names.values];
                values.extend(records.iter().flat_map(|(key, value)| [*key, value]));
                pipeline.push(&values);
            }
            pipeline.push(&[b"HSET", &names.owner, b"batches", number.as_bytes()]);
        })
    }

    fn scan(&self, from: &[u8], each: &mut Visit<'_>) -> Result<(), StoreError> {
        let mut lowest = [b"[", from].concat();
        let mut count = PAGE;
        loop {
            let mut pipeline = Pipeline::default();
            let limit = count.to_string();
            pipeline.push(&[
                b"ZRANGEBYLEX",
                &self.names.keys,
                &lowest,
                b"+",
                b"LIMIT",
                b"0",
                limit.as_bytes(),
            ]);
            if self.renewed.get().elapsed() > RENEWAL {
                self.sign_of_life(&mut pipeline);
            }
            let keys = self.ask(&pipeline)?.swap_remove(0).into_list();
            let Some(last) = keys.last() else { return Ok(()) };
            let mut pipeline = Pipeline::default();
            let command = [&b"HMGET"[..], &self.names.values].into_iter();
            pipeline.push(&command.chain(keys.iter().map(Vec::as_slice)).collect::<Vec<_>>());
            // A key without a value becomes a record that cannot be read, and is put aside as such.
            let values = self.ask(&pipeline)?.swap_remove(0).into_list();
            for (key, value) in keys.iter().zip(&values) {
                if let ControlFlow::Break(()) = each(key, value) {
                    return Ok(());
                }
            }
            let is_last = keys.len() < count;
            if is_last {
                return Ok(());
            }
            lowest = [b"(", &**last].concat();
            let bytes: usize = values.iter().map(Vec::len).sum();
            count = if bytes < PAGE_BYTES { (count * 2).min(MAX_PAGE) } else { (count / 2).max(1) };
        }
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        // Closed first: its answers would be about something else.
        *self.link.get_mut() = None;
        let mut link = Link::open(&self.options)?;
        let mut pipeline = Pipeline::default();
        let owner = self.watch(&mut pipeline);
        let replies = link.ask(&pipeline)?;
        self.batches = self.batches_of(&replies[owner])?;
        *self.link.get_mut() = Some(link);
        Ok(())
    }

    fn idle(&mut self) -> Result<Option<Duration>, StoreError> {
        if let Some(left) = RENEWAL.checked_sub(self.renewed.get().elapsed()) {
            return Ok(Some(left));
        }
        self.transact(|_, _| ())?;
        Ok(Some(RENEWAL))
    }

    fn promise(&self) -> Option<Promise> {
        Some(self.settings.promise())
    }

    fn count(&self) -> Option<u64> {
        let mut pipeline = Pipeline::default();
        pipeline.push(&[b"ZCARD", &self.names.keys]);
        match self.ask(&pipeline).ok()?.first() {
            Some(Reply::Integer(count)) => u64::try_from(*count).ok(),
            _ => None,
        }
    }

    /// Memory of the server, by a sample of the records.
    fn size(&mut self) -> Option<u64> {
        if let Some((_, size)) = self.size.filter(|(at, _)| at.elapsed() < MEASUREMENT) {
            return Some(size);
        }
        let mut pipeline = Pipeline::default();
        for key in [&self.names.keys, &self.names.values] {
            pipeline.push(&[b"MEMORY", b"USAGE", key, b"SAMPLES", b"100"]);
        }
        let bytes = |reply: Reply| match reply {
            Reply::Integer(bytes) => u64::try_from(bytes).unwrap_or(0),
            _ => 0,
        };
        let size = self.ask(&pipeline).ok()?.into_iter().map(bytes).sum();
        self.size = Some((Instant::now(), size));
        Some(size)
    }

    fn check(&mut self) -> Result<bool, StoreError> {
        let mut pipeline = Pipeline::default();
        pipeline.push(&[b"ZCARD", &self.names.keys]);
        pipeline.push(&[b"HLEN", &self.names.values]);
        let replies = self.ask(&pipeline)?;
        Ok(replies[0] == replies[1])
    }

    /// Its own file is the server's affair; it begins to write that anew.
    fn compact(&mut self) -> Result<(), StoreError> {
        if !self.settings.appends {
            return Err(failed("appendonly is no: the server has no file of what was written"));
        }
        let mut pipeline = Pipeline::default();
        pipeline.push(&[b"BGREWRITEAOF"]);
        self.ask(&pipeline).map(drop)
    }
}

impl Drop for RedisStore {
    /// The next broker need not wait.
    fn drop(&mut self) {
        if !self.is_ours {
            return;
        }
        let mut pipeline = Pipeline::default();
        pipeline.push(&[b"MULTI"]);
        pipeline.push(&[b"DEL", &self.names.alive]);
        pipeline.push(&[b"EXEC"]);
        // If that fails, it waits for three seconds.
        let _gone = self.ask(&pipeline);
    }
}
