//! The two edges of a pipeline in its place. The one file that knows which kinds there are.

use std::sync::Arc;

use douane_connectors::edge::{Global, Sovereign};
use douane_connectors::kafka::Cluster;

use crate::config::Place;

/// Both sides of a pipeline. Nothing is reached yet.
#[derive(Clone)]
pub struct Edges {
    /// Where raw data lies.
    pub sovereign: Arc<dyn Sovereign>,
    /// Where what was approved goes.
    pub global: Arc<dyn Global>,
}

impl Edges {
    /// As the files name them.
    pub fn of(place: &Place) -> Self {
        Self {
            sovereign: Arc::new(Cluster(place.sovereign.clone())),
            global: Arc::new(Cluster(place.global.clone())),
        }
    }
}
