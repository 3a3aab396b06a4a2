//! What a case says aloud: past the runner's capture, so that it is read when the case passes too.

use std::io::Write;

/// A line of progress.
pub fn note(text: impl AsRef<str>) {
    let line = format!("  {}\n", text.as_ref());
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// From now on a panic is said where it happens too: who reads a log that was cut short finds why a case failed.
pub fn panics_aloud() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            note(format!("{panic}"));
            usual(panic);
        }));
    });
}

/// A measured figure, as the documents quote it.
pub fn figure(name: &str, value: impl std::fmt::Display, unit: &str) {
    let line = format!("figure: {name} = {value} {unit}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// A case that this run leaves out. `tests/run` counts these lines.
pub fn skipped(name: &str, why: &str) {
    let line = format!("skipped: {name}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// A count from the environment: how CI does less than a nightly run.
pub fn count(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().map_or(otherwise, |text| {
        text.parse().unwrap_or_else(|_| panic!("{variable} is not a number"))
    })
}

/// The value at the given share of the sorted list (0.95: p95).
pub fn quantile(values: &[u128], share: f64) -> u128 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0)
}
