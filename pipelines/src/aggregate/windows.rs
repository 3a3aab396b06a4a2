//! Windows are counted, and what was published is found by its number: a pipeline whose windows or units
//! became others would charge and publish beside what it has, and could settle neither.

use std::io::ErrorKind;

use douane_ledger::budget::{self, Balance, State, Window};

use super::accounts;
use crate::config::{Aggregate, Pipeline, Place};
use crate::fault::RunFault;

/// Every window that was charged to this pipeline is one that it still has, in the same space.
///
/// # Errors
/// [`RunFault::Window`]; an account that cannot be read.
pub fn stay(place: &Place, pipeline: &Pipeline) -> Result<(), RunFault> {
    let Some(aggregate) = &pipeline.aggregate else { return Ok(()) };
    let home = accounts(place);
    let fault = |error: std::io::Error| {
        let why = error.kind();
        RunFault::File(format!("{}: {why}\n  next: mend the name or its rights", home.display()))
    };
    let folders = match std::fs::read_dir(&home) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        folders => folders.map_err(fault)?,
    };
    for folder in folders {
        let name = folder.map_err(fault)?.file_name();
        // Spaces have plain names.
        let Some(space) = name.to_str() else { continue };
        let account = budget::read(&home, space)?;
        if let Some(what) = differs(&account, aggregate, &pipeline.name) {
            return Err(RunFault::Window(format!(
                "{}: {what} of `{}` became another, and windows under the old one are charged and \
                 published already\n  next: another window or space needs another pipeline `name` and \
                 sink topic; or take the change back",
                pipeline.file.display(),
                pipeline.name
            )));
        }
    }
    Ok(())
}

/// What is another one than the releases of this policy in an account had.
fn differs(account: &Balance, aggregate: &Aggregate, policy: &str) -> Option<&'static str> {
    let own = || account.releases().filter(|release| release.reserve.release.policy == policy);
    // What is void was never outside.
    if own().all(|release| matches!(release.state, State::Void { .. })) {
        return None;
    }
    // They are charged one after the other, from the first one on.
    let first = own().map(|release| release.reserve.release.window).min_by_key(|w| w.start_ms);
    let now = Window { start_ms: aggregate.start_ms(0), end_ms: aggregate.start_ms(1) };
    match () {
        () if account.space() != aggregate.space => Some("the space"),
        () if first != Some(now) => Some("the window"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use douane_ledger::budget::{Account, Caps, Level, Neighbours, Opening, ReleaseId, Reserve};
    use douane_ledger::log::LogKeys;

    use super::*;
    use crate::aggregate::fold::tests::aggregate;

    #[test]
    fn only_windows_and_spaces_that_were_charged_may_not_become_others() {
        let now = aggregate("quarantine");
        let home = tempfile::tempdir().unwrap();
        let keys = LogKeys::new(&[1; 32], &[2; 32]);
        let mut account = Account::open(home.path(), &now.space, keys, None).unwrap();
        let digest = "ab".repeat(32);
        let level = Level::UnitLifetime;
        let caps = Caps { level, rho: 100, delta: 1000, rho_life: None };
        account
            .open_policy(&Opening {
                space: now.space.clone(),
                policy: "p".into(),
                digest: digest.clone(),
                neighbours: Neighbours::AddRemove,
                caps,
            })
            .unwrap();
        let window = Window { start_ms: now.start_ms(0), end_ms: now.start_ms(1) };
        let id = ReleaseId { policy: "p".into(), window, query: "q".into(), revision: 0 };
        let reserve = Reserve {
            release: id.clone(),
            digest,
            spans: Vec::new(),
            inputs: Vec::new(),
            rho: 1,
            delta: 0,
            coordinates: 1,
            noise_key: "0f".repeat(16),
            tables: vec!["ef".repeat(32)],
            software: "douane".into(),
        };
        let said = |account: &Account, aggregate: &Aggregate, policy: &str| {
            differs(account.balance(), aggregate, policy)
        };
        let longer = Aggregate { every_ms: now.every_ms * 7, ..now.clone() };
        assert_eq!(said(&account, &longer, "p"), None, "nothing was charged yet");
        account.reserve(&reserve).unwrap();
        // By a whole window: the same windows have other numbers.
        let later = Aggregate { from_ms: now.start_ms(1), ..now.clone() };
        let others = Aggregate { space: "others".into(), ..now.clone() };
        for (aggregate, what) in [
            (&now, None),
            (&longer, Some("the window")),
            (&later, Some("the window")),
            (&others, Some("the space")),
        ] {
            assert_eq!(said(&account, aggregate, "p"), what);
            assert_eq!(said(&account, aggregate, "another"), None);
        }
        account.void(&id, "gone").unwrap();
        assert_eq!(said(&account, &longer, "p"), None, "it was never outside");
    }
}
