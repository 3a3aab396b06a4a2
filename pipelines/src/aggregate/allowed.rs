//! How many windows a release's limit of epsilon lets out: as many as all of them together stay within it,
//! at the delta of the account. A limit is a release's own; the account's caps hold beside it.

use douane_transforms::dp::accountant::{Delta, loss};

use crate::config::Aggregate;
use crate::fault::RunFault;

/// More windows than anybody publishes under one release.
const WINDOWS_MAX: u64 = 1 << 20;

/// What so many windows cost a unit; none where delta does not suffice.
pub fn epsilon(aggregate: &Aggregate, windows: u64) -> Option<f64> {
    let design = &aggregate.design;
    let numbers = u128::from(aggregate.coordinates()) * u128::from(windows);
    let (rho, selected) = (design.rho().times(windows), design.delta().times(windows));
    loss(rho, selected, numbers, Delta::units(aggregate.caps.delta).value())
        .map(|loss| loss.epsilon)
}

/// The most windows within a limit, as a release says it; none: it says nothing.
pub fn windows(aggregate: &Aggregate, limit: Option<&str>) -> Result<Option<u64>, RunFault> {
    let Some(text) = limit else { return Ok(None) };
    let limit: f64 = text.parse().map_err(|_| {
        RunFault::Release(format!("limit of epsilon: `{text}` is no decimal number"))
    })?;
    let fits = |windows: u64| epsilon(aggregate, windows).is_some_and(|cost| cost <= limit);
    // More windows cost more: halve what is not known.
    let (mut fit, mut beyond) = (0, WINDOWS_MAX);
    while beyond - fit > 1 {
        let middle = fit + (beyond - fit) / 2;
        match fits(middle) {
            true => fit = middle,
            false => beyond = middle,
        }
    }
    Ok(Some(fit))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[test]
    fn a_limit_lets_the_most_windows_out_that_stay_within_it() {
        let examples = Path::new("examples");
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("douane.yaml");
        let text = std::fs::read_to_string("testdata/lint/douane.yaml").unwrap();
        std::fs::write(&place, text).unwrap();
        let (_, pipeline) = config::load(&place, &examples.join("orders-weekly.yaml")).unwrap();
        let aggregate = pipeline.aggregate.as_ref().unwrap();
        let of = |limit: &str| windows(aggregate, Some(limit)).unwrap().unwrap();
        for wanted in [1, 2, 7, 52] {
            let exact = epsilon(aggregate, wanted).unwrap();
            assert_eq!(of(&exact.to_string()), wanted);
            assert_eq!(of(&(exact * 0.999_999).to_string()), wanted - 1);
        }
        assert_eq!((of("0"), windows(aggregate, None).unwrap()), (0, None));
        assert!(windows(aggregate, Some("much")).is_err());
    }
}
