//! A proxy for one broker that makes an EndTxn late: the hazard that KIP-890 describes.
//!
//! The chosen EndTxn is withheld; its connection goes silent, as on a dead link, or is closed towards the client. It is
//! delivered on its old connection right after a LATER transaction's first Produce has passed on another one.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PRODUCE: i16 = 0;
const INIT_PRODUCER_ID: i16 = 22;
const END_TXN: i16 = 26;

/// What the client sees of the connection whose EndTxn is withheld.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Link {
    /// Nothing more comes.
    Silent,
    /// It is closed.
    Closed,
}

/// How the withheld EndTxn was to end its transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Commit,
    Abort,
}

struct Withheld {
    to_broker: TcpStream,
    frame: Vec<u8>,
    transactional_id: String,
    /// Another EndTxn, or a producer that fences, has passed since: the transaction ended in another way.
    ended_otherwise: bool,
}

struct State {
    every: usize,
    seen: usize,
    withheld: Option<Withheld>,
}

struct Shared {
    link: Link,
    end: End,
    upstream: u16,
    state: Mutex<State>,
    taken: AtomicUsize,
    delivered: AtomicUsize,
}

/// Runs until the process ends.
pub struct Proxy {
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens on `port`, passes on to `upstream`, and makes every `every`-th EndTxn of the kind late.
    pub fn start(port: u16, upstream: u16, link: Link, end: End, every: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the proxy's port");
        let state = Mutex::new(State { every, seen: 0, withheld: None });
        let shared = Arc::new(Shared {
            link,
            end,
            upstream,
            state,
            taken: AtomicUsize::new(0),
            delivered: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || {
                    let _ = serve(&shared, client);
                });
            }
        });
        Self { shared }
    }

    /// How many EndTxn were withheld.
    pub fn withheld(&self) -> usize {
        self.shared.taken.load(Ordering::SeqCst)
    }

    /// How many were delivered late.
    pub fn delivered(&self) -> usize {
        self.shared.delivered.load(Ordering::SeqCst)
    }

    /// From now on everything passes, and what is withheld is dropped.
    pub fn behave(&self) {
        let mut state = self.shared.state.lock().expect("not poisoned");
        state.every = usize::MAX;
        state.withheld = None;
    }
}

fn serve(shared: &Arc<Shared>, mut client: TcpStream) -> std::io::Result<()> {
    let mut broker = TcpStream::connect(("127.0.0.1", shared.upstream))?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let (mut from_broker, mut to_client) = (broker.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_broker, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut dead = false;
    let answer = loop {
        let frame = match next_frame(&mut client) {
            Ok(frame) => frame,
            Err(error) => break Err(error),
        };
        if dead {
            continue;
        }
        let request = Request::of(&frame);
        if withhold(shared, &broker, &frame, &request)? {
            dead = true;
            if shared.link == Link::Closed {
                client.shutdown(Shutdown::Both)?;
            }
            continue;
        }
        if let Err(error) = broker.write_all(&frame) {
            break Err(error);
        }
        if request.api == PRODUCE {
            deliver_late(shared, &request);
        }
    };
    if !dead {
        let _ = broker.shutdown(Shutdown::Both);
    }
    let _ = client.shutdown(Shutdown::Both);
    answer
}

fn next_frame(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = [0; 4];
    client.read_exact(&mut head)?;
    let size = usize::try_from(i32::from_be_bytes(head)).unwrap_or(0).max(4);
    let mut frame = vec![0; 4 + size];
    frame[..4].copy_from_slice(&head);
    client.read_exact(&mut frame[4..])?;
    Ok(frame)
}

/// What the proxy looks at in a request.
struct Request {
    api: i16,
    version: i16,
    transactional_id: String,
}

impl Request {
    /// All three requests begin with the transactional id, after the header with the client's id.
    fn of(frame: &[u8]) -> Self {
        let short =
            |at: usize| frame.get(at..at + 2).map_or(0, |b| i16::from_be_bytes([b[0], b[1]]));
        let (api, version) = (short(4), short(6));
        let flexible_from = match api {
            PRODUCE => 9,
            INIT_PRODUCER_ID => 2,
            END_TXN => 3,
            _ => return Self { api, version, transactional_id: String::new() },
        };
        let mut at = 14 + usize::try_from(short(12)).unwrap_or(0);
        let length = if version >= flexible_from {
            at += 2; // no tags, and a length that one byte holds
            usize::from(frame.get(at - 1).copied().unwrap_or(0)).saturating_sub(1)
        } else {
            at += 2;
            usize::try_from(short(at - 2)).unwrap_or(0)
        };
        let text = frame.get(at..at + length).unwrap_or_default();
        Self { api, version, transactional_id: String::from_utf8_lossy(text).into_owned() }
    }
}

/// Is this the EndTxn to be late? Then it and its connection are kept.
fn withhold(
    shared: &Shared,
    broker: &TcpStream,
    frame: &[u8],
    request: &Request,
) -> std::io::Result<bool> {
    if request.api != END_TXN && request.api != INIT_PRODUCER_ID {
        return Ok(false);
    }
    let mut state = shared.state.lock().expect("not poisoned");
    if let Some(withheld) = &mut state.withheld {
        withheld.ended_otherwise |= withheld.transactional_id == request.transactional_id;
        return Ok(false);
    }
    // EndTxn up to version 2 ends with the flag `committed`; from 3 on an empty list of tags follows it.
    let flag = frame[frame.len() - if request.version >= 3 { 2 } else { 1 }];
    let is_wanted = (flag == 1) == (shared.end == End::Commit);
    if request.api != END_TXN || !is_wanted || request.transactional_id.ends_with(".layout") {
        return Ok(false);
    }
    state.seen += 1;
    if state.every == usize::MAX || !state.seen.is_multiple_of(state.every) {
        return Ok(false);
    }
    state.withheld = Some(Withheld {
        to_broker: broker.try_clone()?,
        frame: frame.to_vec(),
        transactional_id: request.transactional_id.clone(),
        ended_otherwise: false,
    });
    shared.taken.fetch_add(1, Ordering::SeqCst);
    Ok(true)
}

/// A Produce has passed: if the withheld transaction ended otherwise, this is a later one, and the moment to be late.
/// What its producer sends next waits a little: the network may be that slow, and the test kills the process meanwhile.
fn deliver_late(shared: &Shared, request: &Request) {
    let mut state = shared.state.lock().expect("not poisoned");
    let due = state.withheld.as_ref().is_some_and(|withheld| {
        withheld.ended_otherwise && withheld.transactional_id == request.transactional_id
    });
    if !due {
        return;
    }
    let Some(mut withheld) = state.withheld.take() else { return };
    drop(state);
    std::thread::sleep(Duration::from_millis(30));
    if withheld.to_broker.write_all(&withheld.frame).is_ok() {
        std::thread::sleep(Duration::from_millis(30));
        shared.delivered.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
    }
}
