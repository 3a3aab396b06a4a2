//! Rego in this process: parsed, asked once, and its answer taken only in the form that was agreed.
//! Everything else, an error, nothing, another type, too much work, a panic, is [`Undecided`].

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

use regorus::utils::limits::{ExecutionTimerConfig, TimeSource, set_time_source};
use regorus::{Engine, Value};
use serde::de::DeserializeOwned;

/// No answer that counts. What comes of it is always no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// Not parsed, or the evaluation failed; where and why in the engine's words, which quote the
    /// policy and never the document.
    #[error("{why}")]
    Failed { line: u32, column: u32, why: String },
    #[error("no rule gives an answer")]
    Undefined,
    #[error("the answer is not of the form that was agreed")]
    Form,
    #[error("it takes more than {STEPS_MAX} steps, or {TIME_S_MAX} seconds")]
    TooMuch,
    #[error("the engine failed; this is a fault of the program")]
    Panic,
}

/// Steps of the engine that one question may take: the same on every machine.
pub const STEPS_MAX: u64 = 20_000_000;
/// And, where a machine is so slow that nobody would wait, so many seconds.
pub const TIME_S_MAX: u64 = 20;

/// Steps between two looks at the limits.
const STEPS_A_LOOK: u32 = 1_000;

thread_local! {
    /// Looks since a question was put, and when it was.
    static ASKED: Cell<(u64, Option<Instant>)> = const { Cell::new((0, None)) };
}

/// What the engine takes for its clock: a second is a look. So its limit of time is one of steps.
struct Looks;

impl TimeSource for Looks {
    fn now(&self) -> Option<Duration> {
        let (looks, since) = ASKED.get();
        ASKED.set((looks + 1, since));
        let late = since.is_some_and(|since| since.elapsed().as_secs() >= TIME_S_MAX);
        Some(if late { Duration::MAX } else { Duration::from_secs(looks) })
    }
}

/// Rego that was parsed.
pub struct Policy(RefCell<Engine>);

impl Policy {
    /// Parses files of one package.
    pub fn parse<'f>(
        package: &str,
        files: impl Iterator<Item = (&'f str, &'f str)>,
    ) -> Result<Self, (String, Undecided)> {
        static CLOCK: Once = Once::new();
        // Refused only where this was done before.
        CLOCK.call_once(|| {
            let _ = set_time_source(&Looks);
        });
        let mut engine = Engine::new();
        engine.set_strict_builtin_errors(true);
        for (name, text) in files {
            let found = guarded(|| engine.add_policy(name.to_owned(), text.to_owned()));
            let found = found.map_err(|fault| (name.to_owned(), fault))?;
            if found != format!("data.{package}") {
                let why = format!("the package is not `{package}`");
                return Err((name.to_owned(), Undecided::Failed { line: 1, column: 1, why }));
            }
        }
        Ok(Self(RefCell::new(engine)))
    }

    /// What a rule says of a document.
    pub fn ask<T: DeserializeOwned>(&self, rule: &str, document: &str) -> Result<T, Undecided> {
        self.ask_within(rule, document, STEPS_MAX)
    }

    fn ask_within<T: DeserializeOwned>(
        &self,
        rule: &str,
        document: &str,
        steps_max: u64,
    ) -> Result<T, Undecided> {
        let mut engine = self.0.try_borrow_mut().map_err(|_| Undecided::Panic)?;
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit: Duration::from_secs(steps_max / u64::from(STEPS_A_LOOK)),
            check_interval: NonZeroU32::new(STEPS_A_LOOK).unwrap_or(NonZeroU32::MIN),
        });
        engine.set_input(guarded(|| Value::from_json_str(document))?);
        ASKED.set((0, Some(Instant::now())));
        let value = guarded(|| engine.eval_rule(rule.to_owned()))?;
        if value == Value::Undefined {
            return Err(Undecided::Undefined);
        }
        let text = guarded(|| value.to_json_str())?;
        serde_json::from_str(&text).map_err(|_| Undecided::Form)
    }
}

fn guarded<T, E: ToString>(ask: impl FnOnce() -> Result<T, E>) -> Result<T, Undecided> {
    match catch_unwind(AssertUnwindSafe(ask)) {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(fault)) => Err(of(&fault.to_string())),
        Err(_) => Err(Undecided::Panic),
    }
}

/// The engine's error, by its own marks: `--> file:line:column` and `error: …`.
fn of(text: &str) -> Undecided {
    if text.contains("execution exceeded time limit") {
        return Undecided::TooMuch;
    }
    let place = text.lines().find_map(|line| line.trim_start().strip_prefix("--> "));
    let mut numbers = place.into_iter().flat_map(|place| place.rsplit(':').take(2));
    let mut number = || numbers.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let (column, line) = (number(), number());
    let why = text.lines().find_map(|line| line.strip_prefix("error: "));
    let why = why.unwrap_or("the evaluation failed").trim().to_owned();
    Undecided::Failed { line, column, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::parse("p", [("p.rego", text)].into_iter()).map_err(|(_, fault)| fault).unwrap()
    }

    fn ask(text: &str, document: &str) -> Result<bool, Undecided> {
        policy(text).ask("data.p.answer", document)
    }

    #[test]
    fn only_a_plain_answer_is_one() {
        assert_eq!(ask("package p\nanswer := input.a", r#"{"a": true}"#), Ok(true));
        assert_eq!(ask("package p\nanswer := input.a", r#"{"a": false}"#), Ok(false));
        assert_eq!(ask("package p\nanswer := input.a", "{}"), Err(Undecided::Undefined));
        assert_eq!(ask("package p\nanswer := input.a", r#"{"a": 1}"#), Err(Undecided::Form));
        assert_eq!(ask("package p\nanswer := input.a", r#"{"a": null}"#), Err(Undecided::Form));
        for (text, document) in [
            // Two values of one rule.
            ("package p\nanswer := true if input.a\nanswer := false if input.a", r#"{"a": true}"#),
            // A built-in refuses its argument.
            ("package p\nanswer := true if count(input.a) == 0", r#"{"a": 7}"#),
            ("package p\nanswer := true if to_number(input.a) == 1", r#"{"a": "x"}"#),
            // Not compiled in.
            ("package p\nanswer := time.now_ns() > 0", "{}"),
            ("package p\nanswer := http.send({}) == 1", "{}"),
            // No document.
            ("package p\nanswer := true", "{"),
            // No such rule.
            ("package p\nother := true", "{}"),
        ] {
            let found = ask(text, document);
            assert!(found.is_err(), "{text}: {found:?}");
        }
    }

    #[test]
    fn work_has_a_bound() {
        let text = "package p\nanswer := count([1 | some a in input.n; some b in input.n; \
                    some c in input.n; some d in input.n; a + b + c + d == 0]) == 0";
        let document = format!("{{\"n\": {:?}}}", (1..=40).collect::<Vec<_>>());
        let found = policy(text).ask_within::<bool>("data.p.answer", &document, 100_000);
        assert_eq!(found, Err(Undecided::TooMuch));
        // Control: a bound that it stays within.
        let short = r#"{"n": [1, 2]}"#;
        assert_eq!(policy(text).ask_within::<bool>("data.p.answer", short, 100_000), Ok(true));
    }

    #[test]
    fn a_file_that_is_none_is_told_with_its_line() {
        let parse = |text: &str| Policy::parse("p", [("x.rego", text)].into_iter()).err();
        let (name, fault) = parse("package p\n\nanswer := := 1").unwrap();
        assert_eq!(name, "x.rego");
        assert!(matches!(fault, Undecided::Failed { line: 3, .. }), "{fault:?}");
        assert!(matches!(parse("package q\nanswer := 1"), Some((_, Undecided::Failed { .. }))));
        assert!(parse("package p\nanswer := 1").is_none());
    }
}
