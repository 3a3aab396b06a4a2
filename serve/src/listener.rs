//! Takes connections and hands each call to the service on a thread where it may block. The one
//! file with asynchronous code; everything has a limit in size and in time.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::routing::any;
use douane_pipelines::fault::RunFault;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Sleep, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::call::Answer;
use crate::certificate::Certificate;
use crate::loggers::{Level, REST};
use crate::refusals::{self, peer};
use crate::routes::{self, ROUTES};
use crate::service::{Asked, NO_ANSWER, Service};

/// More wait to be taken.
const CONNECTIONS_MAX: usize = 256;
/// From one address; more are closed at once. Whoever has one machine cannot shut the others out.
const CONNECTIONS_PER_PEER_MAX: usize = 64;
/// Calls that are answered at one time; more wait.
const CALLS_MAX: usize = 16;
const BODY_BYTES_MAX: usize = 1 << 20;
const HEAD_BYTES_MAX: usize = 64 << 10;
/// A head has to be whole within it, also the next one of a connection that is kept.
const HEAD: Duration = Duration::from_secs(15);
const BODY: Duration = Duration::from_secs(30);
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take nothing of what is sent to it.
const TAKES: Duration = Duration::from_secs(15);
/// As Kafka Connect has it.
const ANSWER: Duration = Duration::from_secs(90);
/// Between two looks whether to stop, and the most that open connections may take then.
const LOOK: Duration = Duration::from_millis(200);
const CLOSE: Duration = Duration::from_secs(2);

/// Listens until `asked` is set; then everything is ended, pipelines too.
pub fn listen(service: &Arc<Service>, asked: &Arc<AtomicBool>) -> Result<(), RunFault> {
    let tls = service.place.serve.tls.as_ref();
    let mut tls = tls.map(|tls| Certificate::open(tls, &service.loggers)).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(CALLS_MAX)
        .build()
        .map_err(|error| RunFault::Client(format!("no runtime: {}", error.kind())))?;
    let address = service.place.serve.listen;
    let bound = runtime.block_on(TcpListener::bind(address)).map_err(|error| {
        let next = "next: end what listens there, or write another `serve.listen`";
        RunFault::File(format!("{address}: {}\n  {next}", error.kind()))
    })?;
    service.bound(bound.local_addr().unwrap_or(address));
    let starting = {
        let (service, asked) = (Arc::clone(service), Arc::clone(asked));
        // Behind it: whoever asks meanwhile is told that it starts.
        std::thread::Builder::new().name("start".to_owned()).spawn(move || {
            let start = AssertUnwindSafe(|| service.start());
            let started = catch_unwind(start).unwrap_or(Err(RunFault::ThreadDied));
            if started.is_err() {
                asked.store(true, Ordering::Relaxed);
            }
            started
        })
    };
    let starting =
        starting.map_err(|error| RunFault::Client(format!("no thread: {}", error.kind())))?;
    runtime.block_on(accept(service, &bound, tls.as_mut(), asked));
    let started = starting.join().unwrap_or(Err(RunFault::ThreadDied));
    service.end();
    // A call that hangs at something outside keeps nobody.
    runtime.shutdown_background();
    started
}

async fn accept(
    service: &Arc<Service>,
    bound: &TcpListener,
    mut tls: Option<&mut Certificate>,
    asked: &AtomicBool,
) {
    let router = router(service);
    let guests = Guests::default();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (closing, closed) = watch::channel(false);
    let mut look = interval(LOOK);
    while !asked.load(Ordering::Relaxed) {
        let accepted = tokio::select! {
            _ = look.tick() => {
                if let Some(tls) = &mut tls {
                    tls.look(&service.loggers);
                }
                continue;
            }
            accepted = bound.accept(), if slots.available_permits() > 0 => accepted,
        };
        // Out of descriptors: the next look tries again.
        let Ok((stream, from)) = accepted else {
            look.tick().await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let Some(guest) = guests.take(from.ip(), CONNECTIONS_PER_PEER_MAX) else { continue };
        let (router, closed) = (router.clone(), closed.clone());
        let (tls, service) = (tls.as_ref().map(|tls| tls.acceptor()), Arc::clone(service));
        tokio::spawn(async move {
            connection(stream, from.ip(), tls, &service, router, closed).await;
            drop((slot, guest));
        });
    }
    let _ = closing.send(true);
    let _ = timeout(CLOSE, slots.acquire_many(CONNECTIONS_MAX as u32)).await;
}

/// How many connections each peer has.
#[derive(Clone, Default)]
struct Guests(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One of them, until it is let go of.
struct Guest {
    all: Guests,
    from: IpAddr,
}

impl Guests {
    /// None where the peer has that many.
    fn take(&self, from: IpAddr, at_most: usize) -> Option<Guest> {
        let from = peer(from);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(from).or_default();
        if *count >= at_most {
            return None;
        }
        *count += 1;
        Some(Guest { all: self.clone(), from })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(&self.from) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(all.remove(&self.from)),
        }
    }
}

/// A connection whose other side has to take what is sent to it: where nothing goes out for so
/// long, it is broken.
struct Patient<S> {
    stream: S,
    takes: Duration,
    /// Runs while something waits to go out.
    waits: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// What the stream said of a write, or that it waited too long to say it.
    fn judge<T>(&mut self, cx: &mut Context<'_>, said: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if said.is_ready() {
            self.waits = None;
            return said;
        }
        let takes = self.takes;
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(takes)));
        match waits.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let said = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, said)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let said = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, said)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let said = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, said)
    }
}

async fn connection(
    stream: TcpStream,
    from: IpAddr,
    tls: Option<TlsAcceptor>,
    service: &Service,
    router: Router,
    closed: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let stream = Patient { stream, takes: TAKES, waits: None };
    match tls {
        None => speak(stream, from, router, closed).await,
        Some(tls) => {
            let failed = match timeout(HANDSHAKE, tls.accept(stream)).await {
                Ok(Ok(stream)) => return speak(stream, from, router, closed).await,
                // Who only looks whether somebody listens goes away, and is no failure.
                Ok(Err(error)) => refusals::of_handshake(&error),
                Err(_) => Some("the client took too long"),
            };
            if let Some(fields) = failed.and_then(|what| service.refusals.met_handshake(from, what))
            {
                service.loggers.say(Level::Warn, REST, "handshake_failed", &fields);
            }
        }
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    from: IpAddr,
    router: Router,
    mut closed: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let answers = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(CameFrom(from));
        router.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answers);
    let mut served = pin!(served);
    tokio::select! {
        _ = served.as_mut() => return,
        _ = closed.changed() => served.as_mut().graceful_shutdown(),
    }
    // What went wrong on a connection is its client's to see.
    let _ = served.await;
}

/// Whose connection a call came on.
#[derive(Clone, Copy)]
struct CameFrom(IpAddr);

/// One handler for each path; which method it has is the service's to say.
fn router(service: &Arc<Service>) -> Router {
    let mut paths: Vec<&'static str> = ROUTES.iter().map(|route| route.path).collect();
    paths.dedup();
    let mut router = Router::new();
    for path in paths {
        let handler = move |State(service): State<Arc<Service>>,
                            params: Result<RawPathParams, RawPathParamsRejection>,
                            request: Request| {
            let params = params
                .map(|params| params.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect());
            answer(service, Some(path), params.ok(), request)
        };
        router = router.route(path, any(handler));
        if path != "/" {
            router = router.route(&format!("{path}/"), any(handler));
        }
    }
    let nowhere = |State(service): State<Arc<Service>>, request: Request| {
        answer(service, None, Some(BTreeMap::new()), request)
    };
    router.fallback(nowhere).with_state(Arc::clone(service))
}

async fn answer(
    service: Arc<Service>,
    path: Option<&'static str>,
    params: Option<BTreeMap<String, String>>,
    request: Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Some(params) = params.filter(|_| !is_ambiguous(parts.uri.path())) else {
        return response(Answer::error(
            400,
            "the path is ambiguous: `//`, %2F or %25, or no UTF-8",
        ));
    };
    let mut headers = BTreeMap::new();
    for (name, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(name.as_str().to_owned()).or_insert(value);
    }
    let mut asked = Asked {
        path,
        from: parts.extensions.get::<CameFrom>().map(|from| from.0),
        method: parts.method.as_str().to_owned(),
        params,
        query: query(parts.uri.query().unwrap_or_default()),
        headers,
        body: Vec::new(),
        arrived: Instant::now(),
    };
    // Whoever watches the process, or fetches the page, is answered, however many calls wait.
    if path.is_some_and(routes::is_open) {
        return response(service.handle(&asked));
    }
    // Of somebody who is nobody no body is read.
    if let Err(refused) = service.admit(&asked) {
        return response(refused);
    }
    asked.body = match timeout(BODY, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => body.to_vec(),
        Ok(Err(_)) => {
            let most = format!("the body is cut off, or has more than {BODY_BYTES_MAX} bytes");
            return response(Answer::error(413, &most));
        }
        Err(_) => return response(Answer::error(408, "the body took too long")),
    };
    asked.arrived = Instant::now();
    let answered = timeout(ANSWER, spawn_blocking(move || service.handle(&asked))).await;
    response(match answered {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Answer::error(500, NO_ANSWER),
        Err(_) => Answer::error(500, "Request timed out"),
    })
}

/// Whether a path can be read in two ways.
fn is_ambiguous(path: &str) -> bool {
    let small = path.to_ascii_lowercase();
    ["//", "%2f", "%25", "%00"].iter().any(|part| small.contains(part))
}

fn query(text: &str) -> Vec<(String, String)> {
    let decode =
        |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

fn response(answer: Answer) -> Response<Body> {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = match answer.bytes {
        Some(Cow::Borrowed(bytes)) => Body::from(bytes),
        Some(Cow::Owned(bytes)) => Body::from(bytes),
        None => Body::from(answer.body),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Some(kind) = answer.content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    let fixed = [(header::X_CONTENT_TYPE_OPTIONS, "nosniff"), (header::CACHE_CONTROL, "no-store")];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests;
