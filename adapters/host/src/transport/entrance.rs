//! What comes before the first byte of MQTT.

use super::certificates::Certificates;
use super::http::{self, Head, Response};
use super::layers::Layers;
use super::tls::Tls;
use super::upgrade::WebSocketPolicy;
use super::websocket::WebSocket;
use super::{Refused, proxy};
use crate::config::listeners::{MetricNames, Transport};
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

/// How every TLS connection begins: a handshake record.
const HANDSHAKE: u8 = 0x16;

/// How every GET begins; no MQTT packet does.
const GET: u8 = b'G';

/// What a listener asks of who comes in, in this order.
#[derive(Debug, Default)]
pub struct Stages {
    /// Connections begin with a PROXY header.
    pub is_proxied: bool,
    /// TLS is spoken.
    pub tls: Option<Arc<Certificates>>,
    /// What comes then.
    pub service: Service,
}

/// What a listener is for.
#[derive(Debug, Default)]
pub enum Service {
    /// MQTT.
    #[default]
    Mqtt,
    /// MQTT in WebSocket frames.
    WebSocket(WebSocketPolicy),
    /// Either, with or without TLS: the first bytes tell.
    Any(WebSocketPolicy),
    /// Pages over HTTP, with metrics under these names.
    Pages(MetricNames),
}

impl Stages {
    /// Nothing comes before MQTT?
    pub fn is_plain(&self) -> bool {
        !self.is_proxied && self.tls.is_none() && matches!(self.service, Service::Mqtt)
    }
}

/// A page that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// `/healthz`: the process serves.
    Health,
    /// `/readyz`: new clients are taken.
    Ready,
    /// `/healthcheck`: as `/healthz`, with an empty body.
    Healthcheck,
    /// `/stats`: figures as JSON.
    Statistics,
    /// `/metrics`: figures for Prometheus, under these names.
    Metrics(MetricNames),
}

impl Page {
    fn at(path: &str, metrics: MetricNames) -> Option<Self> {
        Some(match path {
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/healthcheck" => Self::Healthcheck,
            "/stats" => Self::Statistics,
            "/metrics" => Self::Metrics(metrics),
            _ => return None,
        })
    }
}

/// How far somebody has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// More has to come from it.
    More,
    /// MQTT begins: [`Entrance::enter`].
    In,
    /// It wants this page: [`Entrance::answer`].
    Page(Page),
}

/// A client that has come in.
#[derive(Debug)]
pub struct Entered {
    /// What it speaks below MQTT: one transport, also where a listener takes any.
    pub transport: Transport,
    /// What stays between socket and MQTT.
    pub layers: Option<Layers>,
    /// Who it is, as a trusted proxy says where there is one.
    pub peer: Option<SocketAddr>,
    /// Who it is by its certificate, where that is to count.
    pub user_name: Option<String>,
    /// Bytes of MQTT that have come already.
    pub early: Vec<u8>,
}

impl Entered {
    /// One before whose MQTT nothing comes.
    pub fn plain(transport: Transport, peer: Option<SocketAddr>) -> Self {
        Self { transport, layers: None, peer, user_name: None, early: Vec::new() }
    }
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Proxy,
    /// With TLS or without?
    First,
    Handshake,
    Service,
    Request,
}

/// Where the next bytes go, or why it stops here.
type Next = ControlFlow<Step, Stage>;

/// One connection on its way in.
#[derive(Debug)]
pub struct Entrance {
    stages: Arc<Stages>,
    stage: Stage,
    layers: Layers,
    /// Bytes as they came, not yet decrypted.
    raw: Vec<u8>,
    /// Bytes that only the next stage understands.
    plain: Vec<u8>,
    head: Head,
    peer: Option<SocketAddr>,
    user_name: Option<String>,
}

impl Entrance {
    /// Somebody has connected, from where the socket says.
    pub fn new(stages: &Arc<Stages>, peer: Option<SocketAddr>) -> Self {
        Self {
            stages: Arc::clone(stages),
            stage: if stages.is_proxied { Stage::Proxy } else { Stage::First },
            layers: Layers::default(),
            raw: Vec::new(),
            plain: Vec::new(),
            head: Head::default(),
            peer,
            user_name: None,
        }
    }

    /// Takes bytes until it says [`Step::In`] or asks for a page. After each call, and also when it refuses, there may be
    /// something to write.
    ///
    /// # Errors
    /// Who it is refused to get in, and has been told in its own protocol where there is one.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Step, Refused> {
        self.raw.extend_from_slice(bytes);
        let step = self.advance();
        if step.is_err() {
            // A layer may have something to say about it.
            self.layers.close();
        }
        step
    }

    fn advance(&mut self) -> Result<Step, Refused> {
        loop {
            let next = match self.stage {
                Stage::Proxy => self.proxy()?,
                Stage::First => self.first()?,
                Stage::Handshake => self.handshake()?,
                Stage::Service => self.service()?,
                Stage::Request => self.request()?,
            };
            match next {
                ControlFlow::Continue(stage) => self.stage = stage,
                ControlFlow::Break(step) => return Ok(step),
            }
        }
    }

    /// Answers who asked for a page; the connection ends behind it.
    pub fn answer(&mut self, response: &Response) {
        self.layers.send(response.bytes());
        self.layers.close();
    }

    /// Writes what is to be said; see [`Layers::write_outgoing`].
    ///
    /// # Errors
    /// Those of `write`.
    pub fn write_outgoing(&mut self, write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        self.layers.write_outgoing(write)
    }

    /// Who it is, as far as is known.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Goes in, after [`Step::In`].
    pub fn enter(self) -> Entered {
        let Self { layers, peer, user_name, plain: early, .. } = self;
        let transport = match (&layers.tls, &layers.websocket) {
            (None, None) => Transport::Tcp,
            (Some(_), None) => Transport::Tls,
            (None, Some(_)) => Transport::Ws,
            (Some(_), Some(_)) => Transport::Wss,
        };
        let layers = Some(layers).filter(|_| transport != Transport::Tcp);
        Entered { transport, layers, peer, user_name, early }
    }

    fn proxy(&mut self) -> Result<Next, Refused> {
        let Some(header) = proxy::parse(&self.raw)? else { return Ok(Next::Break(Step::More)) };
        self.raw.drain(..header.len);
        self.peer = header.client.or(self.peer);
        Ok(Next::Continue(Stage::First))
    }

    fn first(&mut self) -> Result<Next, Refused> {
        let Some(certificates) = &self.stages.tls else { return Ok(Next::Continue(Stage::Service)) };
        let Some(first) = self.raw.first() else { return Ok(Next::Break(Step::More)) };
        if matches!(self.stages.service, Service::Any(_)) && *first != HANDSHAKE {
            return Ok(Next::Continue(Stage::Service));
        }
        let tls = Tls::new(certificates.current()).map_err(|error| Refused::new(format!("TLS: {error}")))?;
        self.layers.tls = Some(Box::new(tls));
        Ok(Next::Continue(Stage::Handshake))
    }

    fn handshake(&mut self) -> Result<Next, Refused> {
        self.decrypt()?;
        let (Some(certificates), Some(tls)) = (&self.stages.tls, &self.layers.tls) else {
            return Ok(Next::Continue(Stage::Service));
        };
        if tls.is_handshaking() {
            return Ok(Next::Break(Step::More));
        }
        self.user_name = certificates.user_name(tls.client_certificate())?;
        Ok(Next::Continue(Stage::Service))
    }

    fn service(&mut self) -> Result<Next, Refused> {
        self.decrypt()?;
        Ok(match self.stages.service {
            Service::Mqtt => Next::Break(Step::In),
            Service::WebSocket(_) | Service::Pages(_) => Next::Continue(Stage::Request),
            Service::Any(_) => match self.plain.first() {
                None => Next::Break(Step::More),
                Some(&GET) => Next::Continue(Stage::Request),
                Some(_) => Next::Break(Step::In),
            },
        })
    }

    fn request(&mut self) -> Result<Next, Refused> {
        self.decrypt()?;
        let len = match self.head.end(&self.plain) {
            Ok(Some(len)) => len,
            Ok(None) => return Ok(Next::Break(Step::More)),
            Err(refusal) => return Err(self.refuse(&refusal)),
        };
        let stages = Arc::clone(&self.stages);
        let request = match http::parse(&self.plain[..len]) {
            Ok(request) => request,
            Err(refusal) => return Err(self.refuse(&refusal)),
        };
        match &stages.service {
            Service::Pages(metrics) => match Page::at(request.path, *metrics) {
                Some(page) => Ok(Next::Break(Step::Page(page))),
                None => Err(self.refuse(&Response::refusal(404))),
            },
            Service::WebSocket(policy) | Service::Any(policy) => {
                match policy.answer(&request, self.layers.tls.is_some()) {
                    response if response.status == 101 => self.upgrade(len, &response, policy.max_message),
                    refusal => Err(self.refuse(&refusal)),
                }
            }
            Service::Mqtt => Ok(Next::Break(Step::In)),
        }
    }

    /// From here on there are frames, the first of which may have come with the request.
    fn upgrade(&mut self, head: usize, response: &Response, max_message: u64) -> Result<Next, Refused> {
        self.layers.send(response.bytes());
        self.layers.websocket = Some(WebSocket::new(max_message));
        let (mut frames, mut early) = (self.plain.split_off(head), Vec::new());
        let received = self.layers.receive_plain(&mut frames, |bytes| early.extend_from_slice(bytes));
        received.map_err(|_| Refused::new("WebSocket: ended before it began"))?;
        self.plain = early;
        Ok(Next::Break(Step::In))
    }

    fn refuse(&mut self, response: &Response) -> Refused {
        self.answer(response);
        http::refused(response)
    }

    fn decrypt(&mut self) -> Result<(), Refused> {
        let (mut raw, plain) = (mem::take(&mut self.raw), &mut self.plain);
        let received = self.layers.receive(&mut raw, |bytes| plain.extend_from_slice(bytes));
        received.map_err(|_| match self.layers.tls.as_deref().and_then(Tls::fault) {
            Some(fault) => Refused::new(format!("TLS: {fault}")),
            None => Refused::new("TLS: ended before MQTT began"),
        })
    }
}
