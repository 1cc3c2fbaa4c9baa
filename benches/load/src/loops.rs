//! Closed loops: each publisher keeps a window of messages on their way, and sends the next when one has arrived.

use crate::client::{Client, Failure};
use mio::{Events, Poll};
use mqtt_proto::{Packet, Publish, PublishProperties, QoS, TopicName, Version};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Longest silence of a broker that works.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes at the front of a payload that say who sent it, and when.
const STAMP: usize = 12;

/// Connections that are opened at the same time.
const AT_ONCE: usize = 64;

/// Who publishes what.
pub(crate) struct Publisher {
    client: usize,
    topic: String,
    /// Subscribers that each message goes to.
    fan: u64,
    pub(crate) sent: u64,
    /// Deliveries seen.
    delivered: u64,
    /// Messages that the broker has acknowledged.
    acknowledged: u64,
    /// Messages to send at most.
    most: u64,
    /// When the last one was sent, and when its last delivery came.
    pub(crate) all_sent: Option<Instant>,
    pub(crate) all_delivered: Option<Instant>,
}

/// Many clients under one `epoll`.
pub(crate) struct Load {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    pub(crate) clients: Vec<Client>,
    pub(crate) publishers: Vec<Publisher>,
    qos: QoS,
    payload: Vec<u8>,
    window: u64,
    /// Between two messages of one publisher, where they are paced.
    pub(crate) pace: Option<Duration>,
    pub(crate) deliveries: u64,
    /// Clients keep their sessions, and publishers wait for acknowledgements instead of deliveries.
    pub(crate) sessions_last: bool,
    /// Microseconds from sending to arrival, while they are wanted.
    pub(crate) latencies: Option<Vec<u32>>,
    answers: usize,
    began: Instant,
}

impl Load {
    pub(crate) fn new(qos: QoS, payload: usize, window: u64) -> Result<Self, Failure> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; 64 << 10],
            clients: Vec::new(),
            publishers: Vec::new(),
            qos,
            payload: vec![b'x'; payload.max(STAMP)],
            window,
            pace: None,
            deliveries: 0,
            sessions_last: false,
            latencies: None,
            answers: 0,
            began: Instant::now(),
        })
    }

    /// Connects so many more clients; the number of the first.
    pub(crate) fn connect(
        &mut self,
        count: usize,
        address: SocketAddr,
        version: Version,
    ) -> Result<usize, Failure> {
        let first = self.clients.len();
        while self.clients.len() < first + count {
            let batch = AT_ONCE.min(first + count - self.clients.len());
            for _ in 0..batch {
                let token = self.clients.len();
                let mut client = Client::open(address, version, token, self.poll.registry())?;
                client.connect(&format!("load-{}-{token}", std::process::id()), 0, self.sessions_last)?;
                self.clients.push(client);
            }
            self.await_answers(batch)?;
        }
        Ok(first)
    }

    /// Subscribes clients, each to its filter.
    pub(crate) fn subscribe(
        &mut self,
        filters: impl Iterator<Item = (usize, String)>,
        qos: QoS,
    ) -> Result<(), Failure> {
        let mut count = 0;
        for (client, filter) in filters {
            self.clients[client].subscribe(&filter, qos)?;
            self.clients[client].flush()?;
            count += 1;
        }
        self.await_answers(count)
    }

    /// Closes clients from this one on.
    pub(crate) fn close_from(&mut self, first: usize) {
        self.clients.truncate(first);
    }

    pub(crate) fn publisher(&mut self, client: usize, topic: &str, fan: u64, most: u64) {
        self.publishers.push(Publisher {
            client,
            topic: topic.to_owned(),
            fan,
            sent: 0,
            delivered: 0,
            acknowledged: 0,
            most,
            all_sent: None,
            all_delivered: None,
        });
    }

    fn await_answers(&mut self, count: usize) -> Result<(), Failure> {
        self.answers = 0;
        let until = Instant::now() + PATIENCE;
        while self.answers < count {
            if Instant::now() > until {
                return Err(format!("{} of {count} answers came", self.answers).into());
            }
            self.turn(Duration::from_millis(100))?;
        }
        Ok(())
    }

    /// Runs the loops for a while, or until all that was to be sent has arrived.
    pub(crate) fn run(&mut self, time: Duration) -> Result<(), Failure> {
        let until = Instant::now() + time;
        let mut heard = (self.deliveries, Instant::now());
        loop {
            let next = self.send_more()?;
            let now = Instant::now();
            if now >= until || self.publishers.iter().all(|publisher| publisher.all_delivered.is_some()) {
                return Ok(());
            }
            if heard.0 != self.deliveries || self.pace.is_some() {
                heard = (self.deliveries, now);
            } else if now - heard.1 > PATIENCE {
                return Err(format!("nothing came for {PATIENCE:?} after {} deliveries", heard.0).into());
            }
            let wake = next.unwrap_or(until).min(until);
            self.turn(wake.saturating_duration_since(now).min(Duration::from_millis(100)))?;
        }
    }

    /// Every publisher sends what its window, or its pace, allows. When the next is due, where they are paced.
    fn send_more(&mut self) -> Result<Option<Instant>, Failure> {
        let mut next = None;
        for number in 0..self.publishers.len() {
            let count = self.publishers.len() as u64;
            let publisher = &mut self.publishers[number];
            let client = &mut self.clients[publisher.client];
            while publisher.sent < publisher.most
                && if self.sessions_last {
                    publisher.sent < publisher.acknowledged + self.window
                } else {
                    publisher.sent * publisher.fan < publisher.delivered + self.window * publisher.fan
                }
            {
                if let Some(pace) = self.pace {
                    // Spread evenly over the interval.
                    let spread = micros(pace) * number as u64 / count;
                    let due = self.began + Duration::from_micros(micros(pace) * publisher.sent + spread);
                    if due > Instant::now() {
                        next = Some(next.unwrap_or(due).min(due));
                        break;
                    }
                }
                let stamp = micros(self.began.elapsed());
                self.payload[..4].copy_from_slice(&u32::try_from(number)?.to_be_bytes());
                self.payload[4..STAMP].copy_from_slice(&stamp.to_be_bytes());
                let packet_id = (self.qos != QoS::AtMostOnce).then(|| client.next_id());
                client.send(&Packet::Publish(Publish {
                    dup: false,
                    qos: self.qos,
                    retain: false,
                    topic: Some(TopicName::parse(&publisher.topic)?),
                    packet_id,
                    payload: &self.payload,
                    properties: PublishProperties::default(),
                }))?;
                publisher.sent += 1;
            }
            client.flush()?;
            if publisher.sent == publisher.most && publisher.all_sent.is_none() && client.is_idle() {
                publisher.all_sent = Some(Instant::now());
            }
        }
        Ok(next)
    }

    /// One wake-up: reads what came, then sends what it led to.
    fn turn(&mut self, wait: Duration) -> Result<(), Failure> {
        self.poll.poll(&mut self.events, Some(wait))?;
        let (publishers, latencies) = (&mut self.publishers, &mut self.latencies);
        let (deliveries, answers) = (&mut self.deliveries, &mut self.answers);
        let now = micros(self.began.elapsed());
        for event in &self.events {
            // Closed meanwhile.
            let Some(client) = self.clients.get_mut(event.token().0) else { continue };
            if event.is_readable() {
                client.read(&mut self.buffer, |client, packet| {
                    match packet {
                        Packet::ConnAck(answer) if answer.reason.is_error() => {
                            return Err(format!("CONNACK {:?}", answer.reason).into());
                        }
                        Packet::ConnAck(_) | Packet::SubAck(_) => *answers += 1,
                        Packet::Publish(publish) => {
                            let (who, when) = stamp(publish.payload).ok_or("a payload without a stamp")?;
                            let publisher = publishers.get_mut(who).ok_or("an unknown publisher")?;
                            publisher.delivered += 1;
                            *deliveries += 1;
                            if publisher.delivered == publisher.most.saturating_mul(publisher.fan) {
                                publisher.all_delivered = Some(Instant::now());
                            }
                            if let Some(latencies) = latencies {
                                latencies.push(u32::try_from(now.saturating_sub(when)).unwrap_or(u32::MAX));
                            }
                            match (publish.qos, publish.packet_id) {
                                (QoS::AtLeastOnce, Some(id)) => client.acknowledge(id, Packet::PubAck)?,
                                (QoS::ExactlyOnce, Some(id)) => client.acknowledge(id, Packet::PubRec)?,
                                _ => {}
                            }
                        }
                        Packet::PubRec(ack) => client.acknowledge(ack.packet_id, Packet::PubRel)?,
                        Packet::PubAck(_) | Packet::PubComp(_) => {
                            let from = event.token().0;
                            if let Some(publisher) = publishers.iter_mut().find(|one| one.client == from) {
                                publisher.acknowledged += 1;
                            }
                        }
                        Packet::PubRel(ack) => client.acknowledge(ack.packet_id, Packet::PubComp)?,
                        Packet::Disconnect(bye) => return Err(format!("DISCONNECT {:?}", bye.reason).into()),
                        _ => {}
                    }
                    Ok(())
                })?;
            }
            client.flush()?;
        }
        Ok(())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn stamp(payload: &[u8]) -> Option<(usize, u64)> {
    let who = u32::from_be_bytes(payload.get(..4)?.try_into().ok()?);
    let when = u64::from_be_bytes(payload.get(4..STAMP)?.try_into().ok()?);
    Some((who as usize, when))
}
