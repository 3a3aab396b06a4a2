//! A Kafka cluster as the run loop sees it: either side of the border.

use std::ops::ControlFlow;
use std::time::Duration;

use douane_gate::Sealed;
use douane_schemas::record::RawRecord;

use super::cluster::ClusterConfig;
use super::position::Reach;
use super::{Admin, QuarantineProducer, Sink, Source};
use crate::edge::{
    self, Created, EdgeFault, Global, KeyAndValue, Polled, Rights, SinkFault, Sovereign,
    TopicConfig, TopicIdentity,
};

/// One cluster of `douane.yaml`. Reaches nothing by itself.
pub struct Cluster(pub ClusterConfig);

impl Sovereign for Cluster {
    fn admin(&self) -> Result<Box<dyn edge::Admin>, EdgeFault> {
        Ok(Box::new(Admin::open(&self.0)?))
    }

    fn shared_admin(&self) -> Result<Box<dyn edge::Admin>, EdgeFault> {
        Ok(Box::new(Admin::shared(&self.0)?))
    }

    fn source(&self, group: &str, topics: &[String]) -> Result<Box<dyn edge::Source>, EdgeFault> {
        Ok(Box::new(Source::open(&self.0, group, topics)?))
    }

    fn quarantine(&self, bytes_max: usize) -> Result<Box<dyn edge::Quarantine>, EdgeFault> {
        Ok(Box::new(QuarantineProducer::open(&self.0, bytes_max)?))
    }

    fn scan_unless(
        &self,
        stop: &dyn Fn() -> bool,
        topic: &str,
        partition: i32,
        from: i64,
        timeout: Duration,
        each: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
    ) -> Result<(), EdgeFault> {
        let reach = Reach::LastStable;
        super::scan_unless(stop, &self.0, topic, partition, from, reach, timeout, each)
            .map_err(|fault| fault.at(&self.0.bootstrap))?;
        Ok(())
    }
}

impl Global for Cluster {
    fn admin(&self) -> Result<Box<dyn edge::Admin>, EdgeFault> {
        Ok(Box::new(Admin::open(&self.0)?))
    }

    fn shared_admin(&self) -> Result<Box<dyn edge::Admin>, EdgeFault> {
        Ok(Box::new(Admin::shared(&self.0)?))
    }

    fn fence(
        &self,
        id: &str,
        bytes_max: usize,
        timeout: Duration,
    ) -> Result<Box<dyn edge::Sink>, SinkFault> {
        Ok(Box::new(Sink::fence_sized(&self.0, id, bytes_max, timeout)?))
    }

    fn read_last(
        &self,
        topic: &str,
        partition: i32,
        timeout: Duration,
    ) -> Result<Option<KeyAndValue>, EdgeFault> {
        Ok(super::read_last(&self.0, topic, partition, timeout)
            .map_err(|fault| fault.at(&self.0.bootstrap))?)
    }
}

impl edge::Topics for Cluster {
    fn extent(
        &self,
        topic: &str,
        partition: i32,
        whole: bool,
        timeout: Duration,
    ) -> Result<(i64, i64), EdgeFault> {
        let reach = if whole { Reach::HighWatermark } else { Reach::LastStable };
        Ok(super::position::extent(&self.0, topic, partition, reach, timeout)
            .map_err(|fault| fault.at(&self.0.bootstrap))?)
    }

    fn read(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
        timeout: Duration,
        each: &mut dyn FnMut(&RawRecord<'_>) -> ControlFlow<()>,
    ) -> Result<i64, EdgeFault> {
        Ok(super::position::scan_on(&self.0, topic, partition, from, timeout, each)
            .map_err(|fault| fault.at(&self.0.bootstrap))?)
    }

    fn note(
        &self,
        group: &str,
        topic: &str,
        next: &[i64],
        timeout: Duration,
    ) -> Result<(), EdgeFault> {
        Ok(super::group::note(&self.0, group, topic, next, timeout)
            .map_err(|fault| fault.at(&self.0.bootstrap))?)
    }
}

impl edge::Admin for Admin {
    fn cluster_id(&self) -> Result<String, EdgeFault> {
        Ok(Admin::cluster_id(self)?)
    }

    fn topics(&self, names: &[&str]) -> Result<Vec<Option<TopicIdentity>>, EdgeFault> {
        Ok(Admin::topics(self, names).map_err(|fault| fault.at(self.bootstrap()))?)
    }

    fn rights(&self, name: &str) -> Result<Option<Rights>, EdgeFault> {
        Ok(Admin::rights(self, name).map_err(|fault| fault.at(self.bootstrap()))?)
    }

    fn names(&self) -> Result<Vec<String>, EdgeFault> {
        Ok(Admin::names(self).map_err(|fault| fault.at(self.bootstrap()))?)
    }

    fn topic_config(&self, name: &str) -> Result<TopicConfig, EdgeFault> {
        Ok(Admin::topic_config(self, name).map_err(|fault| fault.at(self.bootstrap()))?)
    }

    fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i32,
        settings: &[(&str, &str)],
    ) -> Result<Created, EdgeFault> {
        Ok(Admin::create_topic(self, name, partitions, replication, settings)
            .map_err(|fault| fault.at(self.bootstrap()))?)
    }
}

impl edge::Source for Source {
    fn assign(&mut self, places: &[(u32, i32, i64)]) -> Result<(), EdgeFault> {
        Ok(Source::assign(self, places)?)
    }

    fn poll(&mut self, timeout: Duration) -> Polled<'_> {
        Source::poll(self, timeout)
    }

    fn reached(&mut self) -> Vec<(u32, i32, i64)> {
        Source::reached(self)
    }

    fn pause(&mut self, topic: u32, partition: i32) -> Result<(), EdgeFault> {
        Ok(Source::pause(self, topic, partition)?)
    }

    fn resume_at(&mut self, topic: u32, partition: i32, offset: i64) -> Result<(), EdgeFault> {
        Ok(Source::resume_at(self, topic, partition, offset)?)
    }

    fn watermarks(&self, topic: u32, partition: i32) -> Result<(i64, i64), EdgeFault> {
        Ok(Source::watermarks(self, topic, partition)?)
    }

    fn offset_for_time(
        &self,
        topic: u32,
        partition: i32,
        since_ms: i64,
    ) -> Result<Option<i64>, EdgeFault> {
        Ok(Source::offset_for_time(self, topic, partition, since_ms)?)
    }

    fn commit_group(&mut self, places: &[(u32, i32, i64)]) {
        Source::commit_group(self, places);
    }

    fn close(self: Box<Self>) {
        Source::close(*self);
    }
}

impl edge::Quarantine for QuarantineProducer {
    fn send(&mut self, records: &[Sealed], topic: &str) -> Result<(), EdgeFault> {
        Ok(QuarantineProducer::send(self, records, topic)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cluster::plain;
    use super::*;
    use crate::edge::Topics as _;

    #[test]
    fn who_does_not_answer_is_told_with_the_address() {
        let cluster = Cluster(plain("127.0.0.1:1"));
        let fault = cluster.extent("t", 0, true, Duration::from_millis(300)).unwrap_err();
        assert!(fault.is_away(), "{fault}");
        assert!(fault.to_string().contains("no answer (at 127.0.0.1:1: "), "{fault}");
    }
}
