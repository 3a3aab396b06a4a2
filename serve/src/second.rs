//! Calls that two persons have to make, where the place says so: the first one waits, and the same
//! call by another caller is the one that is done. Both stand in the ledger.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use douane_ledger::canonical::sha256_hex;
use serde_json::json;

use crate::call::Call;
use crate::routes::Route;
use crate::tokens::Principal;

/// How long a first call waits.
pub const WAITS: Duration = Duration::from_secs(15 * 60);
/// First calls that wait at one time; of more, the oldest is forgotten.
const WAITING_MAX: usize = 100;

/// What a call of one person is, beside those that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nobody else has made it: it waits, under this digest.
    Waits { call: String },
    /// Somebody else has: it is done.
    Second,
}

struct Waiting {
    by: String,
    /// The digest of the token that it was made with.
    token: String,
    call: String,
    until: Instant,
}

/// Calls that wait for a second person. A restart forgets them.
#[derive(Default)]
pub struct Seconds(Mutex<Vec<Waiting>>);

impl Seconds {
    /// Whose turn a call is: the route with its parameters, its query and its body, to the byte. `may`:
    /// whether who has a token may make it now. A first call whose token may no longer is none.
    pub fn ask(
        &self,
        by: &Principal,
        route: &Route,
        call: &Call,
        now: Instant,
        may: &dyn Fn(&str) -> bool,
    ) -> Turn {
        let body = sha256_hex(&call.body);
        let all = json!([route.method, route.path, call.params, call.query, body]);
        let call = sha256_hex(all.to_string().as_bytes());
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|one| one.until > now && (one.call != call || may(&one.token)));
        if waiting.iter().any(|one| one.call == call && one.by != by.name) {
            waiting.retain(|one| one.call != call);
            return Turn::Second;
        }
        // Who asks twice is still one person, and waits anew.
        waiting.retain(|one| one.call != call);
        if waiting.len() >= WAITING_MAX {
            waiting.remove(0);
        }
        let (by, token) = (by.name.clone(), by.token.clone());
        waiting.push(Waiting { by, token, call: call.clone(), until: now + WAITS });
        Turn::Waits { call }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::routes::ROUTES;

    #[test]
    fn only_another_persons_same_call_in_time_is_a_second() {
        let find = |method: &str, path: &str| {
            ROUTES.iter().find(|r| r.method == method && r.path == path).unwrap()
        };
        let (delete, stop) =
            (find("DELETE", "/connectors/{c}"), find("PUT", "/connectors/{c}/stop"));
        let call = |name: &str, body: &str| Call {
            params: BTreeMap::from([("c".to_owned(), name.to_owned())]),
            query: Vec::new(),
            roles: Vec::new(),
            origin: String::new(),
            if_none_match: None,
            body: body.as_bytes().to_vec(),
        };
        let (seconds, now) = (Seconds::default(), Instant::now());
        let person = |name: &str| Principal {
            name: name.to_owned(),
            roles: Vec::new(),
            token: format!("token of {name}"),
        };
        let is_second = |by, route, call: &Call, at| {
            seconds.ask(&person(by), route, call, at, &|_| true) == Turn::Second
        };
        assert!(!is_second("ada", delete, &call("a", ""), now));
        // The same person, another connector, another body, another route.
        assert!(!is_second("ada", delete, &call("a", ""), now));
        assert!(!is_second("bo", delete, &call("b", ""), now));
        assert!(!is_second("bo", delete, &call("a", "{}"), now));
        assert!(!is_second("bo", stop, &call("a", ""), now));
        assert!(is_second("bo", delete, &call("a", ""), now));
        // It is done once.
        assert!(!is_second("bo", delete, &call("a", ""), now));
        // Too late.
        assert!(!is_second("ada", delete, &call("a", ""), now + WAITS));
        for other in 0..WAITING_MAX {
            is_second("cy", delete, &call(&format!("x{other}"), ""), now + WAITS);
        }
        assert!(!is_second("bo", delete, &call("a", ""), now + WAITS), "forgotten");
    }
}
