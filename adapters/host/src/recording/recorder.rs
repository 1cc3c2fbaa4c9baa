//! Writes a recording, with secrets overwritten.

use super::{DIGEST, Digest, FRAME, HEADER, Header, INPUT, MAGIC, SNAPSHOT, checksum, segments};
use broker_engine::mqtt_proto::{FILLER, Mask, Version};
use broker_engine::{
    Answer, ApplicationMessage, Command, ConnId, Engine, HashKey, Input, KeptWill, Outbox, Seed, Time,
};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Inputs between two digests.
const DIGEST_EVERY: u64 = 256;

/// Bytes that are collected before they are written.
const WRITE_AT: usize = 256 << 10;

/// Time after which they are written at the latest.
const WRITE_AFTER: Duration = Duration::from_secs(1);

/// What is to be recorded, and where.
#[derive(Clone, Debug)]
pub struct RecordOptions {
    /// Segments are called this, with a dot and a number.
    pub file: PathBuf,
    /// Bytes after which the next segment begins. Each begins with the whole state of the broker: where that is larger than
    /// half of this, it is twice the state, and where it is larger than half of all segments, the recording ends.
    pub segment_bytes: u64,
    /// Segments that are kept; fewer where they are longer.
    pub segments: usize,
    /// Overwrite payloads too.
    pub mask_payloads: bool,
    /// Commit that the broker was built from, where known.
    pub commit: String,
}

impl RecordOptions {
    /// Four segments of 64 MiB.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            segment_bytes: 64 << 20,
            segments: 4,
            mask_payloads: false,
            commit: String::new(),
        }
    }
}

/// Records an engine from its first input on. When it cannot write any more it says so once and stops; the broker goes
/// on.
pub struct Recorder {
    options: RecordOptions,
    seed: Seed,
    on_error: Box<dyn FnMut(&io::Error) + Send>,
    /// `None` after an error.
    file: Option<File>,
    /// What is to be written next.
    buffer: Vec<u8>,
    written: u64,
    /// Bytes after which the next segment begins.
    full_at: u64,
    wrote_at: Time,
    /// By [`ConnId::slot`].
    masks: Vec<Option<(ConnId, Mask)>>,
    digest: Digest,
    inputs: u64,
    digested_at: u64,
    scratch: Vec<u8>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Begins a recording of an engine that has had no input yet. `on_error` is told why a recording stopped.
    ///
    /// # Errors
    /// The first segment cannot be made.
    pub fn create(
        options: RecordOptions,
        engine: &Engine,
        seed: Seed,
        on_error: impl FnMut(&io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let mut recorder = Self {
            digest: Digest::new(options.mask_payloads),
            options,
            seed,
            on_error: Box::new(on_error),
            file: None,
            buffer: Vec::new(),
            written: 0,
            full_at: 0,
            wrote_at: Time::ZERO,
            masks: Vec::new(),
            inputs: 0,
            digested_at: 0,
            scratch: Vec::new(),
        };
        recorder.begin_segment(engine)?;
        Ok(recorder)
    }

    /// To be called while no output waits to be carried out: sees to digests, segments and writing.
    pub fn between_turns(&mut self, now: Time, engine: &Engine) {
        if self.file.is_none() {
            return;
        }
        if self.inputs >= self.digested_at + DIGEST_EVERY {
            self.write_digest();
        }
        let full = self.written + self.buffer.len() as u64 >= self.full_at;
        let result = if full {
            self.write_digest();
            self.write_out().and_then(|()| self.begin_segment(engine))
        } else if self.buffer.len() >= WRITE_AT || now.since(self.wrote_at) >= WRITE_AFTER {
            self.wrote_at = now;
            self.write_out()
        } else {
            Ok(())
        };
        if let Err(error) = result {
            self.file = None;
            self.buffer = Vec::new();
            (self.on_error)(&error);
        }
    }

    /// The engine is about to be given this.
    pub fn input(&mut self, now: Time, input: &Input<'_>) {
        if self.file.is_none() {
            return;
        }
        self.inputs += 1;
        match input {
            Input::Received { conn, data } => {
                let mut masked = std::mem::take(&mut self.scratch);
                masked.clear();
                masked.extend_from_slice(data);
                self.mask_of(*conn).apply(&mut masked);
                self.write_input(now, &Input::Received { conn: *conn, data: &masked });
                self.scratch = masked;
            }
            Input::Reply { call, answer } => {
                let hidden = |data: &[u8]| vec![FILLER; data.len()];
                let answer = match answer {
                    Answer::Continue(data) => Answer::Continue(hidden(data)),
                    Answer::AllowWith(data) => Answer::AllowWith(hidden(data)),
                    Answer::Admit(admission) => {
                        let mut admission = admission.clone();
                        admission.data = hidden(&admission.data);
                        if let (KeptWill::Instead(will), true) =
                            (&mut admission.will, self.options.mask_payloads)
                        {
                            **will = without_payload(will);
                        }
                        Answer::Admit(admission)
                    }
                    Answer::Replace(message) if self.options.mask_payloads => {
                        Answer::Replace(Box::new(without_payload(message)))
                    }
                    other => other.clone(),
                };
                self.write_input(now, &Input::Reply { call: *call, answer });
            }
            Input::Command(Command::Publish(message)) if self.options.mask_payloads => {
                self.write_input(now, &Input::Command(Command::Publish(without_payload(message))));
            }
            Input::Loaded { fetch, deliveries } if self.options.mask_payloads => {
                let mut deliveries = deliveries.clone();
                for delivery in &mut deliveries {
                    let mut publish = delivery.publish.to_vec();
                    Mask::between_packets(Version::V5, true).apply(&mut publish);
                    delivery.publish = publish.into();
                }
                self.write_input(now, &Input::Loaded { fetch: *fetch, deliveries });
            }
            other => self.write_input(now, other),
        }
    }

    /// The engine said this.
    pub fn output(&mut self, out: &Outbox) {
        if self.file.is_some() {
            self.digest.add(out);
        }
    }

    fn mask_of(&mut self, conn: ConnId) -> &mut Mask {
        if self.masks.len() <= conn.slot() {
            self.masks.resize(conn.slot() + 1, None);
        }
        let place = &mut self.masks[conn.slot()];
        let fresh = (conn, Mask::new(self.options.mask_payloads));
        if place.as_ref().is_none_or(|(known, _)| *known != conn) {
            *place = Some(fresh);
        }
        &mut place.get_or_insert(fresh).1
    }

    fn write_input(&mut self, now: Time, input: &Input<'_>) {
        self.entry(INPUT, |body| {
            // Plain data, written into a vector.
            if let Ok(written) = postcard::to_extend(&(now, input), std::mem::take(body)) {
                *body = written;
            }
        });
    }

    fn write_digest(&mut self) {
        let value = self.digest.value();
        self.entry(DIGEST, |body| body.extend_from_slice(&value.to_le_bytes()));
        self.digested_at = self.inputs;
    }

    fn entry(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; FRAME]);
        self.buffer.push(kind);
        write(&mut self.buffer);
        let (frame, body) = self.buffer[start..].split_at_mut(FRAME);
        frame[..4].copy_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        frame[4..].copy_from_slice(&checksum(body));
    }

    fn write_out(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(&self.buffer)?;
        }
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(2 * WRITE_AT);
        Ok(())
    }

    fn begin_segment(&mut self, engine: &Engine) -> io::Result<()> {
        let RecordOptions { file, segment_bytes, segments: keep, .. } = &self.options;
        let (file, segment_bytes, keep) = (file.clone(), *segment_bytes, (*keep).max(1));
        let segment = segments::next_number(&file)?;
        let header = Header {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: self.options.commit.clone(),
            segment,
            inputs_before: self.inputs,
            began: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            seed: format!("{:016x}", self.seed.0),
            payloads_masked: self.options.mask_payloads,
            limits: engine.view().config().clone(),
        };
        let header = toml::to_string(&header).map_err(io::Error::other)?;
        let mut copy = Engine::restore(&engine.snapshot(), HashKey([0, 0])).map_err(io::Error::other)?;
        copy.mask(self.options.mask_payloads);
        let snapshot = copy.snapshot();
        self.written = 0;
        self.digest = Digest::new(self.options.mask_payloads);
        self.digested_at = self.inputs;
        self.buffer.extend_from_slice(&MAGIC);
        self.entry(HEADER, |body| body.extend_from_slice(header.as_bytes()));
        self.entry(SNAPSHOT, |body| body.extend_from_slice(&snapshot));
        // As much as the state itself follows it at least, or a broker with much to keep would do nothing but copy it.
        let (state, all) = (self.buffer.len() as u64, segment_bytes.saturating_mul(keep as u64));
        self.full_at = segment_bytes.max(2 * state);
        let room = if self.full_at > segment_bytes { all.checked_sub(self.full_at) } else { Some(u64::MAX) };
        let Some(room) = room else {
            return Err(io::Error::other(format!(
                "the broker's state of {state} bytes is too large for a recording of {all}"
            )));
        };
        self.file = Some(segments::make(&file, segment, keep, room)?);
        // From here on there is something to read.
        self.write_out()
    }
}

impl Drop for Recorder {
    /// Also when the engine panicked: its last input is what matters most then.
    fn drop(&mut self) {
        if self.file.is_some() {
            if !std::thread::panicking() {
                self.write_digest();
            }
            if let Err(error) = self.write_out() {
                (self.on_error)(&error);
            }
        }
    }
}

/// The message with as many other bytes.
fn without_payload(message: &ApplicationMessage) -> ApplicationMessage {
    ApplicationMessage { payload: vec![FILLER; message.payload.len()].into(), ..message.clone() }
}
