//! Which program this is, as manifests say it: by its version and by its bytes, so that one of several builds of a
//! version is told, and a build made again (`packaging/build`) is known as the same.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::OnceLock;

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;

/// Where Linux has the file that this process was started from, replaced by another one since or not.
const ITSELF: &str = "/proc/self/exe";

/// Name, version and, of a release build, `sha256:` and the digest of the program's file, as `sha256sum` says it. Files
/// of development builds differ at every build, and are large: they are called that.
pub(crate) fn software() -> &'static str {
    static SOFTWARE: OnceLock<String> = OnceLock::new();
    SOFTWARE.get_or_init(|| {
        let version = concat!("douane ", env!("CARGO_PKG_VERSION"));
        if cfg!(debug_assertions) {
            return format!("{version} (development build)");
        }
        match sha256(Path::new(ITSELF)) {
            Ok(digest) => format!("{version} sha256:{digest}"),
            Err(_) => format!("{version} (unknown build)"),
        }
    })
}

fn sha256(file: &Path) -> io::Result<String> {
    let (mut file, mut context) = (File::open(file)?, Context::new(&SHA256));
    let mut bytes = [0; 64 << 10];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(HEXLOWER.encode(context.finish().as_ref())),
            read => context.update(&bytes[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_digest_that_others_give_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("abc");
        std::fs::write(&file, "abc").unwrap();
        // FIPS 180-4, B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&file).unwrap(), expected);
        std::fs::write(&file, vec![b'a'; 1_000_000]).unwrap();
        // Of NIST's examples, a million times `a`.
        let expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
        assert_eq!(sha256(&file).unwrap(), expected);
        assert!(sha256(&dir.path().join("none")).is_err());
    }

    #[test]
    fn the_program_is_there_to_be_read_and_its_name_is_one_line() {
        assert_eq!(sha256(Path::new(ITSELF)).unwrap().len(), 64);
        let software = software();
        assert!(software.starts_with("douane ") && software.len() < 256 && software.is_ascii());
    }
}
