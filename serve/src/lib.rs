//! Many pipelines in one process, behind the REST API of Kafka Connect.
