use super::*;

fn journal(dir: &Path, payloads: &[&[u8]], sync_each: bool) -> JournalId {
    let id = JournalId([7; 16]);
    let mut writer = Writer::create(dir, &Header::new("shard-0", id, 1, None), None).unwrap();
    for payload in payloads {
        writer.append(payload).unwrap();
        if sync_each {
            writer.sync().unwrap();
        }
    }
    writer.sync().unwrap();
    id
}

/// Payloads read, and the torn bytes; or the fault.
fn read(dir: &Path, id: JournalId) -> Result<(Vec<Vec<u8>>, u64), LedgerFault> {
    let Some((mut reader, _)) = Reader::open(dir, id)? else {
        return Ok((vec![], u64::MAX));
    };
    let mut all = Vec::new();
    while let Some(payload) = reader.next()? {
        all.push(payload);
    }
    let length = std::fs::metadata(id.path(dir)).unwrap().len();
    Ok((all, length - reader.offset()))
}

#[test]
fn reads_back_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let id = journal(dir.path(), &[b"one", b"two"], true);
    assert_eq!(list(dir.path()).unwrap(), [id]);
    assert_eq!(read(dir.path(), id).unwrap(), (vec![b"one".to_vec(), b"two".to_vec()], 0));
    // crc32c_append continues a checksum: RFC 3720, B.4, 32 bytes of zeros
    assert_eq!(crc32c::crc32c_append(crc32c::crc32c(&[0; 12]), &[0; 20]), 0x8a91_36aa);
}

#[test]
fn every_cut_is_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let id = journal(dir.path(), &[b"one", b"two"], true);
    let path = id.path(dir.path());
    let whole = std::fs::read(&path).unwrap();
    let mut seen = [false; 4];
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (payloads, torn) = read(dir.path(), id).unwrap();
        seen[if torn == u64::MAX { 3 } else { payloads.len() }] = true;
        assert!(payloads.iter().zip([b"one", b"two"]).all(|(a, b)| a == b), "cut at {cut}");
    }
    assert_eq!(seen, [true, true, false, true]);
}

#[test]
fn a_tail_of_zeros_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    let id = journal(dir.path(), &[b"one"], true);
    let path = id.path(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(&[0; 5000]);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(read(dir.path(), id).unwrap(), (vec![b"one".to_vec()], 5000));
}

#[test]
fn a_flip_before_a_durable_mark_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let id = journal(dir.path(), &[b"one", b"two", b"three"], true);
    let path = id.path(dir.path());
    let whole = std::fs::read(&path).unwrap();
    // The mark in the frame of "three" says that header, "one" and "two" were durable.
    let last = whole.len() - FRAME_HEAD - b"three".len();
    for at in 0..last {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        let fault = read(dir.path(), id).unwrap_err();
        assert!(matches!(fault, LedgerFault::Damaged { .. }), "flip at {at}");
    }
    // Control: in the last frame nothing tells damage from a torn write.
    let mut bytes = whole.clone();
    bytes[last + FRAME_HEAD] ^= 0x10;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(read(dir.path(), id).unwrap().0.len(), 2);
}

#[test]
fn pages_of_one_write_may_be_lost_out_of_order() {
    let dir = tempfile::tempdir().unwrap();
    let id = journal(dir.path(), &[b"one", b"two", b"three"], false);
    let path = id.path(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    let first = bytes.len() - 3 * FRAME_HEAD - 11;
    bytes[first + FRAME_HEAD] = 0;
    std::fs::write(&path, bytes).unwrap();
    let (payloads, torn) = read(dir.path(), id).unwrap();
    assert!(payloads.is_empty());
    assert_eq!(torn, 3 * FRAME_HEAD as u64 + 11);
}

#[test]
fn a_renamed_journal_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let id = journal(dir.path(), &[b"one"], true);
    let other = JournalId([8; 16]);
    std::fs::rename(id.path(dir.path()), other.path(dir.path())).unwrap();
    assert!(matches!(read(dir.path(), other), Err(LedgerFault::Damaged { .. })));
}
