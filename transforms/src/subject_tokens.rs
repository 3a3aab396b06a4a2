//! Reversible tokens under keys of single subjects. With a subject's key go its tokens: nobody opens
//! them again.
//!
//! token = number of the domain's key version (one byte, from 1), then 16 bytes that hide the
//! subject's name, then AES-SIV under the pair of the subject's key, with associated data
//! tuple(domain name, version, number of the key version, subject's name), of the padded text.
//!
//! The 16 bytes are AES-256(the domain's key for hiding names, name xor synthetic IV): two tokens of
//! one subject show no more of each other than that they are of one domain.

use std::sync::Arc;

use aes::Aes256;
use aes::cipher::{Array, Block, BlockCipherDecrypt, KeyInit};
use douane_schemas::keys::{Key, pair};
use douane_schemas::tuple::Tuple;
use zeroize::Zeroizing;

use crate::cmac::{BLOCK, encrypt, xor};
use crate::fault::{StageFault, TransformFault};
use crate::forms::Form;
use crate::reversible::{self, OpenFault, TEXT_BYTES_MAX};
use crate::siv::{IV_BYTES, Siv};
use crate::subjects::{Subject, SubjectId, SubjectKeys};

/// Seals the texts of one domain, each under the key of its subject.
pub struct SubjectSealer {
    keys: Arc<dyn SubjectKeys>,
    /// Wipes itself.
    mask: Aes256,
    domain: String,
    version: u32,
    key_number: u8,
    bucket_least: usize,
}

impl SubjectSealer {
    /// `mask` hides names, `number` is the version of the domain's keys in the keyring.
    ///
    /// # Errors
    /// [`StageFault::KeyNumber`] beyond 255 versions.
    pub fn new(
        keys: Arc<dyn SubjectKeys>,
        mask: &Key,
        number: u32,
        domain: &str,
        version: u32,
        bucket_least: u32,
    ) -> Result<Self, StageFault> {
        Ok(Self {
            keys,
            mask: Aes256::new(&Array::from(*mask.secret())),
            key_number: reversible::key_byte(domain, number)?,
            domain: domain.to_owned(),
            version,
            bucket_least: bucket_least as usize,
        })
    }

    /// The tokens' bytes, one a text, in their order. All keys are asked for at once.
    ///
    /// # Errors
    /// A text is too long, a subject was shredded, or no key can be had: then none is given.
    pub fn seal(&self, texts: &[(SubjectId, &str)]) -> Result<Vec<Vec<u8>>, TransformFault> {
        if texts.iter().any(|(_, text)| text.len() > TEXT_BYTES_MAX) {
            return Err(TransformFault::TooLong);
        }
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_unstable_by_key(|at| texts[*at].0);
        let groups: Vec<&[usize]> = order.chunk_by(|a, b| texts[*a].0 == texts[*b].0).collect();
        let subjects: Vec<SubjectId> = groups.iter().map(|group| texts[group[0]].0).collect();
        let mut tokens = vec![Vec::new(); texts.len()];
        let mut shredded = false;
        let number = u32::from(self.key_number);
        let asked = self.keys.keys(&self.domain, number, &subjects, &mut |at, subject| {
            let Subject::Key(key) = subject else {
                shredded = true;
                return;
            };
            let siv = Siv::new(&pair(key));
            let header = header(&siv, &self.domain, self.version, self.key_number, subjects[at]);
            for text in groups[at] {
                tokens[*text] = self.token(&siv, &header, subjects[at], texts[*text].1);
            }
        });
        match asked {
            Err(_) => Err(TransformFault::KeysAway),
            Ok(()) if shredded => Err(TransformFault::Shredded),
            Ok(()) => Ok(tokens),
        }
    }

    fn token(&self, siv: &Siv, header: &crate::siv::Header, id: SubjectId, text: &str) -> Vec<u8> {
        let bucket = (text.len() + 1).max(self.bucket_least).next_power_of_two();
        let mut padded = Zeroizing::new(vec![0; bucket]);
        padded[..text.len()].copy_from_slice(text.as_bytes());
        padded[text.len()] = 0x80;
        let sealed = siv.seal(header, &padded);
        let mut hidden = id.0;
        if let Some(iv) = sealed.first_chunk() {
            xor(&mut hidden, iv);
        }
        encrypt(&self.mask, std::slice::from_mut(&mut hidden));
        let mut token = Vec::with_capacity(1 + BLOCK + sealed.len());
        token.push(self.key_number);
        token.extend_from_slice(&hidden);
        token.extend_from_slice(&sealed);
        token
    }
}

fn header(
    siv: &Siv,
    domain: &str,
    version: u32,
    key_number: u8,
    subject: SubjectId,
) -> crate::siv::Header {
    let tuple = Tuple::new().text(domain).number(u64::from(version));
    let tuple = tuple.number(u64::from(key_number)).bytes(&subject.0);
    siv.header(&[&tuple.finish()])
}

/// A token under a subject's key, taken apart.
pub struct SubjectToken {
    /// The number of the domain's key version.
    pub key_number: u32,
    hidden: [u8; BLOCK],
    sealed: Vec<u8>,
}

impl SubjectToken {
    /// Reads a token.
    ///
    /// # Errors
    /// [`OpenFault::Form`].
    pub fn read(form: Form, token: &str) -> Result<Self, OpenFault> {
        let bytes = form.read_bytes(token).ok_or(OpenFault::Form)?;
        let (number, rest) = bytes.split_first().ok_or(OpenFault::Form)?;
        let (hidden, sealed) = rest.split_first_chunk::<BLOCK>().ok_or(OpenFault::Form)?;
        let padded = sealed.len().checked_sub(IV_BYTES).ok_or(OpenFault::Form)?;
        let shaped = *number > 0 && padded >= BLOCK && padded.is_power_of_two();
        match shaped && padded <= TEXT_BYTES_MAX + 1 {
            true => Ok(Self {
                key_number: u32::from(*number),
                hidden: *hidden,
                sealed: sealed.to_vec(),
            }),
            false => Err(OpenFault::Form),
        }
    }

    /// Whose key it was made under; of a token of another domain a name that nobody has.
    pub fn subject(&self, mask: &Key) -> SubjectId {
        let cipher = Aes256::new(&Array::from(*mask.secret()));
        let mut id: Block<Aes256> = Array::from(self.hidden);
        cipher.decrypt_block(&mut id);
        let mut id: [u8; BLOCK] = id.into();
        if let Some(iv) = self.sealed.first_chunk() {
            xor(&mut id, iv);
        }
        SubjectId(id)
    }

    /// The canonical text behind it, as the domain normalised it.
    ///
    /// # Errors
    /// [`OpenFault::Key`].
    pub fn open(
        &self,
        key: &[u8; 32],
        subject: SubjectId,
        domain: &str,
        version: u32,
    ) -> Result<Zeroizing<String>, OpenFault> {
        let siv = Siv::new(&pair(key));
        // The number was one byte.
        let number = u8::try_from(self.key_number).map_err(|_| OpenFault::Key)?;
        let header = header(&siv, domain, version, number, subject);
        reversible::unpadded(&siv.open(&header, &self.sealed).ok_or(OpenFault::Key)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use douane_schemas::keys::{Purpose, RootKey};

    use super::*;
    use crate::subjects::Namer;
    use crate::subjects::testing::InMemory;

    fn root() -> RootKey {
        RootKey::new([7; 32])
    }

    fn mask() -> Key {
        root().derive(Purpose::SubjectMask, "d")
    }

    fn id(subject: &str) -> SubjectId {
        Namer::new(&root().derive(Purpose::SubjectId, "d"), "d").name(subject)
    }

    fn sealer(keys: &Arc<InMemory>) -> SubjectSealer {
        SubjectSealer::new(Arc::clone(keys) as _, &mask(), 2, "d", 3, 16).unwrap()
    }

    fn printed(bytes: &[u8]) -> String {
        let mut text = String::new();
        Form::Base32.print_bytes(bytes, &mut text);
        text
    }

    #[test]
    fn a_token_opens_under_its_subjects_key_alone() {
        let keys = Arc::new(InMemory::default());
        let long = "x".repeat(200);
        let texts = [
            (id("1"), "ada"),
            (id("2"), "ada"),
            (id("1"), "ada"),
            (id("1"), ""),
            (id("2"), long.as_str()),
        ];
        let tokens = sealer(&keys).seal(&texts).unwrap();
        assert_eq!(tokens[0], tokens[2], "one subject, one text, one token");
        assert_ne!(tokens[0], tokens[1], "two subjects, two tokens");
        assert_eq!(tokens.iter().map(Vec::len).collect::<Vec<_>>(), [49, 49, 49, 49, 33 + 256]);
        // What hides the name is another for each token.
        let hidden: HashSet<&[u8]> = tokens.iter().map(|token| &token[1..17]).collect();
        assert_eq!(hidden.len(), 4);
        let made = keys.made.lock().unwrap();
        for ((subject, text), token) in texts.iter().zip(&tokens) {
            let read = SubjectToken::read(Form::Base32, &printed(token)).unwrap();
            assert_eq!((read.key_number, read.subject(&mask())), (2, *subject));
            for ((_, _, name), key) in made.iter() {
                let opened = read.open(key, *subject, "d", 3);
                assert_eq!(opened.is_ok(), *name == subject.0);
                assert!(opened.map_or(true, |opened| opened.as_str() == *text));
            }
        }
    }

    #[test]
    fn open_bad_bit_bad_domain_bad_version_bad_length() {
        let keys = Arc::new(InMemory::default());
        let token = sealer(&keys).seal(&[(id("1"), "ada")]).unwrap().remove(0);
        let key = *keys.made.lock().unwrap().values().next().unwrap();
        let open = |token: &[u8], domain: &str, version| {
            let read = SubjectToken::read(Form::Base32, &printed(token))?;
            read.open(&key, read.subject(&mask()), domain, version).map(|text| text.to_string())
        };
        assert_eq!(open(&token, "d", 3).as_deref(), Ok("ada"));
        assert_eq!(open(&token, "e", 3), Err(OpenFault::Key));
        assert_eq!(open(&token, "d", 4), Err(OpenFault::Key));
        for bit in 0..token.len() * 8 {
            let mut bad = token.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&bad, "d", 3).is_err(), "{bit}");
        }
        for length in 0..token.len() {
            assert_eq!(open(&token[..length], "d", 3), Err(OpenFault::Form), "{length}");
        }
    }

    #[test]
    fn a_shredded_subject_refuses_and_an_absent_store_is_no_cells_fault() {
        let keys = Arc::new(InMemory::default());
        let sealer = sealer(&keys);
        keys.shredded.lock().unwrap().push(id("1"));
        assert!(sealer.seal(&[(id("2"), "ada")]).is_ok());
        let both = [(id("2"), "ada"), (id("1"), "ada")];
        assert_eq!(sealer.seal(&both), Err(TransformFault::Shredded));
        assert_eq!(keys.made.lock().unwrap().len(), 1, "a shredded subject gets no key");
        keys.away.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(sealer.seal(&[(id("2"), "ada")]), Err(TransformFault::KeysAway));
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert_eq!(sealer.seal(&[(id("2"), &long)]), Err(TransformFault::TooLong));
    }
}
