//! Step 8: a second pipeline, of statistics: what it released beside what is true, and what that
//! cost.

use std::collections::BTreeMap;
use std::time::SystemTime;

use douane_broker::Broker;
use douane_connectors::kafka::Admin;
use douane_ledger::verify::Expect;
use douane_pipelines::audit;
use douane_pipelines::doctor::Line;
use douane_pipelines::explain;
use douane_pipelines::fault::RunFault;
use douane_pipelines::key_home::PublicKeys;
use douane_pipelines::proof::Privacy;
use rdkafka::message::Message;
use serde_json::Value;

use super::checks::{self, Released};
use super::orders::{COUNTRIES, Orders, RAW, SHOP, Sums, WEEKS};
use super::place::Place;
use super::screen::{Screen, thousands};
use super::stream::Stream;
use super::{Demo, DemoFault, SEED, clients, show_signed};
use crate::verb;

impl Demo<'_> {
    /// Runs the shipped pipeline over weeks that are over. What is missing, and what was seen.
    pub(super) fn statistics(
        &self,
        screen: &mut Screen,
        place: &Place,
        sovereign: &Broker,
        global: &Broker,
    ) -> Result<(checks::Missing, String), DemoFault> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut orders = Orders::new(SEED, self.records, now.as_millis() as i64);
        let place = place.with_statistics(&rfc3339(orders.from_ms)?)?;
        let (files, pipeline, names) = place.names()?;
        let topic = &pipeline.source.topics[0];
        Admin::open(&files.sovereign)
            // Longer than a window is open, or `doctor` would say so.
            .and_then(|admin| admin.create_topic(topic, 1, 1, &[("retention.ms", "-1")]))
            .map_err(|fault| DemoFault::Outside(fault.to_string()))?;
        let events = std::mem::take(&mut orders.events);
        let all = events.len() as u64;
        clients::write(
            &sovereign.bootstrap(),
            topic,
            events.into_iter(),
            self.interrupt,
            &mut |written| screen.progress(written, all, "orders written"),
        )?;
        screen.seen(&format!("{} orders of {WEEKS} weeks in {topic}", thousands(all)));
        let wrong: Vec<String> =
            place.examine()?.iter().filter(|line| !line.is_well()).map(Line::to_string).collect();
        if !wrong.is_empty() {
            return Err(DemoFault::Outside(wrong.join("\n")));
        }
        let proof = explain::proof(&place.yaml, &place.pipeline)?;
        let privacy = proof.privacy.ok_or_else(|| {
            DemoFault::Outside("the pipeline of statistics promises nothing".to_owned())
        })?;
        show_signed(screen, &place.release()?);
        let due = orders.groups() as u64;
        let mut stream = Stream::start(&place.yaml, &place.pipeline);
        stream.until("the weeks are closed", self.interrupt, &mut |heard| {
            screen.progress(heard.crossed, due, "statistics crossed");
            heard.crossed >= due
        })?;
        stream.stop()?;
        let mut released = Released::default();
        let bootstrap = global.bootstrap();
        let mut read = |message: &rdkafka::message::BorrowedMessage<'_>| {
            let text = message.payload().map(String::from_utf8_lossy).unwrap_or_default();
            released.raw += u64::from(text.contains(RAW) || text.contains("customer_id"));
            released.records += 1;
            let row = serde_json::from_str(&text).unwrap_or_default();
            if let Some((group, sums)) = group_of(&row, &orders) {
                released.sums.insert(group, sums);
            }
        };
        clients::read_committed(&bootstrap, &names.data, self.interrupt, &mut read)?;
        let keys =
            PublicKeys::open(&files.keys.dir).map_err(|fault| RunFault::Keys(fault.to_string()))?;
        let reports = verb::verify::check(&files.ledger_dir, &Expect::default(), keys.as_ref())?;
        released.findings = reports.iter().map(|report| report.findings.len()).sum();
        let accounts = audit::budget(&place.yaml)?;
        released.charged = accounts.iter().map(|account| account.committed).sum();
        released.spent = accounts.iter().map(|account| account.spent.rho).sum();
        show_week(screen, &orders, &released, &privacy);
        screen.gap();
        screen.say(&format!("douane audit budget\n{}", audit::text(&accounts)));
        screen.gap();
        let seen = format!(
            "{} records outside in the place of {} orders; every number is where its noise puts it",
            released.records,
            thousands(all)
        );
        let rho = privacy.rho.parse().unwrap_or(0.0);
        let sigma = |column: &str| noise_of(&privacy, column).map_or(0.0, |(sigma, _)| sigma);
        Ok((checks::released(&released, &orders, rho, &sigma), seen))
    }
}

/// The week and country of a record outside, and its numbers.
fn group_of(row: &Value, orders: &Orders) -> Option<((usize, &'static str), Sums)> {
    let start: jiff::civil::DateTime = row["window_start"].as_str()?.parse().ok()?;
    let start_ms = start.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond();
    let week = (0..WEEKS).find(|week| orders.start_ms(*week) == start_ms)?;
    let country = COUNTRIES.iter().find(|(country, _)| row["country"] == *country)?.0;
    let number = |name: &str| row[name].as_i64();
    let sums = Sums {
        customers: number("customers")?,
        orders: number("orders")?,
        spent_cents: number("spent_cents")?,
    };
    Some(((week, country), sums))
}

fn rfc3339(ms: i64) -> Result<String, DemoFault> {
    let at = jiff::Timestamp::from_millisecond(ms);
    at.map(|at| at.to_string()).map_err(|_| DemoFault::Outside("this machine's clock".to_owned()))
}

/// The last week, number by number.
fn show_week(screen: &mut Screen, orders: &Orders, released: &Released, privacy: &Privacy) {
    let week = WEEKS - 1;
    let signed = |number: i64| match number < 0 {
        true => format!("-{}", thousands(number.unsigned_abs())),
        false => thousands(number.unsigned_abs()),
    };
    screen.gap();
    let from = rfc3339(orders.start_ms(week)).unwrap_or_default();
    screen.say(&format!(
        "{:<26} {:>14} {:>14} {:>14} {:>11}   95 of 100 are\n{:<26} {:>14} {:>14} {:>14} {:>11}   off \
         by at most",
        format!("week of {}", from.get(..10).unwrap_or_default()),
        "true",
        "counted",
        "released",
        "off by",
        "",
        "(stays here)",
        "(stays here)",
        "(outside)",
        ""
    ));
    for (country, _) in COUNTRIES {
        let truth = orders.truth[week].get(country).copied().unwrap_or_default();
        let sums = released.sums.get(&(week, country)).copied().unwrap_or_default();
        let all = truth.all.named().into_iter().zip(truth.counted.named());
        for (((name, all), (_, counted)), (_, released)) in all.zip(sums.named()) {
            let most = noise_of(privacy, name).map_or(0.0, |(_, most)| most);
            screen.say(&format!(
                "{country:<4} {name:<21} {:>14} {:>14} {:>14} {:>11}   {:>14}",
                signed(all),
                signed(counted),
                signed(released),
                signed(released - counted),
                signed(most.round() as i64)
            ));
        }
    }
    screen.say(&format!(
        "one customer in {SHOP}, a shop, ordered {} times that week: {} orders count of anybody",
        thousands(orders.of_shop),
        privacy.c
    ));
}

/// Sigma of a column, and what 95 of 100 of its numbers are off by at most.
fn noise_of(privacy: &Privacy, column: &str) -> Option<(f64, f64)> {
    let has = |noise: &&douane_pipelines::proof::Noise| noise.columns.iter().any(|c| c == column);
    privacy.statistics.iter().find(has).map(|noise| (noise.sigma, noise.error_95))
}

/// By week and country.
pub(super) type ByGroup = BTreeMap<(usize, &'static str), Sums>;
