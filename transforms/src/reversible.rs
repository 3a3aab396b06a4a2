//! Reversible tokens: AES-SIV (RFC 5297) of the canonical text, padded so that a token shows the
//! bucket of its length and no more. Whoever holds the domain's key opens them again.
//!
//! token = number of the key (one byte, from 1), then AES-SIV under the key's pair, with associated
//! data tuple(domain name, version, number of the key), of text | 0x80 | zeros up to the bucket.

use douane_schemas::keys::Key;
use douane_schemas::tuple::Tuple;
use zeroize::Zeroizing;

use crate::cmac::{BLOCK, Batch};
use crate::fault::{StageFault, TransformFault};
use crate::forms::Form;
use crate::siv::{Header, IV_BYTES, Siv};

/// Most bytes of one text.
pub const TEXT_BYTES_MAX: usize = (64 << 10) - 1;

/// Seals the texts of one domain under one key.
pub struct Sealer {
    siv: Siv,
    header: Header,
    key_number: u8,
    bucket_least: usize,
}

/// A token cannot be opened. It says nothing of what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenFault {
    /// Other characters, another length.
    #[error("not a reversible token in this form")]
    Form,
    /// By another domain, version or key; or its characters were changed.
    #[error("the token was not made under this key, domain and version")]
    Key,
}

impl Sealer {
    /// `number` is the key's: its version in the keyring.
    ///
    /// # Errors
    /// [`StageFault::KeyNumber`] beyond 255 keys of one domain.
    pub fn new(
        key: &Key,
        number: u32,
        domain: &str,
        version: u32,
        bucket_least: u32,
    ) -> Result<Self, StageFault> {
        let key_number = key_byte(domain, number)?;
        let siv = Siv::new(&key.pair());
        let header = header(&siv, key_number, domain, version);
        Ok(Self { siv, header, key_number, bucket_least: bucket_least as usize })
    }

    /// Adds a text to a batch of this sealer's.
    ///
    /// # Errors
    /// [`TransformFault::TooLong`] above [`TEXT_BYTES_MAX`].
    pub fn push(&self, text: &str, batch: &mut Batch) -> Result<(), TransformFault> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(TransformFault::TooLong);
        }
        let bucket = (text.len() + 1).max(self.bucket_least).next_power_of_two();
        let at = batch.add(1 + bucket / BLOCK, false);
        let bytes = batch.blocks[at + 1..].as_flattened_mut();
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        bytes[text.len()] = 0x80;
        Ok(())
    }

    /// Gives the bytes of all tokens, in the order in which the texts were added, and empties the
    /// batch.
    pub fn finish(&self, batch: &mut Batch, mut each: impl FnMut(&[u8])) {
        self.siv.seal_all(&self.header, batch);
        batch.lanes.sort_unstable_by_key(|lane| lane.number);
        let mut token = Vec::new();
        for lane in &batch.lanes {
            token.clear();
            token.push(self.key_number);
            token.extend_from_slice(batch.blocks[lane.at..][..lane.blocks].as_flattened());
            each(&token);
        }
        batch.clear();
    }
}

/// The byte that names a key in its tokens.
pub(crate) fn key_byte(domain: &str, number: u32) -> Result<u8, StageFault> {
    u8::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| StageFault::KeyNumber { domain: domain.to_owned(), number })
}

/// The number of the key that a token was made under.
///
/// # Errors
/// [`OpenFault::Form`].
pub fn key_number(form: Form, token: &str) -> Result<u32, OpenFault> {
    let bytes = form.read_bytes(token).ok_or(OpenFault::Form)?;
    let (number, sealed) = bytes.split_first().ok_or(OpenFault::Form)?;
    let padded = sealed.len().checked_sub(IV_BYTES).ok_or(OpenFault::Form)?;
    let shaped = *number > 0 && padded >= BLOCK && padded.is_power_of_two();
    let holds = shaped && padded <= TEXT_BYTES_MAX + 1;
    holds.then_some(u32::from(*number)).ok_or(OpenFault::Form)
}

/// The canonical text behind a token, as the domain normalised it. `key` is the one that
/// [`key_number`] names.
///
/// # Errors
/// [`OpenFault`].
pub fn open(
    key: &Key,
    domain: &str,
    version: u32,
    form: Form,
    token: &str,
) -> Result<Zeroizing<String>, OpenFault> {
    key_number(form, token)?;
    let bytes = form.read_bytes(token).ok_or(OpenFault::Form)?;
    let (number, sealed) = bytes.split_first().ok_or(OpenFault::Form)?;
    let siv = Siv::new(&key.pair());
    let header = header(&siv, *number, domain, version);
    unpadded(&siv.open(&header, sealed).ok_or(OpenFault::Key)?)
}

/// The text before 0x80 and zeros.
pub(crate) fn unpadded(plain: &[u8]) -> Result<Zeroizing<String>, OpenFault> {
    let end = plain.iter().rposition(|byte| *byte != 0).filter(|end| plain[*end] == 0x80);
    let text = std::str::from_utf8(&plain[..end.ok_or(OpenFault::Key)?]);
    text.map(|text| Zeroizing::new(text.to_owned())).map_err(|_| OpenFault::Key)
}

fn header(siv: &Siv, key_number: u8, domain: &str, version: u32) -> Header {
    let tuple = Tuple::new().text(domain).number(u64::from(version));
    siv.header(&[&tuple.number(u64::from(key_number)).finish()])
}

#[cfg(test)]
mod tests {
    use douane_schemas::keys::{Purpose, RootKey};

    use super::*;

    fn key(root: u8) -> Key {
        RootKey::new([root; 32]).derive(Purpose::TokenSiv, "customer")
    }

    fn seal(sealer: &Sealer, form: Form, text: &str) -> Result<String, TransformFault> {
        let (mut batch, mut out) = (Batch::default(), String::new());
        sealer.push(text, &mut batch)?;
        sealer.finish(&mut batch, |token| form.print_bytes(token, &mut out));
        Ok(out)
    }

    #[test]
    fn tokens_open_again_and_show_the_bucket_alone() {
        let long = "x".repeat(TEXT_BYTES_MAX);
        let nul = "\0\0";
        for (least, text, bucket) in [
            (16, "", 16),
            (16, "ada", 16),
            (16, "fifteen letters", 16),
            (16, "sixteen letters!", 32),
            (16, nul, 16),
            (16, "jürgen@example.de äöü äöü äöü äöü äöü", 64),
            (64, "ada", 64),
            (4096, "ada", 4096),
            (16, &long, 65_536),
        ] {
            let sealer = Sealer::new(&key(7), 3, "customer", 2, least).unwrap();
            for form in [Form::Base32, Form::Base64url] {
                let token = seal(&sealer, form, text).unwrap();
                assert_eq!(form.read_bytes(&token).unwrap().len(), 17 + bucket);
                assert_eq!(key_number(form, &token), Ok(3));
                let opened = open(&key(7), "customer", 2, form, &token).unwrap();
                assert!(opened.as_str() == text, "{least} {bucket}");
                assert_eq!(seal(&sealer, form, text).unwrap(), token);
            }
        }
    }

    #[test]
    fn seal_bad_length_bad_key_number() {
        let sealer = Sealer::new(&key(7), 1, "customer", 1, 16).unwrap();
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert_eq!(seal(&sealer, Form::Base32, &long), Err(TransformFault::TooLong));
        for number in [0, 256] {
            let sealer = Sealer::new(&key(7), number, "customer", 1, 16);
            assert!(matches!(sealer, Err(StageFault::KeyNumber { .. })), "{number}");
        }
        assert!(Sealer::new(&key(7), 255, "customer", 1, 16).is_ok());
    }

    #[test]
    fn open_bad_key_bad_domain_bad_version_bad_number_bad_form() {
        let sealer = Sealer::new(&key(7), 1, "customer", 1, 16).unwrap();
        let token = seal(&sealer, Form::Base32, "ada").unwrap();
        let opened = |root, domain: &str, version, token: &str| {
            open(&key(root), domain, version, Form::Base32, token).map(|_| ())
        };
        assert_eq!(opened(7, "customer", 1, &token), Ok(()));
        assert_eq!(opened(8, "customer", 1, &token), Err(OpenFault::Key));
        assert_eq!(opened(7, "phone", 1, &token), Err(OpenFault::Key));
        assert_eq!(opened(7, "customer", 2, &token), Err(OpenFault::Key));
        // Another key's number in front of it does not open it under this one.
        let bytes = Form::Base32.read_bytes(&token).unwrap();
        let printed = |bytes: &[u8]| {
            let mut out = String::new();
            Form::Base32.print_bytes(bytes, &mut out);
            out
        };
        let renumbered = printed(&[&[2], &bytes[1..]].concat());
        assert_eq!(opened(7, "customer", 1, &renumbered), Err(OpenFault::Key));
        for bad in [
            String::new(),
            token.to_uppercase(),
            token[..20].to_owned(),
            printed(&[&[0], &bytes[1..]].concat()),
            printed(&bytes[..17]),
            printed(&bytes[..bytes.len() - 1]),
            printed(&[&bytes[..], &[0; 32]].concat()),
        ] {
            assert_eq!(opened(7, "customer", 1, &bad), Err(OpenFault::Form));
        }
    }
}
