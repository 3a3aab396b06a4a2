//! `douane-broker`: the development broker as a process, until it is killed.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use douane_broker::{Broker, Options};

/// A Kafka broker in memory, FOR DEVELOPMENT ONLY: one node, on 127.0.0.1 only, no TLS, no rights; whoever ends it
/// loses all that it held.
#[derive(Parser)]
#[command(name = "douane-broker", version)]
struct Arguments {
    /// Port on 127.0.0.1; without it the system chooses.
    #[arg(long)]
    port: Option<u16>,
    /// Port that clients are told to connect to, where a proxy stands in front.
    #[arg(long)]
    advertised_port: Option<u16>,
    /// What all topics may hold in memory; without it 2048 MiB.
    #[arg(long, value_name = "MIB")]
    memory_max: Option<usize>,
    /// Makes a topic with so many partitions when a client asks for one that is not there.
    #[arg(long, value_name = "PARTITIONS")]
    auto_create: Option<i32>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        port: arguments.port,
        advertised_port: arguments.advertised_port,
        bytes_max: arguments.memory_max.map(|mib| mib.saturating_mul(1 << 20)),
        auto_create_partitions: arguments.auto_create,
    };
    let broker = match Broker::start(options) {
        Ok(broker) => broker,
        Err(fault) => {
            // Nobody may read it; the exit code says it too.
            let _ = writeln!(io::stderr(), "douane-broker: {fault}");
            return ExitCode::from(3);
        }
    };
    let said = writeln!(
        io::stdout(),
        "development broker, not for production: {}, cluster {}, in memory only, until this process ends",
        broker.bootstrap(),
        broker.cluster_id()
    );
    if said.is_err() {
        return ExitCode::from(2);
    }
    loop {
        std::thread::park();
    }
}
