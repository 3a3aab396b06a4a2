//! Calls that were not heard: told and counted in one place, whoever found out. Nothing that a caller sent stands in
//! a line of it, neither path nor header nor name: where it came from, and words of this program and of the file of tokens.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use douane_pipelines::repeats::Repeats;
use serde_json::{Value, json};
use tokio_rustls::rustls::{self, AlertDescription};

/// Why a call is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No token, where one is needed.
    None,
    Unknown,
    Expired,
    /// The file of tokens cannot be read, so that nobody is known.
    Unreadable,
    /// The caller is known, and has no role for it.
    Role,
    /// There was no call yet: the two did not come to speak TLS.
    Handshake,
}

impl Why {
    pub const ALL: [Self; 6] =
        [Self::None, Self::Unknown, Self::Expired, Self::Unreadable, Self::Role, Self::Handshake];

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Unreadable => "unreadable",
            Self::Role => "role",
            Self::Handshake => "handshake",
        }
    }
}

/// One of them.
pub struct Refusal<'a> {
    pub why: Why,
    pub status: u16,
    pub from: Option<IpAddr>,
    /// Who called, where that is known.
    pub by: Option<&'a str>,
    pub method: &'static str,
    /// With its parameters' names, not what stood there.
    pub route: &'static str,
}

/// Whoever has many addresses fills no log either: so many lines a minute; the next one says how many it left out.
const LINES_MAX: u32 = 100;
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Refusals {
    counts: [AtomicU64; Why::ALL.len()],
    told: Mutex<Told>,
    /// Of connections that came to no call: however many these are, calls have their lines.
    handshakes: Mutex<Told>,
}

/// What keeps a client and this service from speaking TLS, in words of this program.
pub fn of_handshake(error: &io::Error) -> Option<&'static str> {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    Some(match error? {
        rustls::Error::NoCertificatesPresented => "the client shows no certificate",
        rustls::Error::InvalidCertificate(_) => "the client's certificate is not accepted",
        rustls::Error::InvalidMessage(_) => "the client speaks no TLS",
        rustls::Error::PeerIncompatible(_) => "no version or cipher that both have",
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA,
        ) => "the client does not accept this certificate",
        _ => "the handshake failed",
    })
}

#[derive(Default)]
struct Told {
    repeats: Repeats,
    /// Since when lines are counted.
    since: Option<Instant>,
    lines: u32,
    untold: u64,
}

impl Refusals {
    /// Counts it; what is to be said of it, where it was not said just now.
    pub fn met(&self, refusal: &Refusal<'_>) -> Option<Value> {
        self.counts[refusal.why as usize].fetch_add(1, Ordering::Relaxed);
        self.told.lock().unwrap_or_else(PoisonError::into_inner).line(refusal, Instant::now())
    }

    /// As [`Self::met`], of a connection that came to no call.
    pub fn met_handshake(&self, from: IpAddr, what: &'static str) -> Option<Value> {
        self.counts[Why::Handshake as usize].fetch_add(1, Ordering::Relaxed);
        let mut told = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        let fields = json!({"from": peer(from), "why": what});
        told.say("handshake_failed", fields, Some(from), &[], Instant::now())
    }

    /// How often it was, since the process began.
    pub fn count(&self, why: Why) -> u64 {
        self.counts[why as usize].load(Ordering::Relaxed)
    }
}

impl Told {
    fn line(&mut self, refusal: &Refusal<'_>, now: Instant) -> Option<Value> {
        let Refusal { why, status, from, by, method, route } = *refusal;
        let mut fields = json!({"from": from.map(peer), "why": why.name(), "status": status});
        let call = [("by", by), ("method", Some(method)), ("route", Some(route))];
        // Of somebody who is nobody it is the same whatever is asked for: else whoever asks for one route after the
        // other had a line of each.
        if by.is_some() {
            call.iter().for_each(|(name, word)| fields[*name] = json!(word));
        }
        self.say("call_refused", fields, from, &call, now)
    }

    /// What tells one from another stands in `fields`; what is said beside it, in `more`.
    fn say(
        &mut self,
        event: &'static str,
        mut fields: Value,
        from: Option<IpAddr>,
        more: &[(&str, Option<&str>)],
        now: Instant,
    ) -> Option<Value> {
        if !self.repeats.is_told(event, &mut fields) {
            return None;
        }
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= MINUTE) {
            (self.since, self.lines) = (Some(now), 0);
        }
        if self.lines >= LINES_MAX {
            self.untold += 1;
            return None;
        }
        self.lines += 1;
        more.iter().for_each(|(name, word)| fields[*name] = json!(word));
        fields["from"] = json!(from.map(|from| from.to_canonical()));
        if self.untold > 0 {
            fields["untold"] = json!(std::mem::take(&mut self.untold));
        }
        Some(fields)
    }
}

/// What a peer has to itself: an address, or, of IPv6, a network of 64 bits, of which each host has more
/// addresses than could be counted.
pub fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            const NETWORK: u128 = !(u64::MAX as u128);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(why: Why, from: &str, route: &'static str) -> Refusal<'static> {
        let from = Some(from.parse().unwrap());
        let (status, by) = if why == Why::Role { (403, Some("ada")) } else { (401, None) };
        Refusal { why, status, from, by, method: "GET", route }
    }

    #[test]
    fn it_is_told_at_once_and_then_as_a_number_and_of_a_stranger_whatever_it_asks_for() {
        let refusals = Refusals::default();
        let met = |why, from, route| refusals.met(&refusal(why, from, route));
        let line = met(Why::Unknown, "10.0.0.1", "/connectors").unwrap();
        let expected = json!({"from": "10.0.0.1", "why": "unknown", "status": 401, "by": null,
            "method": "GET", "route": "/connectors"});
        assert_eq!(line, expected);
        assert!((0..1000).all(|_| met(Why::Unknown, "10.0.0.1", "/connectors").is_none()));
        assert_eq!(met(Why::Unknown, "10.0.0.1", "/v1/budget"), None, "another route");
        // Controls: another reason, another peer, and each call of somebody who is known.
        assert!(met(Why::Expired, "10.0.0.1", "/connectors").is_some());
        assert!(met(Why::Unknown, "10.0.0.2", "/connectors").is_some());
        let line = met(Why::Role, "10.0.0.1", "/v1/budget").unwrap();
        assert_eq!((&line["by"], &line["status"]), (&json!("ada"), &json!(403)));
        assert!(met(Why::Role, "10.0.0.1", "/connectors").is_some());
        assert!(met(Why::Role, "10.0.0.1", "/connectors").is_none());
        // Each is counted, told or not.
        assert_eq!(Why::ALL.map(|why| refusals.count(why)), [0, 1003, 1, 0, 3, 0]);
    }

    #[test]
    fn a_host_of_ipv6_is_one_peer_and_its_whole_address_is_told() {
        let refusals = Refusals::default();
        let met = |from| refusals.met(&refusal(Why::None, from, "/"));
        assert_eq!(met("2001:db8:0:1::7").unwrap()["from"], "2001:db8:0:1::7");
        assert_eq!(met("2001:db8:0:1::8"), None);
        assert!(met("2001:db8:0:2::8").is_some(), "control");
        assert_eq!(met("::ffff:10.0.0.1").unwrap()["from"], "10.0.0.1");
    }

    #[test]
    fn strangers_without_a_call_take_no_lines_from_calls() {
        let refusals = Refusals::default();
        let from = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        let told = (0..1000).filter_map(|n| refusals.met_handshake(from(n), "x")).count();
        assert_eq!((told, refusals.count(Why::Handshake)), (LINES_MAX as usize, 1000));
        assert!(refusals.met(&refusal(Why::None, "10.9.0.1", "/")).is_some());
    }

    #[test]
    fn many_peers_have_so_many_lines_a_minute_and_what_was_left_out_is_a_number() {
        let (mut told, began) = (Told::default(), Instant::now());
        let mut met = |n: u32, at_s: u64| {
            let of = Refusal {
                from: Some(IpAddr::from((0x0a00_0000 + n).to_be_bytes())),
                ..refusal(Why::None, "::", "/")
            };
            told.line(&of, began + Duration::from_secs(at_s))
        };
        let lines = (0..1000).filter_map(|n| met(n, 0)).count();
        assert_eq!(lines, LINES_MAX as usize);
        assert_eq!(met(2000, 59), None);
        assert_eq!(met(2001, 60).unwrap()["untold"], 901);
        assert_eq!(met(2002, 60).unwrap().get("untold"), None, "it is said once");
    }
}
