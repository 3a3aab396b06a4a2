//! Faults on purpose: the controls of the delivery tests, which show that each guard is needed.
//! They exist in builds with debug assertions only; a release build has no such switch.

#[cfg(debug_assertions)]
fn is(name: &str) -> bool {
    std::env::var("DOUANE_TEST_CONTROL").is_ok_and(|all| all.split(',').any(|one| one == name))
}

#[cfg(not(debug_assertions))]
fn is(_: &str) -> bool {
    false
}

/// Read the position before fencing: the previous holder may still commit after it was read.
pub fn position_before_fence() -> bool {
    is("position-before-fence")
}

/// Trust the answer to a commit although the link broke on the way.
pub fn no_link_guard() -> bool {
    is("no-link-guard")
}

/// Lose the GPU that noise is drawn on, in the middle of the first batch of each window.
pub fn lose_device() -> bool {
    is("lose-device")
}

/// Make again with whatever files there are: what a replay is worth without the fingerprint, by the
/// digests alone.
pub fn replay_any_plan() -> bool {
    is("replay-any-plan")
}

/// Hear of no revocation while running: what the stream does without a look before each transaction.
pub fn deaf_to_revocations() -> bool {
    is("deaf-to-revocations")
}

/// Die here, as a crash would: the tests of what is true after each step ask for it by its name.
pub fn die_at(step: &str) {
    if is(&format!("die-at-{step}")) {
        std::process::abort();
    }
}

/// A member of a group hears nobody for as long as the file lies there that `DOUANE_TEST_WAIT` names: what its client
/// does of itself too seldom to be waited for.
pub fn deaf_member() -> bool {
    is("deaf-member")
        && std::env::var_os("DOUANE_TEST_WAIT")
            .is_some_and(|gate| std::path::Path::new(&gate).exists())
}

/// Wait here for as long as the file lies there that `DOUANE_TEST_WAIT` names: the tests do between two steps what is
/// otherwise a matter of luck. Beside it lies another one then (`.waits`), which says that somebody does.
pub fn wait_at(step: &str) {
    if is(&format!("wait-at-{step}")) {
        let Some(gate) = std::env::var_os("DOUANE_TEST_WAIT") else { return };
        let gate = std::path::Path::new(&gate);
        while gate.exists() {
            let _ = std::fs::write(gate.with_extension("waits"), "");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
