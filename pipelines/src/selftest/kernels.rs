//! The kernels on a GPU, against their twins on the processor.

use douane_kernels::{Choice, Device, NoGpu, On};

use super::{Adapter, Outcome, Report};

/// Opens any Vulkan device and runs each kernel there, on cases that are built in.
///
/// # Errors
/// There is none, or this build knows none.
pub fn on_gpu() -> Result<Vec<Report>, NoGpu> {
    Ok(reports(&Device::open(Choice::Gpu)?))
}

fn reports(device: &Device) -> Vec<Report> {
    let adapter = device.adapter().map(|adapter| Adapter {
        name: adapter.name.clone(),
        backend: adapter.backend.clone(),
        driver: adapter.driver.clone(),
        software: adapter.is_software,
    });
    let checks = douane_kernels::selftest::run(device).into_iter();
    let report = |check: douane_kernels::selftest::Check| {
        // What needs no GPU is compared with what others have computed.
        let alone = check.cases.iter().all(|case| case.on == On::Cpu);
        let algorithm = if alone { "known answers" } else { "GPU = processor" };
        let mut report = Report {
            file: format!("kernel: {}", check.kernel),
            algorithm: algorithm.to_owned(),
            adapter: adapter.clone(),
            ..Report::default()
        };
        for (index, case) in check.cases.iter().enumerate() {
            let outcome = match case.on {
                On::CpuInstead(_) => Outcome::Failed("the GPU gave the batch up"),
                _ if case.differing > 0 => Outcome::Failed("another answer"),
                _ => Outcome::Passed,
            };
            report.add(0, index as u64, outcome);
        }
        report
    };
    checks.map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_reported_case_by_case() {
        let found = reports(&Device::cpu());
        assert!(found.len() == 8 && found.iter().all(Report::holds), "{found:?}");
        assert!(found.iter().all(|report| report.passed >= 3 && report.adapter.is_none()));
        if cfg!(not(feature = "gpu")) {
            assert_eq!(on_gpu(), Err(NoGpu::NotBuilt));
        }
    }

    #[cfg(feature = "gpu")]
    #[test]
    fn a_gpu_that_fails_a_case_does_not_hold() {
        let gpu = Device::open(Choice::Gpu).unwrap_or_else(|error| panic!("{error}"));
        let failing = |gpu: &Device| {
            reports(gpu).iter().filter(|report| !report.holds()).map(|r| r.failed).sum::<u64>()
        };
        assert_eq!(failing(&gpu), 0);
        gpu.provoke(douane_kernels::Cause::Validation);
        assert_eq!(failing(&gpu), 1);
    }
}
