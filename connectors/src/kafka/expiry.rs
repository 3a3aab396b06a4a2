//! When what a cluster knows us by ends: certificates (X.509, RFC 5280) and tokens.
//!
//! Of a certificate only its validity is read: whether it holds is the broker's to say.

use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::client::{Claims, secret};
use super::cluster::ClusterConfig;

/// A file of a cluster's settings that holds for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The cluster's zone.
    pub zone: String,
    pub file: PathBuf,
    /// Unknown for a token.
    pub begins: Option<Timestamp>,
    pub ends: Timestamp,
}

impl Expiry {
    /// From when on it is said that it ends.
    pub fn soon(&self) -> Timestamp {
        soon(self.begins, self.ends)
    }
}

/// From when on it is said that something ends: a fifth of its time before, at most a week.
pub fn soon(begins: Option<Timestamp>, ends: Timestamp) -> Timestamp {
    const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);
    let fifth = begins.map_or(SignedDuration::ZERO, |begins| ends.duration_since(begins) / 5);
    ends.checked_sub(fifth.min(WEEK)).unwrap_or(ends)
}

/// Of the client certificate and the token, where there are any that can be read.
pub fn expiries(cluster: &ClusterConfig) -> Vec<Expiry> {
    let zone = || cluster.zone.clone();
    let certificate =
        cluster.tls.as_ref().and_then(|tls| tls.cert_file.as_ref()).and_then(|file| {
            let (begins, ends) = validity(file)?;
            Some(Expiry { zone: zone(), file: file.clone(), begins: Some(begins), ends })
        });
    let token = cluster.sasl.as_ref().and_then(|sasl| sasl.token_file.as_ref()).and_then(|file| {
        let claims = Claims::of(&secret(&cluster.zone, file).ok()?)?;
        let ends = Timestamp::from_second(claims.exp).ok()?;
        Some(Expiry { zone: zone(), file: file.clone(), begins: None, ends })
    });
    certificate.into_iter().chain(token).collect()
}

/// From when to when all certificates of a PEM file hold.
pub fn validity(file: &Path) -> Option<(Timestamp, Timestamp)> {
    const FILE_BYTES_MAX: u64 = 1 << 20;
    if std::fs::metadata(file).ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let text = std::fs::read_to_string(file).ok()?;
    let mut all = None;
    for block in text.split("-----BEGIN CERTIFICATE-----").skip(1) {
        let (block, _) = block.split_once("-----END CERTIFICATE-----")?;
        let block: String = block.split_ascii_whitespace().collect();
        let (begins, ends) = of_der(&BASE64.decode(block.as_bytes()).ok()?)?;
        all = match all {
            None => Some((begins, ends)),
            Some((first, last)) => Some((begins.max(first), ends.min(last))),
        };
    }
    all
}

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// RFC 5280, 4.1: the fields before `validity` are passed over.
fn of_der(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (certificate, _) = field(der, SEQUENCE)?;
    let (mut rest, _) = field(certificate, SEQUENCE)?;
    if let Some((_, after)) = field(rest, VERSION) {
        rest = after;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, rest) = field(rest, tag)?;
    }
    let (validity, _) = field(rest, SEQUENCE)?;
    let (begins, rest) = instant(validity)?;
    let (ends, _) = instant(rest)?;
    Some((begins, ends))
}

/// A field of that tag, and what follows it.
fn field(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length & 0x80 {
        0 => (usize::from(*length), rest),
        _ => {
            let count = usize::from(length & 0x7f);
            if count > 4 {
                return None;
            }
            let (bytes, rest) = rest.split_at_checked(count)?;
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
    };
    rest.split_at_checked(length).filter(|_| *first == tag)
}

/// RFC 5280, 4.1.2.5: two digits of a year below 50 are of this century.
fn instant(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (digits, rest, century) = match der.first()? {
        &UTC_TIME => {
            let (text, rest) = field(der, UTC_TIME)?;
            let century = if text.first()? < &b'5' { "20" } else { "19" };
            (text, rest, century)
        }
        _ => {
            let (text, rest) = field(der, GENERALIZED_TIME)?;
            (text, rest, "")
        }
    };
    let text = format!("{century}{}", std::str::from_utf8(digits).ok()?);
    let at = DateTime::strptime("%Y%m%d%H%M%SZ", &text).ok()?;
    Some((at.to_zoned(TimeZone::UTC).ok()?.timestamp(), rest))
}

#[cfg(test)]
mod tests {
    use super::super::cluster::{Tls, plain};
    use super::*;

    const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../serve/testdata/tls/server.pem");

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_validity_of_a_certificate_that_openssl_made() {
        // `openssl x509 -in server.pem -noout -dates`
        let (begins, ends) = validity(Path::new(SERVER)).unwrap();
        assert_eq!(ends, at("2126-10-29T07:34:06Z"));
        assert!(begins < ends && begins > at("2026-01-01T00:00:00Z"));
        let mut cluster = plain("b:1");
        assert_eq!(expiries(&cluster), []);
        let (cert_file, key_file) = (Some(SERVER.into()), Some("k".into()));
        cluster.tls = Some(Tls { ca_file: "ca".into(), cert_file, key_file });
        assert_eq!(expiries(&cluster).len(), 1);
    }

    #[test]
    fn it_is_said_a_fifth_of_its_time_before_and_at_most_a_week() {
        let ends = at("2026-06-11T00:00:00Z");
        let soon = |begins: Option<&str>| soon(begins.map(at), ends).to_string();
        assert_eq!(soon(Some("2026-06-10T00:00:00Z")), "2026-06-10T19:12:00Z");
        assert_eq!(soon(Some("2025-06-11T00:00:00Z")), "2026-06-04T00:00:00Z");
        assert_eq!(soon(None), "2026-06-11T00:00:00Z");
    }

    #[test]
    fn both_forms_of_an_instant_and_no_other() {
        let of = |tag: u8, text: &str| {
            let der = [&[tag, text.len() as u8], text.as_bytes()].concat();
            instant(&der).map(|(at, _)| at)
        };
        assert_eq!(of(UTC_TIME, "491231235959Z"), Some(at("2049-12-31T23:59:59Z")));
        assert_eq!(of(UTC_TIME, "500101000000Z"), Some(at("1950-01-01T00:00:00Z")));
        assert_eq!(of(GENERALIZED_TIME, "20500101000000Z"), Some(at("2050-01-01T00:00:00Z")));
        for (tag, text) in
            [(UTC_TIME, "4912312359Z"), (UTC_TIME, ""), (GENERALIZED_TIME, "2050"), (0x13, "x")]
        {
            assert_eq!(of(tag, text), None, "{text}");
        }
    }

    #[test]
    fn whatever_is_cut_off_or_no_certificate_is_nothing() {
        let pem = std::fs::read_to_string(SERVER).unwrap();
        let block = pem.split("-----").nth(2).unwrap();
        let block: String = block.split_ascii_whitespace().collect();
        let der = BASE64.decode(block.as_bytes()).unwrap();
        assert!(of_der(&der).is_some(), "the control");
        for length in 0..der.len() {
            assert_eq!(of_der(&der[..length]), None, "{length} bytes");
        }
        assert_eq!(of_der(&[SEQUENCE, 0xff, 0xff]), None);
        assert_eq!(validity(Path::new("/no/such")), None);
    }
}
