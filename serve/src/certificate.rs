//! The service's own certificate: read from its files, and read again when they change. A handshake
//! takes the one of its moment; connections that are up go on under theirs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use douane_ledger::canonical::sha256_hex;
use douane_pipelines::config::ServeTls;
use douane_pipelines::fault::RunFault;
use serde_json::json;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto::ring};

use crate::loggers::{Level, Loggers, REST};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// The certificate in force, and what its files held when they were last decided on.
pub struct Certificate {
    files: ServeTls,
    acceptor: TlsAcceptor,
    seen: String,
    looked: Instant,
}

impl Certificate {
    /// # Errors
    /// Files that cannot be read, or a certificate and a key that do not belong together.
    pub fn open(files: &ServeTls, loggers: &Loggers) -> Result<Self, RunFault> {
        // Before they are read: what changes meanwhile is seen by the first look.
        let seen = digest(files);
        let acceptor = acceptor(files)?;
        let certificate = Self { files: files.clone(), acceptor, seen, looked: Instant::now() };
        certificate.say(loggers, "certificate");
        Ok(certificate)
    }

    /// For the next handshake.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Takes changed files up, if they hold; otherwise says so once, and the old ones go on.
    pub fn look(&mut self, loggers: &Loggers) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        self.take_up(loggers);
    }

    fn take_up(&mut self, loggers: &Loggers) {
        let now = digest(&self.files);
        if now == self.seen {
            return;
        }
        self.seen = now;
        match acceptor(&self.files) {
            Ok(acceptor) => {
                self.acceptor = acceptor;
                self.say(loggers, "certificate_changed");
            }
            Err(fault) => {
                let fields = json!({"code": fault.code(), "why": fault.to_string()});
                loggers.say(Level::Warn, REST, "certificate_refused", &fields);
            }
        }
    }

    fn say(&self, loggers: &Loggers, event: &str) {
        let file = self.files.cert_file.display().to_string();
        loggers.say(Level::Info, REST, event, &json!({"file": file}));
    }
}

/// Of what lies in the files; one that cannot be read has a digest too.
fn digest(files: &ServeTls) -> String {
    let all = [Some(&files.cert_file), Some(&files.key_file), files.client_ca_file.as_ref()];
    let of = |path: &std::path::PathBuf| {
        std::fs::read(path).map_or_else(|e| e.kind().to_string(), |bytes| sha256_hex(&bytes))
    };
    all.into_iter().flatten().map(of).collect::<Vec<_>>().join(" ")
}

/// The service's certificate and, where it says so, whose certificates clients must have.
fn acceptor(tls: &ServeTls) -> Result<TlsAcceptor, RunFault> {
    let fault = |what: &str, why: String| RunFault::File(format!("serve.tls.{what}: {why}"));
    let chain = |what: &str, path: &Path| {
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
mod tests {
    use super::*;

    const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tls");

    #[test]
    fn changed_files_are_taken_up_if_they_hold_and_the_old_ones_go_on_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let loggers = Loggers::new("eu-de");
        loggers.set("root", Level::Off, jiff::Timestamp::now());
        let put = |from: &str, to: &str| {
            std::fs::copy(Path::new(CERTIFICATES).join(from), dir.path().join(to)).unwrap();
        };
        put("server.pem", "cert");
        put("server.key", "key");
        let files = ServeTls {
            cert_file: dir.path().join("cert"),
            key_file: dir.path().join("key"),
            client_ca_file: None,
        };
        let mut certificate = Certificate::open(&files, &loggers).unwrap();
        let config = |one: &Certificate| Arc::as_ptr(one.acceptor.config());
        let first = config(&certificate);
        certificate.take_up(&loggers);
        assert_eq!(config(&certificate), first, "nothing changed");
        // The certificate before its key: they do not belong together yet.
        put("client.pem", "cert");
        certificate.take_up(&loggers);
        assert_eq!(config(&certificate), first);
        put("client.key", "key");
        certificate.take_up(&loggers);
        let second = config(&certificate);
        assert_ne!(second, first);
        for torn in ["", "-----BEGIN CERTIFICATE-----"] {
            std::fs::write(&files.cert_file, torn).unwrap();
            certificate.take_up(&loggers);
            assert_eq!(config(&certificate), second, "{torn}");
        }
        assert!(Certificate::open(&files, &loggers).is_err(), "no start without one");
    }
}
