//! A Kafka broker in memory, **for development only**: for demos, trials and tests on a machine without Java.
//!
//! One node, one lock, nothing on disk: whoever ends it loses all that it held. It listens on 127.0.0.1 only, without
//! TLS and without asking who is there. It speaks Kafka's protocol well enough for librdkafka and for the basics of the
//! clients for Java and Python, with real transactions. Where it differs from Apache Kafka stands in its README; where
//! they disagree, Kafka is right.
//!
//! Threads, no asynchronous code: one a connection, one that accepts, one that watches the clock. Record batches are
//! kept as they came and sent as they lie; what is done under the lock is the choice of them.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a failing test may panic"
    )
)]

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

mod batch;
mod code;
mod connection;
mod core;
mod groups;
mod log;
mod requests;
mod settings;
mod state;
mod topics;
mod transactions;
mod wire;

use crate::core::Core;
use crate::state::State;
use crate::topics::{Ids, Topics};

/// Connections at one time; further ones are closed at once.
const CONNECTIONS_MAX: usize = 1_000;
/// What all logs may hold, where nothing else is said.
pub(crate) const BYTES_MAX: usize = 2 << 30;

/// What a broker is to be like.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `None`: the system chooses.
    pub port: Option<u16>,
    /// The port that clients are told to connect to, where a proxy stands in front. `None`: the broker's own.
    pub advertised_port: Option<u16>,
    /// What all logs may hold in memory; a record beyond it is refused with `POLICY_VIOLATION`. `None`: 2 GiB.
    pub bytes_max: Option<usize>,
    /// Partitions of a topic that is made because a client asked for it; `None`: none is made so.
    pub auto_create_partitions: Option<i32>,
}

/// Why no broker could be started.
#[derive(Debug, thiserror::Error)]
pub enum BrokerFault {
    #[error("cannot listen on 127.0.0.1:{port}: {source}; name another port, or none")]
    Listen { port: u16, source: io::Error },
    #[error("cannot start a thread: {0}; end other processes")]
    Thread(io::Error),
    #[error("the system gives no random bytes for the cluster's id")]
    Random,
    #[error("{found} partitions for a new topic; from 1 to 1000 is possible")]
    Partitions { found: i32 },
}

/// One broker, its own cluster, on 127.0.0.1. Ends when dropped, and what it held is gone.
pub struct Broker {
    core: Arc<Core>,
    connections: Arc<Connections>,
    threads: Vec<JoinHandle<()>>,
}

impl Broker {
    /// Listens, and returns at once: clients can connect.
    ///
    /// # Errors
    /// The port is taken, or the system has no thread or no randomness left.
    pub fn start(options: Options) -> Result<Self, BrokerFault> {
        if let Some(found) = options.auto_create_partitions.filter(|n| !(1..=1000).contains(n)) {
            return Err(BrokerFault::Partitions { found });
        }
        let port = options.port.unwrap_or(0);
        let listen = |source| BrokerFault::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(listen)?;
        let port = listener.local_addr().map_err(listen)?.port();
        let mut drawn = [0; 8];
        getrandom::fill(&mut drawn).map_err(|_| BrokerFault::Random)?;
        let mut ids = Ids::new(drawn);
        let cluster_id = ids.next_printed();
        let state = State::new(Topics::new(ids));
        let core = Arc::new(Core::new(state, cluster_id, port, &options));
        let mut broker = Self { core, connections: Arc::default(), threads: Vec::new() };
        let (core, connections) = (Arc::clone(&broker.core), Arc::clone(&broker.connections));
        broker.spawn("broker-accept", move || accept(&listener, &core, &connections))?;
        let core = Arc::clone(&broker.core);
        broker.spawn("broker-watch", move || core.watch())?;
        Ok(broker)
    }

    fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), BrokerFault> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
        self.threads.push(thread.map_err(BrokerFault::Thread)?);
        Ok(())
    }

    /// Where clients find it: `127.0.0.1:PORT`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("{}:{}", core::HOST, self.core.listens)
    }

    /// 22 characters of base64url, as Kafka's; another one with each start.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.core.cluster_id
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.core.stop();
        self.connections.close();
        // The listener waits for one more client, and then sees that it is over.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.core.listens)));
        for thread in self.threads.drain(..) {
            // A panicked thread has said so itself.
            let _ = thread.join();
        }
        self.connections.close();
        self.connections.wait_until_closed();
    }
}

/// Who is connected.
#[derive(Default)]
struct Connections {
    open: Mutex<HashMap<u64, (TcpStream, Arc<Condvar>)>>,
    one_ended: Condvar,
}

impl Connections {
    /// Ends every connection, waiting ones too.
    fn close(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for (stream, woken) in open.values() {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
            woken.notify_all();
        }
    }

    fn wait_until_closed(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = self.one_ended.wait_while(open, |open| !open.is_empty());
        drop(ended.unwrap_or_else(PoisonError::into_inner));
    }
}

fn accept(listener: &TcpListener, core: &Arc<Core>, connections: &Arc<Connections>) {
    for number in 0.. {
        let accepted = listener.accept();
        if core.is_stopping() {
            return;
        }
        // A client that was gone before it was accepted, or no file descriptor left: others may fare better.
        let Ok((stream, kept)) = accepted.and_then(|(s, _)| s.try_clone().map(|kept| (s, kept)))
        else {
            core.pause();
            continue;
        };
        let woken = Arc::new(Condvar::new());
        let mut open = connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= CONNECTIONS_MAX {
            continue;
        }
        open.insert(number, (kept, Arc::clone(&woken)));
        drop(open);
        let (core, all) = (Arc::clone(core), Arc::clone(connections));
        let serve = move || {
            let _entry = Entry { number, all };
            // A client that went, or did not follow the protocol, concerns nobody else.
            let _ = connection::serve(&core, stream, &woken);
        };
        let name = format!("broker-{number}");
        if thread::Builder::new().name(name).spawn(serve).is_err() {
            connections.forget(number);
        }
    }
}

impl Connections {
    fn forget(&self, number: u64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((stream, _)) = open.remove(&number) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.one_ended.notify_all();
    }
}

/// A connection's place in the list; given up also when its thread panics.
struct Entry {
    number: u64,
    all: Arc<Connections>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.all.forget(self.number);
    }
}
