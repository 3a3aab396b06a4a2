//! The two edges of a pipeline in its place. The one file that knows which kinds there are.

use std::sync::Arc;

use douane_connectors::edge::{Global, Sovereign};
use douane_connectors::file::{FileFormat, GlobalFolder, SovereignFolder};
use douane_connectors::kafka::{Cluster, ClusterConfig, Records};
use douane_ledger::release::LiveRelease;

use crate::config::{Pipeline, Place, SinkFormat};
use crate::fault::RunFault;
use crate::once::Bounded;

/// The global cluster's topics, as whoever is outside reads them. A folder has none.
pub fn topics(global: &ClusterConfig) -> Result<Cluster, RunFault> {
    match &global.dir {
        None => Ok(Cluster(global.clone())),
        Some(dir) => Err(RunFault::File(format!(
            "{}: a folder has no topics\n  next: name its parts' manifests, `verify --manifest \
             {}/…/part-…/_manifest.json`",
            dir.display(),
            dir.display()
        ))),
    }
}

/// Records of the program's own in the sovereign cluster. A folder has none.
pub fn records(place: &Place) -> Result<Records, RunFault> {
    match &place.sovereign.dir {
        None => Ok(Records::of(&place.sovereign)),
        Some(dir) => Err(RunFault::File(format!("{}: a folder has no topics", dir.display()))),
    }
}

/// Both sides. Nothing is reached yet.
#[derive(Clone)]
pub struct Edges {
    /// Where raw data lies.
    pub sovereign: Arc<dyn Sovereign>,
    /// Where what was approved goes.
    pub global: Arc<dyn Global>,
}

impl Edges {
    /// Of a place alone: for asking who is there.
    pub fn of_place(place: &Place) -> Self {
        Self::new(place, None, None)
    }

    /// Of a pipeline in its place. Without its release no record of its output is committed.
    pub fn of(place: &Place, pipeline: &Pipeline) -> Self {
        Self::new(place, Some(pipeline), None)
    }

    /// Of a pipeline under its release.
    pub fn released(
        place: &Place,
        pipeline: &Pipeline,
        release: &LiveRelease,
    ) -> Result<Self, RunFault> {
        let schema = match pipeline.sink.format {
            SinkFormat::Json => None,
            SinkFormat::Avro => {
                let schema = douane_gate::avro_schema(release);
                Some(schema.map_err(|fault| RunFault::Gate(fault.to_string()))?)
            }
        };
        let mut edges = Self::new(place, Some(pipeline), schema);
        if let Some(once) = &release.once {
            edges.sovereign = Arc::new(Bounded::new(edges.sovereign, once.clone()));
        }
        Ok(edges)
    }

    fn new(place: &Place, pipeline: Option<&Pipeline>, schema: Option<String>) -> Self {
        Self { sovereign: sovereign(place, pipeline), global: global(place, pipeline, schema) }
    }
}

fn sovereign(place: &Place, pipeline: Option<&Pipeline>) -> Arc<dyn Sovereign> {
    let Some(dir) = &place.sovereign.dir else {
        return Arc::new(Cluster(place.sovereign.clone()));
    };
    let source = pipeline.map(|pipeline| &pipeline.source);
    Arc::new(SovereignFolder {
        id: place.sovereign.id.clone(),
        dir: dir.clone(),
        base: place.dir.clone(),
        paths: source.map_or_else(Vec::new, |source| source.topics.clone()),
        format: source.and_then(|source| source.file).unwrap_or(FileFormat::JsonLines),
        key: source.and_then(|source| source.key.clone()).unwrap_or_default(),
    })
}

fn global(place: &Place, pipeline: Option<&Pipeline>, schema: Option<String>) -> Arc<dyn Global> {
    let Some(dir) = &place.global.dir else {
        return Arc::new(Cluster(place.global.clone()));
    };
    let sink = pipeline.map(|pipeline| &pipeline.sink);
    Arc::new(GlobalFolder {
        id: place.global.id.clone(),
        dir: dir.clone(),
        base: place.dir.clone(),
        topic: sink.map_or_else(String::new, |sink| sink.topic.clone()),
        format: sink.and_then(|sink| sink.file).unwrap_or(FileFormat::JsonLines),
        schema,
    })
}
