//! Signed checkpoints, read by the auditor's own code:
//! <https://c2sp.org/tlog-checkpoint>, <https://c2sp.org/signed-note>.

use ct_merkle::{ConsistencyProof, RootHash};
use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use crate::signing::VerifyingKey;

/// What a checkpoint says.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) size: u64,
    pub(crate) root: [u8; 32],
    pub(crate) origin: String,
}

impl Note {
    /// Whether it goes on from a smaller one that is not empty, by RFC 6962's consistency proof: its hashes, one
    /// after another.
    pub(crate) fn goes_on_from(&self, size: u64, root: [u8; 32], proof: Vec<u8>) -> bool {
        let Ok(proof) = ConsistencyProof::<Sha256>::try_from_bytes(proof) else { return false };
        let (old, new) =
            (RootHash::new(root.into(), size), RootHash::new(self.root.into(), self.size));
        new.verify_consistency(&old, &proof).is_ok()
    }
}

/// Parses strictly; with a key, exactly one signature must be by it and verify.
pub(crate) fn parse(bytes: &[u8], key: Option<&str>) -> Result<Note, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    let (body, signatures) = text.split_once("\n\n").ok_or("it has no signatures")?;
    let signatures = signatures.strip_suffix('\n').ok_or("it has no final newline")?;
    let lines: Vec<&str> = body.split('\n').collect();
    let [origin, size, root] = lines.as_slice() else {
        return Err("it has not three lines");
    };
    let number: u64 = size.parse().map_err(|_| "its size is not a number")?;
    if number.to_string() != *size {
        return Err("its size is not canonical");
    }
    let root = BASE64.decode(root.as_bytes()).ok().and_then(|root| root.try_into().ok());
    let root = root.ok_or("its root is not a SHA-256 hash")?;
    let note = Note { size: number, root, origin: (*origin).to_owned() };
    if origin.is_empty() {
        return Err("it has no origin");
    }
    let Some(key) = key else { return Ok(note) };
    let (name, id, key) = verifier(key).ok_or("the verifier key is malformed")?;
    if *origin != name {
        return Err("its origin is not the key's name");
    }
    let signed = format!("{body}\n");
    let mut found = 0;
    for line in signatures.split('\n') {
        let parts = line.strip_prefix("\u{2014} ").and_then(|line| line.split_once(' '));
        let (by, base64) = parts.ok_or("a signature line is malformed")?;
        let bytes = BASE64.decode(base64.as_bytes()).map_err(|_| "a signature is not base64")?;
        let (tag, signature) = bytes.split_at_checked(4).ok_or("a signature is too short")?;
        // Others may cosign: lines by other names are theirs to verify.
        if by == name {
            if tag != id || !key.verifies(signed.as_bytes(), signature) {
                return Err("its signature does not verify");
            }
            found += 1;
        }
    }
    match found {
        1 => Ok(note),
        _ => Err("it does not have one signature by the expected key"),
    }
}

/// The text of a note that its signatures are over.
pub(crate) fn body(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.split_once("\n\n").and_then(|(body, _)| text.get(..=body.len()))
}

/// The origin that a log's verifier key is of.
pub(crate) fn origin_of(key: &str) -> Option<&str> {
    verifier(key).map(|(name, ..)| name)
}

/// `name+hex8+base64(0x01 || key)`.
fn verifier(text: &str) -> Option<(&str, [u8; 4], VerifyingKey)> {
    key_of(text, 1)
}

/// `name+hex8+base64(kind || key)`.
pub(crate) fn key_of(text: &str, kind: u8) -> Option<(&str, [u8; 4], VerifyingKey)> {
    let mut parts = text.splitn(3, '+');
    let (name, id, base64) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = BASE64.decode(base64.as_bytes()).ok()?;
    let digest =
        Sha256::new().chain_update(name).chain_update("\n").chain_update(&bytes).finalize();
    let id: [u8; 4] = crate::canonical::hex_array(id)?;
    let key = bytes.strip_prefix(&[kind])?.try_into().ok()?;
    (digest.get(..4)? == id).then_some((name, id, VerifyingKey(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// golang.org/x/mod/sumdb/note, example in the package documentation: the verifier key.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn go_verifier_key() {
        let (name, id, key) = verifier(PETER).unwrap();
        assert_eq!((name, id), ("PeterNeumann", [0xc7, 0x4f, 0x20, 0xa3]));
        // The same documentation's signed message.
        let text = "If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n";
        let sig = BASE64
            .decode(
                b"x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=",
            )
            .unwrap();
        assert_eq!(sig[..4], id);
        assert!(key.verifies(text.as_bytes(), &sig[4..]));
    }

    #[test]
    fn refuses_note_bad_form() {
        let root = BASE64.encode(&[0; 32]);
        let good = format!("o\n0\n{root}\n\n\u{2014} o AAAAAA==\n");
        assert!(parse(good.as_bytes(), None).is_ok());
        for bad in [
            good.replace("\n0\n", "\n00\n"),
            good.replace("\n0\n", "\n-1\n"),
            good.replace("o\n0", "\n0"),
            good.replace('=', "A"),
            good.trim_end().to_owned(),
            good.replace("\n\n", "\nextension\n\n"),
            String::new(),
        ] {
            assert!(parse(bad.as_bytes(), None).is_err(), "{bad:?}");
        }
        assert!(parse(good.as_bytes(), Some(PETER)).is_err());
    }
}
