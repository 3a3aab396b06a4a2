//! What a process does before it holds a key: it leaves no core file, and no other process of its
//! user may look into it.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::KeyFault;

/// Done once; every opening of keys asks for it. Nothing brings the old state back: a process that
/// held keys may still hold copies of what they opened.
///
/// # Errors
/// [`KeyFault::Process`] where the system refuses: then no key is opened.
pub fn harden() -> Result<(), KeyFault> {
    static DONE: OnceLock<bool> = OnceLock::new();
    match DONE.get_or_init(|| no_core() && not_dumpable()) {
        true => Ok(()),
        false => Err(KeyFault::Process),
    }
}

fn no_core() -> bool {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).is_ok()
}

#[cfg(target_os = "linux")]
fn not_dumpable() -> bool {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
}

/// Other systems know no such state: debugging another process needs rights there.
#[cfg(not(target_os = "linux"))]
fn not_dumpable() -> bool {
    true
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn there_is_no_core_file_and_nobody_may_attach() {
        harden().unwrap();
        let core = getrlimit(Resource::Core);
        assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
