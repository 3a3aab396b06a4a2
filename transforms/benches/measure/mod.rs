//! The clock of the benches: a thread's own CPU time.

#![allow(dead_code, reason = "each bench takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a bench may panic")]

/// Seconds of CPU that this thread had, as Linux counts them: to a tick of a few milliseconds.
pub fn cpu() -> f64 {
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    counted.split(' ').next().unwrap().parse::<f64>().unwrap() * 1e-9
}

/// Items a second, `items` a run: a warm-up that finds how many runs take half a second, then the
/// median of five times as many.
pub fn rate(items: usize, mut run: impl FnMut()) -> f64 {
    let (start, mut times) = (cpu(), 0);
    while cpu() - start < 0.5 {
        run();
        times += 1;
    }
    let mut seconds: Vec<f64> = (0..5)
        .map(|_| {
            let start = cpu();
            (0..times).for_each(|_| run());
            cpu() - start
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    (items * times) as f64 / seconds[2]
}
