//! Whether a service answers, asked from beside it by who has neither a token nor a certificate.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use douane_pipelines::config::ServePlace;

/// Who does not answer within it does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The one route that needs no token. Nothing outside is asked for it, so that a cluster that is
/// away makes no process that waits for it begin again.
const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Where the service of a place is reached from this machine.
pub fn here(place: &ServePlace) -> SocketAddr {
    let ip = match place.listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, place.listen.port())
}

/// Whether the service of a place answers.
pub fn answers(place: &ServePlace) -> bool {
    ask(here(place), place.tls.is_some()).unwrap_or(false)
}

/// Behind TLS it is asked in clear: its alert is an answer, and takes neither a certificate, which
/// it may ask its clients for, nor a name that this one could check.
fn ask(address: SocketAddr, tls: bool) -> io::Result<bool> {
    const ALERT: &[u8] = &[21, 3];
    const OK: &[u8] = b"HTTP/1.1 200";
    let expected = if tls { ALERT } else { OK };
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(LIVEZ)?;
    let mut first = vec![0; expected.len()];
    stream.read_exact(&mut first)?;
    Ok(first == expected)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_answer_is_the_one_that_a_service_gives() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let said = |answer: &'static [u8], tls: bool| {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut asked = vec![0; LIVEZ.len()];
                    stream.read_exact(&mut asked).unwrap();
                    stream.write_all(answer).unwrap();
                });
                ask(address, tls).unwrap_or(false)
            })
        };
        let (ok, alert): (&[u8], &[u8]) = (b"HTTP/1.1 200 OK\r\n\r\n", &[21, 3, 3, 0, 2, 2, 50]);
        assert!(said(ok, false) && said(alert, true));
        assert!(!said(ok, true) && !said(alert, false) && !said(b"", false));
        assert!(!said(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", false));
        drop(listener);
        assert!(ask(address, false).is_err(), "nobody listens");
    }
}
