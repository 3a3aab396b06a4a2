//! Of an account, what can be told from its entries alone, without the releases that they are of: each
//! charge is of a policy that is open, there is one of each release, and all of them together are within
//! what each policy allows for life. What a period allows is the account's own reading.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::frames::number;

/// A policy in force.
struct Open {
    digest: String,
    /// Units of rho that all charges together may come to, where it says so.
    rho_life: Option<u64>,
}

/// Follows OPEN and RESERVE.
#[derive(Default)]
pub(super) struct Account {
    open: HashMap<String, Open>,
    releases: HashSet<String>,
    /// 2^64 charges of 2^64 units do not fill it.
    rho: u128,
}

impl Account {
    pub(super) fn open(&mut self, body: Option<&Value>) -> Result<(), &'static str> {
        let read = || {
            let body = body?;
            let caps = body.get("caps")?;
            let stated = |name: &str| caps.get(name).and_then(number);
            let rho_life = match caps.get("level")?.as_str() {
                // What it allows at all it allows for life.
                Some("unit_lifetime") => stated("rho_life").into_iter().chain(stated("rho")).min(),
                _ => stated("rho_life"),
            };
            let is_stated = caps.get("rho_life").is_none_or(Value::is_null);
            if !is_stated && stated("rho_life").is_none() {
                return None;
            }
            let text = |name: &str| Some(body.get(name)?.as_str()?.to_owned());
            Some((text("policy")?, Open { digest: text("digest")?, rho_life }))
        };
        let (policy, open) = read().ok_or("its policy cannot be read")?;
        self.open.insert(policy, open);
        Ok(())
    }

    pub(super) fn reserve(&mut self, body: Option<&Value>) -> Result<(), &'static str> {
        let read = || {
            let body = body?;
            let release = body.get("release")?;
            let policy = release.get("policy")?.as_str()?;
            let (digest, rho) = (body.get("digest")?.as_str()?, number(body.get("rho")?)?);
            // Canonical: one release has one text.
            Some((release.to_string(), policy.to_owned(), digest.to_owned(), rho))
        };
        let (release, policy, digest, rho) = read().ok_or("its charge cannot be read")?;
        if !self.releases.insert(release) {
            return Err("its release was charged before");
        }
        self.rho += u128::from(rho);
        if self.open.get(&policy).is_none_or(|open| open.digest != digest) {
            return Err("it charges for a policy that is not open");
        }
        let passes = |open: &Open| open.rho_life.is_some_and(|life| self.rho > u128::from(life));
        match () {
            () if rho == 0 => Err("it charges nothing"),
            () if self.open.values().any(passes) => {
                Err("with it more is charged than a policy allows for life")
            }
            () => Ok(()),
        }
    }
}
