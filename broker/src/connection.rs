//! One connection: frames in, answers out, in order.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Condvar};

use crate::core::Core;
use crate::requests::{self, Request, Say};
use crate::wire::{Malformed, Reader, Writer};

/// `socket.request.max.bytes` of Kafka.
const FRAME_MAX: usize = 104_857_600;

/// Serves until the client goes, or sends what cannot be understood.
///
/// # Errors
/// The connection broke, or the client does not follow the protocol. Nobody else is concerned by either.
pub(crate) fn serve(core: &Core, mut stream: TcpStream, woken: &Arc<Condvar>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut frame = Vec::new();
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > FRAME_MAX {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        frame.clear();
        // Memory grows with what has come, not with what was announced.
        (&mut stream).take(length as u64).read_to_end(&mut frame)?;
        if frame.len() < length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let answer = answer(core, &frame, woken);
        let answer =
            answer.map_err(|Malformed(what)| io::Error::new(io::ErrorKind::InvalidData, what))?;
        if let Some(answer) = answer {
            stream.write_all(&answer)?;
        }
        if frame.capacity() > FRAME_KEPT {
            frame = Vec::new();
        }
    }
}

/// A buffer of this size is used again; a larger one goes back.
const FRAME_KEPT: usize = 4 << 20;

/// The frame that answers a frame, if one does.
pub(crate) fn answer(
    core: &Core,
    frame: &[u8],
    woken: &Arc<Condvar>,
) -> Result<Option<Vec<u8>>, Malformed> {
    let mut body = Reader::new(frame);
    let (key, version, correlation) = (body.i16()?, body.i16()?, body.i32()?);
    let offer = requests::ALL.iter().find(|offer| offer.key == key);
    let offer = offer.ok_or(Malformed("a request that is not offered"))?;
    let mut out = Writer::new(correlation);
    if !offer.versions.contains(&version) {
        if key != requests::API_VERSIONS {
            return Err(Malformed("a version that is not offered"));
        }
        // How a client finds out what it may say: always answered, in the oldest version.
        requests::unknown_version(&mut out);
        return Ok(Some(out.finish()));
    }
    let client = body.nullable_text()?.unwrap_or_default();
    let flexible = version >= offer.flexible;
    body.set_flexible(flexible);
    body.tags()?;
    out.set_flexible(flexible);
    if key != requests::API_VERSIONS {
        out.tags();
    }
    let say = (offer.answer)(core, Request { version, client, body, woken }, &mut out)?;
    Ok((say == Say::Answer).then(|| out.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::state::State;
    use crate::topics::{Ids, Topics};

    /// Bytes that depend on the seed only (xorshift).
    fn bytes(seed: &mut u64, count: usize) -> Vec<u8> {
        let mut next = || {
            *seed ^= *seed << 13;
            *seed ^= *seed >> 7;
            *seed ^= *seed << 17;
            // Small numbers are what lengths and counts are made of.
            if *seed & 3 == 0 { (*seed >> 8) as u8 } else { (*seed >> 8) as u8 & 3 }
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn bytes_of_any_kind_are_answered_or_refused_bad_frames() {
        let state = State::new(Topics::new(Ids::new([1; 8])));
        let options = Options { auto_create_partitions: Some(1), ..Options::default() };
        let core = Core::new(state, "cluster".to_owned(), 1, &options);
        core.stop(); // so that nothing waits
        let (mut answered, mut refused, mut seed) = (0, 0, 11);
        for offer in requests::ALL {
            for version in -1..=offer.versions.end() + 1 {
                for round in 0..400 {
                    let mut frame = Vec::new();
                    frame.extend(offer.key.to_be_bytes());
                    frame.extend(version.to_be_bytes());
                    frame.extend([0, 0, 0, 7, 0, 1, b'c']);
                    frame.extend(bytes(&mut seed, round / 4));
                    match answer(&core, &frame, &Arc::default()) {
                        Ok(_) => answered += 1,
                        Err(_) => refused += 1,
                    }
                }
            }
        }
        assert!(answered > 1_000 && refused > 1_000, "{answered} answered, {refused} refused");
        for length in 0..8 {
            assert!(answer(&core, &[0; 8][..length], &Arc::default()).is_err());
        }
    }
}
