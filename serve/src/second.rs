//! Calls that two persons have to make, where the place says so: the first one waits, and the same
//! call by another caller is the one that is done. Both stand in the ledger.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use douane_ledger::canonical::sha256_hex;
use serde_json::json;

use crate::call::Call;
use crate::routes::Route;

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
    call: String,
    until: Instant,
}

/// Calls that wait for a second person. A restart forgets them.
#[derive(Default)]
pub struct Seconds(Mutex<Vec<Waiting>>);

impl Seconds {
    /// Whose turn a call is: the route with its parameters, its query and its body, to the byte.
    pub fn ask(&self, by: &str, route: &Route, call: &Call, now: Instant) -> Turn {
        let body = sha256_hex(&call.body);
        let all = json!([route.method, route.path, call.params, call.query, body]);
        let call = sha256_hex(all.to_string().as_bytes());
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|one| one.until > now);
        if waiting.iter().any(|one| one.call == call && one.by != by) {
            waiting.retain(|one| one.call != call);
            return Turn::Second;
        }
        // Who asks twice is still one person, and waits anew.
        waiting.retain(|one| one.call != call);
        if waiting.len() >= WAITING_MAX {
            waiting.remove(0);
        }
        waiting.push(Waiting { by: by.to_owned(), call: call.clone(), until: now + WAITS });
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
            origin: String::new(),
            if_none_match: None,
            body: body.as_bytes().to_vec(),
        };
        let (seconds, now) = (Seconds::default(), Instant::now());
        let is_second =
            |by, route, call: &Call, at| seconds.ask(by, route, call, at) == Turn::Second;
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
            seconds.ask("cy", delete, &call(&format!("x{other}"), ""), now + WAITS);
        }
        assert!(!is_second("bo", delete, &call("a", ""), now + WAITS), "forgotten");
    }
}
