//! What a turn refuses goes into the quarantine, sealed for the topic that is there: a person may make it
//! anew under a running pipeline (`doctor --create --quarantine-anew`), and what is sealed for the one
//! before opens nowhere.

use douane_connectors::edge::{Admin, EdgeFault, Quarantine};
use douane_gate::Gate;

use crate::crossing::Crossing;
use crate::fault::RunFault;
use crate::topics;
use crate::turn::Turn;

/// The quarantine topic, as it was seen.
pub struct QuarantineTopic {
    pub id: String,
    /// Largest record that it takes.
    pub bytes_max: usize,
}

/// One life's way into the quarantine.
pub struct Aside {
    writer: Box<dyn Quarantine>,
    topic: QuarantineTopic,
}

impl Aside {
    /// To the topic that the start found; reaches nothing yet.
    pub fn open(crossing: &Crossing) -> Result<Self, RunFault> {
        let QuarantineTopic { id, bytes_max } = &crossing.quarantine;
        let topic = QuarantineTopic { id: id.clone(), bytes_max: *bytes_max };
        Ok(Self { writer: crossing.quarantine_writer(topic.bytes_max)?, topic })
    }

    /// Seals what the turn refuses and sends it; says how many, once all are acknowledged.
    pub fn take(
        &mut self,
        crossing: &Crossing,
        (admin, gate): (&dyn Admin, &Gate),
        shard: u32,
        turn: &Turn,
    ) -> Result<usize, RunFault> {
        if turn.refused().is_empty() {
            return Ok(0);
        }
        crossing.may_set_aside()?;
        self.look(crossing, admin)?;
        let topic = &self.topic;
        let sealed = turn
            .seal_refused(|refused, record| {
                crossing.seal_quarantine(gate, topic, shard, refused, record)
            })
            .into_iter()
            .collect::<Result<Vec<_>, RunFault>>()?;
        self.writer.send(&sealed, &crossing.names.quarantine).map_err(|fault| {
            match fault.stays() {
                true => RunFault::Edge(fault.to_string()),
                false => RunFault::Again(format!("quarantine topic: {fault}")),
            }
        })?;
        // While the topic took its time it may have been made anew, or the key destroyed: then the position
        // stays, and the next life sets the records aside again.
        if id(crossing, admin)? != self.topic.id {
            return Err(RunFault::Again("quarantine topic: it was made anew".to_owned()));
        }
        crossing.may_set_aside()?;
        Ok(sealed.len())
    }

    /// Takes the topic of this moment for the one that is sealed for.
    fn look(&mut self, crossing: &Crossing, admin: &dyn Admin) -> Result<(), RunFault> {
        let id = id(crossing, admin)?;
        if id != self.topic.id {
            let config = admin.topic_config(&crossing.names.quarantine).map_err(away)?;
            let bytes_max = config.max_message_bytes;
            self.writer = crossing.quarantine_writer(bytes_max)?;
            self.topic = QuarantineTopic { id, bytes_max };
        }
        Ok(())
    }
}

/// One that is gone may be about to be made anew: a life ends for it, and the next one asks again.
fn id(crossing: &Crossing, admin: &dyn Admin) -> Result<String, RunFault> {
    let Crossing { place, pipeline, names, .. } = crossing;
    let found = admin.topic(&names.quarantine).map_err(away)?.map(|topic| topic.id);
    let gone = || topics::missing(place, &pipeline.name, &names.quarantine, "sovereign");
    found.ok_or_else(|| RunFault::Again(gone().to_string()))
}

fn away(fault: EdgeFault) -> RunFault {
    RunFault::Again(format!("sovereign cluster: {fault}"))
}
