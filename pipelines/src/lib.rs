//! Order and time: YAML, lint, plan, proof, run.
