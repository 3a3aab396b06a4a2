//! What the demo's second table holds: orders of four weeks that are over, invented from a seed, and
//! what they add up to. One customer buys for a shop: it has far more orders than count of anybody.

use std::collections::BTreeMap;

use super::customers::{Event, Random};

/// Weeks that the orders are of.
pub const WEEKS: usize = 4;
/// Orders that count of one customer in a week, as the pipeline has it (`c`).
const ROWS: u32 = 5;
/// What stands in every order and must not cross.
pub const RAW: &str = "none-of-your-business";
/// Orders of a demo at most.
const ORDERS_MAX: u64 = 50_000;

const DAY_MS: i64 = 86_400_000;
const WEEK_MS: i64 = 7 * DAY_MS;
/// The window's `closes_after` in the pipeline.
const CLOSES_AFTER_MS: i64 = DAY_MS / 4;
/// The countries of the pipeline's list, in its order, and of how many of ten orders.
pub const COUNTRIES: [(&str, u64); 3] = [("AT", 3), ("DE", 5), ("CH", 2)];
/// Where the shop is.
pub const SHOP: &str = COUNTRIES[0].0;
const SHOP_ID: u64 = 7_340_012;
const SHOP_CENTS: i64 = 50_000;

/// Statistics of a country in a week.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub customers: i64,
    pub orders: i64,
    pub spent_cents: i64,
}

impl Sums {
    /// By the names of the pipeline's statistics.
    pub fn named(&self) -> [(&'static str, i64); 3] {
        [("customers", self.customers), ("orders", self.orders), ("spent_cents", self.spent_cents)]
    }
}

/// What all orders of a country in a week add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    pub all: Sums,
    /// Without those beyond what counts of one customer: what the noise is added to.
    pub counted: Sums,
}

/// See the module.
pub struct Orders {
    pub events: Vec<Event>,
    /// The first millisecond of the first week.
    pub from_ms: i64,
    /// By week, then country.
    pub truth: [BTreeMap<&'static str, Truth>; WEEKS],
    /// Orders of the shop, all in the last week.
    pub of_shop: u64,
}

impl Orders {
    /// Half as many as there are change events. `now_ms`: all four weeks are closed by then.
    pub fn new(seed: u64, records: u64, now_ms: i64) -> Self {
        let orders = (records / 2).min(ORDERS_MAX);
        let last_day = (now_ms - CLOSES_AFTER_MS).div_euclid(DAY_MS) * DAY_MS;
        let from_ms = last_day - WEEKS as i64 * WEEK_MS;
        let mut made = Self {
            events: Vec::with_capacity(orders as usize),
            from_ms,
            truth: Default::default(),
            of_shop: (orders / 50).max(2 * u64::from(ROWS)),
        };
        let mut random = Random::new(seed);
        let mut of_customer: BTreeMap<(usize, u64), u32> = BTreeMap::new();
        while (made.events.len() as u64) < orders - made.of_shop {
            let customer = SHOP_ID + 1 + random.below(orders / 2);
            let at_ms = from_ms + random.below(WEEKS as u64 * WEEK_MS as u64) as i64;
            let week = ((at_ms - from_ms) / WEEK_MS) as usize;
            let had = of_customer.entry((week, customer)).or_default();
            // Only the shop has more than count.
            if *had == ROWS {
                continue;
            }
            *had += 1;
            let cents = 500 + random.below(24_500) as i64;
            made.order(customer, country_of(customer), cents, at_ms, now_ms, (*had == 1, true));
        }
        for order in 0..made.of_shop {
            let at_ms = last_day - WEEK_MS + random.below(WEEK_MS as u64) as i64;
            let counts = (order == 0, order < u64::from(ROWS));
            made.order(SHOP_ID, SHOP, SHOP_CENTS, at_ms, now_ms, counts);
        }
        made
    }

    /// `is_first`: of its customer in its week; `counts`: it is none too many.
    fn order(
        &mut self,
        customer: u64,
        country: &'static str,
        cents: i64,
        at_ms: i64,
        now_ms: i64,
        (is_first, counts): (bool, bool),
    ) {
        let id = self.events.len();
        let week = ((at_ms - self.from_ms) / WEEK_MS) as usize;
        let truth = self.truth[week].entry(country).or_default();
        for (sums, counts) in [(&mut truth.all, true), (&mut truth.counted, counts)] {
            sums.customers += i64::from(is_first);
            sums.orders += i64::from(counts);
            sums.spent_cents += if counts { cents } else { 0 };
        }
        // No text of ours needs an escape.
        let value = format!(
            "{{\"before\":null,\"after\":{{\"id\":{id},\"customer_id\":{customer},\
             \"country\":\"{country}\",\"amount_cents\":{cents},\"diagnosis\":\"{RAW}\",\
             \"ordered_at\":{at_ms}}},\"source\":{{\"version\":\"3.7.0.Final\",\
             \"connector\":\"postgresql\",\"name\":\"crm\",\"ts_ms\":{at_ms},\"snapshot\":\"false\",\
             \"db\":\"crm\",\"schema\":\"public\",\"table\":\"orders\"}},\"op\":\"c\",\
             \"ts_ms\":{at_ms}}}"
        );
        self.events.push(Event {
            partition: 0,
            timestamp_ms: now_ms,
            key: format!("{{\"id\":{id}}}").into_bytes(),
            value: Some(value.into_bytes()),
        });
    }

    /// The weeks that are released, each with every country.
    pub fn groups(&self) -> usize {
        WEEKS * COUNTRIES.len()
    }

    /// The first millisecond of a week.
    pub fn start_ms(&self, week: usize) -> i64 {
        self.from_ms + week as i64 * WEEK_MS
    }
}

/// A customer lives in one country.
fn country_of(customer: u64) -> &'static str {
    let mut place = customer.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    place %= 10;
    for (country, of_ten) in COUNTRIES {
        if place < of_ten {
            return country;
        }
        place -= of_ten;
    }
    SHOP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_they_add_up_to_is_what_they_are() {
        let now_ms = 1_795_000_000_000;
        let orders = Orders::new(1, 2_000, now_ms);
        assert_eq!(orders.events.len(), 1_000);
        assert!(orders.start_ms(WEEKS) + CLOSES_AFTER_MS <= now_ms, "all weeks are closed");
        assert!(orders.start_ms(WEEKS) + CLOSES_AFTER_MS > now_ms - DAY_MS);
        let sum = |of: fn(&Truth) -> i64| {
            orders.truth.iter().flat_map(BTreeMap::values).map(of).sum::<i64>()
        };
        assert_eq!(sum(|truth| truth.all.orders), 1_000);
        let too_many = orders.of_shop as i64 - i64::from(ROWS);
        assert_eq!(sum(|truth| truth.counted.orders), 1_000 - too_many);
        let spent = sum(|truth| truth.all.spent_cents - truth.counted.spent_cents);
        assert_eq!(spent, too_many * SHOP_CENTS);
        assert_eq!(sum(|truth| truth.all.customers), sum(|truth| truth.counted.customers));
        assert!(orders.truth.iter().all(|week| week.len() == COUNTRIES.len()));
    }
}
