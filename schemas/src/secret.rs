//! 32 secret bytes that stay where they are: in a page of their own, kept out of swap where the
//! system allows it, wiped when the last holder lets go. A clone is another holder of the same
//! page, so a secret that is moved or shared leaves no copy behind.

use std::sync::Arc;

use zeroize::Zeroize;

/// Bytes of a secret.
pub const SECRET_BYTES: usize = 32;
/// The smallest page of the systems that douane runs on; a larger one is locked as a whole.
const PAGE: usize = 4096;

/// A page apart: unlocking it never unlocks another secret.
#[repr(align(4096))]
struct Page([u8; PAGE]);

/// The lock goes before the page does.
struct Held {
    lock: Option<region::LockGuard>,
    page: Box<Page>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.page.0[..SECRET_BYTES].zeroize();
        self.lock = None;
    }
}

/// See the module. No `Debug`.
#[derive(Clone)]
pub struct Secret(Arc<Held>);

impl Secret {
    /// Lets `fill` write the bytes where they will stay.
    ///
    /// # Errors
    /// Those of `fill`; what it had written is wiped.
    pub fn fill<E>(fill: impl FnOnce(&mut [u8; SECRET_BYTES]) -> Result<(), E>) -> Result<Self, E> {
        let page = Box::new(Page([0; PAGE]));
        let lock = region::lock(page.0.as_ptr(), PAGE).ok();
        let mut held = Held { lock, page };
        // unwrap safety: the first 32 bytes of a page are 32 bytes.
        #[expect(clippy::expect_used, reason = "the first 32 bytes of a page are 32 bytes")]
        let bytes = held.page.0.first_chunk_mut().expect("a page is larger than a secret");
        fill(bytes)?;
        Ok(Self(Arc::new(held)))
    }

    /// The bytes: for a cipher, never for a message.
    pub fn bytes(&self) -> &[u8; SECRET_BYTES] {
        // unwrap safety: as in `fill`.
        #[expect(clippy::expect_used, reason = "the first 32 bytes of a page are 32 bytes")]
        self.0.page.0.first_chunk().expect("a page is larger than a secret")
    }

    /// Whether the system keeps the page out of swap. It refuses where the process may lock no
    /// more memory (`ulimit -l`).
    pub fn is_locked(&self) -> bool {
        self.0.lock.is_some()
    }
}

/// Bytes of the stack below the caller that [`wipe_stack`] overwrites.
const WIPED: usize = 64 << 10;

/// Overwrites what calls that have returned left on the stack: a cipher that was made and then moved
/// to where it stays leaves its first place behind. For the caller of whoever makes ciphers.
#[inline(never)]
pub fn wipe_stack() {
    let mut below = [0_u8; WIPED];
    below.zeroize();
    std::hint::black_box(&below);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_is_the_same_page_and_a_failed_fill_is_none() {
        let secret = Secret::fill(|bytes| {
            bytes.fill(7);
            Ok::<(), ()>(())
        })
        .unwrap();
        let clone = secret.clone();
        assert_eq!(clone.bytes().as_ptr(), secret.bytes().as_ptr());
        drop(secret);
        assert_eq!(clone.bytes(), &[7; 32]);
        assert!(Secret::fill(|_| Err(3)).is_err_and(|fault| fault == 3));
    }

    #[test]
    fn each_secret_has_a_page_of_its_own() {
        let one = Secret::fill(|_| Ok::<(), ()>(())).unwrap();
        let two = Secret::fill(|_| Ok::<(), ()>(())).unwrap();
        let page = |secret: &Secret| secret.bytes().as_ptr() as usize;
        assert_eq!(page(&one) % PAGE, 0);
        assert_ne!(page(&one), page(&two));
    }
}
