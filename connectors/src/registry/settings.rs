//! Where a registry is and how it is reached: URL, password, certificates.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use data_encoding::BASE64;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};
use zeroize::Zeroizing;

use super::RegistryFault;
use crate::kafka::Tls;

/// The URL without its last slash; refused where it holds a secret or could be read two ways.
pub(super) fn base_of(url: &str) -> Result<String, &'static str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let rest = rest.ok_or("its URL begins with neither http:// nor https://")?;
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err("its URL holds a user; put `user:password` into `registry_auth_file`");
    }
    let plain = |b: u8| b.is_ascii_graphic() && !b"?#\\@".contains(&b);
    if authority.is_empty() || !rest.bytes().all(plain) {
        return Err("its URL is not host, port and path alone");
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn file(zone: &str, file: &Path) -> Result<Zeroizing<Vec<u8>>, RegistryFault> {
    const LARGEST: u64 = 1 << 20;
    let fault = |e: io::Error| RegistryFault::File {
        zone: zone.to_owned(),
        file: file.to_owned(),
        kind: e.kind(),
    };
    let mut bytes = Zeroizing::new(Vec::new());
    fs::File::open(file).map_err(fault)?.take(LARGEST).read_to_end(&mut bytes).map_err(fault)?;
    Ok(bytes)
}

/// RFC 7617.
pub(super) fn authorization(zone: &str, path: &Path) -> Result<Zeroizing<String>, RegistryFault> {
    let bytes = file(zone, path)?;
    let line = bytes.trim_ascii_end();
    if !line.contains(&b':') || line.contains(&b'\n') {
        let problem = "`registry_auth_file` does not hold one line `user:password`";
        return Err(RegistryFault::Settings { zone: zone.to_owned(), problem });
    }
    Ok(Zeroizing::new(format!("Basic {}", BASE64.encode(line))))
}

pub(super) fn tls_config(zone: &str, tls: &Tls) -> Result<TlsConfig, RegistryFault> {
    let settings = |problem| RegistryFault::Settings { zone: zone.to_owned(), problem };
    let (roots, _) = pem(zone, &tls.ca_file)?;
    if roots.is_empty() {
        return Err(settings("`tls.ca_file` holds no certificate"));
    }
    let mut builder = TlsConfig::builder().root_certs(RootCerts::from(roots));
    if let (Some(cert_file), Some(key_file)) = (&tls.cert_file, &tls.key_file) {
        let (chain, _) = pem(zone, cert_file)?;
        let (_, key) = pem(zone, key_file)?;
        let key = key.ok_or_else(|| settings("`tls.key_file` holds no private key"))?;
        if chain.is_empty() {
            return Err(settings("`tls.cert_file` holds no certificate"));
        }
        builder = builder.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    Ok(builder.build())
}

type Pem = (Vec<Certificate<'static>>, Option<PrivateKey<'static>>);

fn pem(zone: &str, path: &Path) -> Result<Pem, RegistryFault> {
    let bytes = file(zone, path)?;
    let (mut certificates, mut key) = (Vec::new(), None);
    for item in ureq::tls::parse_pem(&bytes) {
        match item {
            Ok(PemItem::Certificate(found)) => certificates.push(found),
            Ok(PemItem::PrivateKey(found)) => key = Some(found),
            Ok(_) => {}
            Err(_) => {
                let problem = "a file of `tls` is not PEM";
                return Err(RegistryFault::Settings { zone: zone.to_owned(), problem });
            }
        }
    }
    Ok((certificates, key))
}
