//! Takes connections and hands each call to the service on a thread where it may block. The one
//! file with asynchronous code; everything has a limit in size and in time.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::routing::any;
use douane_pipelines::config::ServeTls;
use douane_pipelines::fault::RunFault;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::{interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto::ring};

use crate::call::Answer;
use crate::routes::ROUTES;
use crate::service::{Asked, NO_ANSWER, Service};

/// More wait to be taken.
const CONNECTIONS_MAX: usize = 256;
/// Calls that are answered at one time; more wait.
const CALLS_MAX: usize = 16;
const BODY_BYTES_MAX: usize = 1 << 20;
const HEAD_BYTES_MAX: usize = 64 << 10;
/// A head has to be whole within it, also the next one of a connection that is kept.
const HEAD: Duration = Duration::from_secs(15);
const BODY: Duration = Duration::from_secs(30);
const HANDSHAKE: Duration = Duration::from_secs(10);
/// As Kafka Connect has it.
const ANSWER: Duration = Duration::from_secs(90);
/// Between two looks whether to stop, and the most that open connections may take then.
const LOOK: Duration = Duration::from_millis(50);
const CLOSE: Duration = Duration::from_secs(2);

/// Listens until `asked` is set; then everything is ended, pipelines too.
pub fn listen(service: &Arc<Service>, asked: &Arc<AtomicBool>) -> Result<(), RunFault> {
    let tls = service.place.serve.tls.as_ref().map(acceptor).transpose()?;
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
    service.listening(bound.local_addr().unwrap_or(address));
    runtime.block_on(accept(service, &bound, tls.as_ref(), asked));
    service.end();
    // A call that hangs at something outside keeps nobody.
    runtime.shutdown_background();
    Ok(())
}

async fn accept(
    service: &Arc<Service>,
    bound: &TcpListener,
    tls: Option<&TlsAcceptor>,
    asked: &AtomicBool,
) {
    let router = router(service);
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (closing, closed) = watch::channel(false);
    let mut look = interval(LOOK);
    while !asked.load(Ordering::Relaxed) {
        let accepted = tokio::select! {
            _ = look.tick() => continue,
            accepted = bound.accept(), if slots.available_permits() > 0 => accepted,
        };
        // Out of descriptors: the next look tries again.
        let Ok((stream, _)) = accepted else {
            look.tick().await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (router, closed, tls) = (router.clone(), closed.clone(), tls.cloned());
        tokio::spawn(async move {
            connection(stream, tls, router, closed).await;
            drop(slot);
        });
    }
    let _ = closing.send(true);
    let _ = timeout(CLOSE, slots.acquire_many(CONNECTIONS_MAX as u32)).await;
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    closed: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => speak(stream, router, closed).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HANDSHAKE, tls.accept(stream)).await {
                speak(stream, router, closed).await;
            }
        }
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: Router,
    mut closed: watch::Receiver<bool>,
) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = pin!(served);
    tokio::select! {
        _ = served.as_mut() => return,
        _ = closed.changed() => served.as_mut().graceful_shutdown(),
    }
    // What went wrong on a connection is its client's to see.
    let _ = served.await;
}

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
        method: parts.method.as_str().to_owned(),
        params,
        query: query(parts.uri.query().unwrap_or_default()),
        headers,
        body: Vec::new(),
    };
    // Whoever watches the process is answered, however many calls wait.
    if path == Some("/livez") {
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
    let mut response = Response::new(Body::from(answer.body));
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

/// The service's certificate and, where it says so, whose certificates clients must have.
fn acceptor(tls: &ServeTls) -> Result<TlsAcceptor, RunFault> {
    let fault = |what: &str, why: String| RunFault::File(format!("serve.tls.{what}: {why}"));
    let chain = |what: &str, path: &std::path::Path| {
        CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| fault(what, error.to_string()))
    };
    let certificates = chain("cert_file", &tls.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key_file)
        .map_err(|error| fault("key_file", error.to_string()))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault("cert_file", error.to_string()))?;
    let builder = match &tls.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in chain("client_ca_file", path)? {
                roots
                    .add(certificate)
                    .map_err(|error| fault("client_ca_file", error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| fault("client_ca_file", error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder
        .with_single_cert(certificates, key)
        .map_err(|error| fault("cert_file", error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests;
