//! Brings the standard work into a source topic, with planted faults, and remembers what should come of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Feed};
use crate::customers::{Customers, Format, Random};
use crate::oracle::Expected;

struct Out {
    partition: i32,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
}

/// Records in order, ready to be sent, and what is known about them.
#[derive(Default)]
pub struct Load {
    records: Vec<Out>,
    partitions: i32,
    /// What should cross, in source order.
    pub expected: Vec<Expected>,
    /// For each record how many of `expected` are due once it is sent.
    due: Vec<usize>,
    /// Offset at which a partition must be held.
    pub held: BTreeMap<i32, i64>,
    /// Offsets that must be quarantined.
    pub quarantined: BTreeMap<i32, Vec<i64>>,
    /// Raw texts that must not cross.
    pub secrets: Vec<String>,
}

/// Where faults are planted.
#[derive(Default, Clone)]
pub struct Plants {
    /// An unknown leaf comes in this partition when so many records of the whole are out.
    pub unknown_leaf: Option<(i32, usize)>,
    /// In this partition about one record in so many is followed by one that cannot be parsed.
    pub unparsable: Option<(i32, u64)>,
}

impl Load {
    pub fn new(partitions: i32) -> Self {
        Self { partitions, ..Self::default() }
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    fn offset(&self, partition: i32) -> i64 {
        // a fresh topic and one idempotent producer: offsets count records
        i64::try_from(self.records.iter().filter(|r| r.partition == partition).count())
            .expect("a count")
    }

    /// One record of any bytes. It says nothing about what should come of it.
    pub fn raw(
        &mut self,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> i64 {
        let offset = self.offset(partition);
        self.records.push(Out {
            partition,
            key: key.map(<[u8]>::to_vec),
            value: value.map(<[u8]>::to_vec),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), v.to_vec())).collect(),
        });
        offset
    }

    /// So many events of the standard work; an id's events lie in one partition.
    pub fn customers(
        mut self,
        events: &mut Customers,
        count: usize,
        format: Format,
        plants: &Plants,
    ) -> Self {
        let with_serial = events.with_serial;
        let mut random = Random::new(77);
        let mut offsets: BTreeMap<i32, i64> =
            (0..self.partitions).map(|p| (p, self.offset(p))).collect();
        for number in 0..count {
            let event = events.next().expect("an endless stream");
            let partition = i32::try_from(event.id % u64::from(self.partitions.cast_unsigned()))
                .expect("a partition");
            let mut value = event.value(format, with_serial);
            let offset = offsets[&partition];
            if let (Some((held, from)), Some(bytes)) = (plants.unknown_leaf, &value)
                && partition == held
                && number >= from
                && event.after.is_some()
                && !self.held.contains_key(&held)
            {
                let text = String::from_utf8_lossy(bytes);
                let at = text.rfind("\"city\":").expect("a column");
                let planted =
                    format!("{}\"passport\":\"P-4711-4711\",{}", &text[..at], &text[at..]);
                value = Some(planted.into_bytes());
                self.held.insert(held, offset);
            }
            if !self.held.contains_key(&partition) {
                self.expected.extend(Expected::of(&event, partition));
            }
            self.due.push(self.expected.len());
            self.secrets.extend(event.after.iter().flat_map(crate::customers::Row::secrets));
            self.records.push(Out {
                partition,
                key: Some(event.key(format)),
                value,
                headers: Vec::new(),
            });
            *offsets.get_mut(&partition).expect("a partition") += 1;
            if let Some((bad, one_in)) = plants.unparsable
                && partition == bad
                && random.below(one_in) == 0
            {
                let key = event.key(format);
                let value = b"{\"before\":null,\"after\":{\"id\":".to_vec();
                self.records.push(Out {
                    partition,
                    key: Some(key),
                    value: Some(value),
                    headers: Vec::new(),
                });
                self.due.push(self.expected.len());
                self.quarantined.entry(partition).or_default().push(offsets[&partition]);
                *offsets.get_mut(&partition).expect("a partition") += 1;
            }
        }
        self
    }

    /// How many of `expected` are due once so many records are sent.
    pub fn due(&self, sent: usize) -> usize {
        sent.checked_sub(1).map_or(0, |last| self.due[last])
    }

    /// Only what is due once so many records are sent: for a load that was cut short.
    pub fn cut(&mut self, sent: usize) {
        self.expected.truncate(self.due(sent));
        self.records.truncate(sent);
        self.due.truncate(sent);
    }

    /// Sends everything at once.
    pub fn send(&self, cluster: &Cluster, topic: &str) {
        self.send_at(&cluster.producer(), topic, None);
    }

    /// Sends everything in one transaction, which is committed or aborted.
    pub fn transact(&self, cluster: &Cluster, topic: &str, commits: bool) {
        cluster.transact(topic, commits, |feed| self.send_at(feed, topic, None));
    }

    fn send_at(&self, producer: &Feed, topic: &str, pace: Option<(u64, &Progress)>) {
        let started = Instant::now();
        for (number, record) in self.records.iter().enumerate() {
            if pace.is_some_and(|(_, progress)| progress.enough.load(Ordering::SeqCst)) {
                break;
            }
            let headers: Vec<(&str, &[u8])> =
                record.headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
            producer.send(
                topic,
                record.partition,
                record.key.as_deref(),
                record.value.as_deref(),
                &headers,
            );
            if let Some((per_second, progress)) = pace {
                progress.sent.store(number + 1, Ordering::SeqCst);
                let due = Duration::from_micros(number as u64 * 1_000_000 / per_second);
                if let Some(early) = due.checked_sub(started.elapsed())
                    && early > Duration::from_millis(5)
                {
                    std::thread::sleep(early);
                }
            }
        }
        producer.flush();
    }

    /// Sends at a pace from a thread of its own.
    pub fn send_slowly(
        self: &Arc<Self>,
        cluster: &Cluster,
        topic: &str,
        per_second: u64,
    ) -> Sending {
        let (load, cluster, topic) = (Arc::clone(self), cluster.clone(), topic.to_owned());
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        let thread = std::thread::spawn(move || {
            load.send_at(&cluster.producer(), &topic, Some((per_second, &shared)))
        });
        Sending { thread: Some(thread), progress }
    }
}

#[derive(Default)]
struct Progress {
    sent: AtomicUsize,
    enough: AtomicBool,
}

/// A load on its way.
pub struct Sending {
    thread: Option<JoinHandle<()>>,
    progress: Arc<Progress>,
}

impl Sending {
    pub fn sent(&self) -> usize {
        self.progress.sent.load(Ordering::SeqCst)
    }

    pub fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("every record sent");
        }
    }

    /// Sends no more; how many were sent.
    pub fn stop(&mut self) -> usize {
        self.progress.enough.store(true, Ordering::SeqCst);
        self.wait();
        self.sent()
    }

    /// Sends no more: the load is what was sent. A case draws more than it needs on any machine, and ends it like this.
    pub fn enough(mut self, load: Arc<Load>) -> Load {
        let sent = self.stop();
        let mut load = Arc::into_inner(load).expect("nobody sends any more");
        load.cut(sent);
        load
    }
}
