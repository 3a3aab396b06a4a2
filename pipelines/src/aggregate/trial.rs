//! A pipeline of statistics tried out in memory, under throw-away keys: what `test` looks at are the
//! sums before noise. Its rows are invented, and stand in a file that everybody reads.

use std::collections::BTreeMap;

use douane_gate::{Approved, Crossing as AtGate, Gate, RefusedBy};
use douane_schemas::batch::{Op, Origin};
use douane_schemas::debezium::{Decoder, Refusal};
use douane_schemas::record::RawRecord;

use super::close;
use super::fold::{Change, Folding};
use super::keys::SpaceKeys;
use super::store::{Read, State, UnitKey};
use super::sums::Bounding;
use crate::config::{Aggregate, Pipeline, Place, SinkFormat};
use crate::crossing::NoSchemas;
use crate::fault::RunFault;
use crate::hold::Reason;
use crate::plan::{Plan, Role};
use crate::trial::{self, Refusing};

/// What some records became.
pub struct Tried {
    /// The windows that anything happened in, or the first one.
    pub windows: Vec<Approved>,
    pub refused: Vec<Refusing>,
    pub held: Option<Reason>,
}

/// Tries records, all of one partition, in order.
pub fn run(
    place: &Place,
    pipeline: &Pipeline,
    plan: &Plan,
    aggregate: &Aggregate,
    sink: SinkFormat,
    records: &[RawRecord<'_>],
) -> Result<Tried, RunFault> {
    // Before noise there is no threshold: every group is looked at.
    let mut plan = plan.clone();
    for column in plan.aggregate.iter_mut().flatten() {
        if let Role::Selected { at_least } = &mut column.role {
            *at_least = 1;
        }
    }
    let plan = &plan;
    let (mut gate, pipeline) = trial::gate(place, pipeline, plan, sink)?;
    let keys = SpaceKeys::throw_away(&aggregate.space)?;
    let bounding = Bounding::new(aggregate, &keys)?;
    let (batch, mut refused, held) = decode(plan.decoder(&pipeline), records);
    let folding = Folding::new(aggregate, keys.unit.clone(), keys.units());
    let state = State::new([0; 32], 0, vec![Read::new(0, 0, 0)]);
    let (changes, aside) = folding.fold(&batch, &state);
    for (row, code) in aside {
        let origin = &batch.origins[row];
        let source = (origin.topic, origin.partition);
        let (offset, by) = (origin.offset, RefusedBy::Stage);
        refused.push(Refusing { by, source, offset, code, column: None });
    }
    refused.sort_by_key(|refusing| refusing.offset);
    let mut by_unit: BTreeMap<UnitKey, Vec<Change>> = BTreeMap::new();
    for change in changes {
        by_unit.entry(change.key).or_default().push(change);
    }
    let mut units: BTreeMap<i64, Vec<Vec<u8>>> = BTreeMap::new();
    for (unit, changes) in by_unit {
        let kept = bounding.apply(&mut bounding.sampler(unit.window), None, &changes)?;
        units.entry(unit.window).or_default().push(kept);
    }
    if units.is_empty() {
        units.insert(0, Vec::new());
    }
    let windows = units
        .into_iter()
        .map(|(window, units)| {
            let sums = bounding.sums_of(units.iter().map(Vec::as_slice))?;
            let plain = bounding.plain(&sums);
            let columns = close::batch(plan, aggregate, window, &plain)?;
            pass(&mut gate, &columns, aggregate.start_ms(window + 1))
        })
        .collect::<Result<Vec<_>, RunFault>>()?;
    Ok(Tried { windows, refused, held })
}

type Decoded = (douane_schemas::batch::Batch, Vec<Refusing>, Option<Reason>);

fn decode(mut decoder: Decoder, records: &[RawRecord<'_>]) -> Decoded {
    let (mut refused, mut held) = (Vec::new(), None);
    for record in records {
        match decoder.push(record, &mut NoSchemas) {
            Ok(()) => {}
            Err(Refusal::Quarantine(code)) => refused.push(Refusing {
                by: RefusedBy::Decoder,
                source: (record.topic, record.partition),
                offset: record.offset,
                code: code.code(),
                column: None,
            }),
            Err(Refusal::Hold(hold)) => {
                held = Some(Reason::from(&hold));
                break;
            }
            // A test's rows fit, and no registry is asked.
            Err(Refusal::Full | Refusal::Away(_)) => break,
        }
    }
    (decoder.finish(), refused, held)
}

fn pass(
    gate: &mut Gate,
    columns: &arrow::record_batch::RecordBatch,
    at_ms: i64,
) -> Result<Approved, RunFault> {
    let none = close::no_columns(columns.num_rows())?;
    let origins: Vec<Origin> = close::origins(columns.num_rows(), at_ms);
    debug_assert!(origins.iter().all(|origin| origin.op == Op::Create));
    let no = vec![false; columns.num_rows()];
    let at_gate = AtGate {
        columns,
        keys: &none,
        before: None,
        raw: &none,
        origins: &origins,
        skip: &no,
        withdrawn: &no,
    };
    let fault = |fault: douane_gate::GateFault| RunFault::Gate(fault.to_string());
    let passed = gate.pass(at_gate, trial::ids(0)).map_err(fault)?;
    let evidence = trial::evidence(gate);
    gate.stamp(passed, evidence).map_err(fault)
}
