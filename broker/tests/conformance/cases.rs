//! The cases. Each makes its own topics and names, so they can run in any order on one cluster.

use crate::client::{Cluster, New};

type Case = fn(&Cluster);

pub const ALL: &[(&str, Case)] = &[("codecs", codecs), ("isolation", isolation)];

/// Batches of every codec come back as they were sent.
fn codecs(cluster: &Cluster) {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("codecs.{codec}");
        cluster.create(&topic, 1, &[]);
        let settings = [("compression.type", codec), ("linger.ms", "50")];
        let sender = cluster.producer(&settings);
        let value = "abc".repeat(500);
        let headers: &[(&str, Option<&[u8]>)] = &[("a", Some(b"1")), ("a", Some(b"")), ("b", None)];
        let news: Vec<New<'_>> = (0..200)
            .map(|i| New {
                key: (i % 3 > 0).then_some(b"key\0key".as_slice()),
                value: (i % 5 > 0).then_some(value.as_bytes()),
                timestamp: Some(1_700_000_000_000 + i),
                headers: if i % 2 == 0 { headers } else { &[] },
            })
            .collect();
        assert!(sender.send_all(&topic, &news).iter().all(Result::is_ok), "{codec}");
        let (records, end) = cluster.read_from(&topic, rdkafka::Offset::Beginning, true);
        assert_eq!((records.len(), end), (200, 200), "{codec}");
        for (new, record) in news.iter().zip(&records) {
            assert_eq!(new.key, record.key.as_deref());
            assert_eq!(new.value, record.value.as_deref());
            assert_eq!(new.timestamp, Some(record.timestamp));
            let had: Vec<_> =
                record.headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
            assert_eq!(new.headers, had);
        }
    }
}

/// Committed, aborted and open transactions that overlap in one partition.
fn isolation(cluster: &Cluster) {
    let topic = "isolation";
    cluster.create(topic, 1, &[]);
    let (a, b, c) = (cluster.holder("iso.a"), cluster.holder("iso.b"), cluster.holder("iso.c"));
    let plain = cluster.producer(&[]);
    plain.send(topic, "plain 1");
    for sender in [&a, &b, &c] {
        sender.begin();
    }
    a.send(topic, "a 1");
    b.send(topic, "b 1");
    a.send(topic, "a 2");
    c.send(topic, "c 1");
    plain.send(topic, "plain 2");
    b.send(topic, "b 2");
    assert_eq!(cluster.marks(topic, true), (0, 1), "the last stable offset is before a 1");
    assert_eq!(cluster.marks(topic, false), (0, 7));
    a.commit().unwrap();
    b.abort().unwrap();
    assert_eq!(cluster.texts(topic, true), ["plain 1", "a 1", "a 2"], "c is open from here on");
    assert_eq!(cluster.texts(topic, false).len(), 7);
    b.begin();
    b.send(topic, "b 3");
    b.commit().unwrap();
    assert_eq!(cluster.texts(topic, true).len(), 3, "also where a later one is committed");
    c.commit().unwrap();
    let committed = ["plain 1", "a 1", "a 2", "c 1", "plain 2", "b 3"];
    assert_eq!(cluster.texts(topic, true), committed);
    let all = ["plain 1", "a 1", "b 1", "a 2", "c 1", "plain 2", "b 2", "b 3"];
    assert_eq!(cluster.texts(topic, false), all);
    // Four markers: commit, abort, commit, commit. A reader's position passes them.
    let (_, end) = cluster.read_from(topic, rdkafka::Offset::Beginning, true);
    assert_eq!(end, 12);
    assert_eq!(cluster.marks(topic, true), (0, 12));
}
