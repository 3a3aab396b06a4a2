//! Evidence: Merkle log, checkpoints, manifests, releases, trust root, verification.
