#!/usr/bin/env python3
"""tests/peers/dp.py [--rows N] [--rate FILE]: libraries of differential privacy beside douane.

Installs OpenDP with its polars API and PipelineDP (the versions below) from PyPI into a virtual
environment of its own in ~/.cache/douane-peers (or DOUANE_PEERS), and has each compute the same of
the same invented rows: 100,000 persons, 16 public groups, of one person four groups and four rows
of each; the number of rows, a sum of numbers in [0, 1000] and a mean of numbers in [0, 100] by
group, with Gaussian noise. It prints rows, the time by the clock and the processor's time of each.
FILE is what `cargo bench --workspace --bench aggregate` printed, whose rows are these:
then both sides stand beside each other, by processor time.

PipelineDP runs on its local backend and takes a tenth of the rows, of a tenth of the
persons: it keeps each row as objects of Python, and its time grows with the rows. Tumult Analytics
needs Spark and is left out. OpenDP chooses a person's groups by their order here (`keep="first"`):
with the version below, choosing them by a draw ends in an error of the query.
"""
import argparse
import os
import re
import subprocess
import sys
import time
import venv
from pathlib import Path

OPENDP, PIPELINE_DP = "0.16.0", "0.3.1"
PERSONS, GROUPS, GROUPS_MAX, ROWS_MAX = 100_000, 16, 4, 4
# As `explain` would say of rho 0.1: the noise does not change how long it takes.
RHO = 0.1


def home():
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    return Path(os.environ.get("DOUANE_PEERS", cache + "/douane-peers")) / "dp"


def inside():
    """Goes on in the environment, made on the first call."""
    python = home() / "bin" / "python"
    if Path(sys.prefix).resolve() == home().resolve():
        return
    if not python.exists():
        venv.create(home(), with_pip=True)
    # So that a run that was cut off while installing is mended by the next.
    have = subprocess.run([python, "-c", "import opendp, polars, pipeline_dp"], capture_output=True)
    if have.returncode != 0:
        wanted = [f"opendp[polars]=={OPENDP}", f"pipeline-dp=={PIPELINE_DP}"]
        subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
    os.execv(python, [str(python), *sys.argv])


def rows(count, persons):
    """As the bench makes them: person, group, two numbers."""
    import numpy as np

    picked = (np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)
    column = lambda values: values.astype(np.int64)
    return {
        "person": column(picked % np.uint64(persons)),
        "group": column((picked >> np.uint64(24)) % np.uint64(GROUPS)),
        "spent": column(picked % np.uint64(1000)),
        "rating": column(picked % np.uint64(101)),
    }


def opendp(count):
    import opendp.prelude as dp
    import polars as pl

    dp.enable_features("contrib", "honest-but-curious", "idealized-numerics")
    frame = pl.DataFrame(rows(count, PERSONS))
    keys = pl.LazyFrame({"group": list(range(GROUPS))})

    def run():
        context = dp.Context.compositor(
            data=frame.lazy(),
            privacy_unit=dp.unit_of(contributions=1, identifier=pl.col("person")),
            privacy_loss=dp.loss_of(rho=RHO),
            split_evenly_over=1,
            margins=[
                dp.polars.Margin(by=["group"], max_length=count, max_groups=GROUPS),
                dp.polars.Margin(by=(), max_length=count),
            ],
        )
        query = (
            context.query()
            .truncate_per_group(ROWS_MAX, by=["group"])
            .truncate_num_groups(GROUPS_MAX, by=["group"], keep="first")
            .group_by("group")
            .agg(
                dp.len(),
                pl.col("spent").dp.sum((0, 1000)),
                pl.col("rating").dp.mean((0, 100)),
            )
            .with_keys(keys)
        )
        return len(query.release().collect())

    return run


def pipeline_dp(count):
    import pipeline_dp as library

    made = rows(count, PERSONS // 10)
    table = list(zip(*(values.tolist() for values in made.values())))

    def run():
        # One value an aggregation: a pass for each of the two columns.
        released = 0
        for value, high, metrics in [
            (2, 1000, [library.Metrics.COUNT, library.Metrics.SUM]),
            (3, 100, [library.Metrics.MEAN]),
        ]:
            accountant = library.NaiveBudgetAccountant(total_epsilon=2, total_delta=1e-9)
            engine = library.DPEngine(accountant, library.LocalBackend())
            parameters = library.AggregateParams(
                noise_kind=library.NoiseKind.GAUSSIAN,
                metrics=metrics,
                max_partitions_contributed=GROUPS_MAX,
                max_contributions_per_partition=ROWS_MAX,
                min_value=0,
                max_value=high,
            )
            extractors = library.DataExtractors(
                privacy_id_extractor=lambda row: row[0],
                partition_extractor=lambda row: row[1],
                value_extractor=lambda row, at=value: row[at],
            )
            result = engine.aggregate(table, parameters, extractors, list(range(GROUPS)))
            accountant.compute_budgets()
            released += len(list(result))
        return released // 2

    return run


def measured(name, count, run):
    clock, processor = time.time(), time.process_time()
    groups = run()
    clock, processor = time.time() - clock, time.process_time() - processor
    assert groups == GROUPS, f"{name} released {groups} groups"
    print(
        f"figure: {name}, {count} rows: {clock:.1f} s by the clock, {processor:.1f} s of processor "
        f"time, {count / processor / 1e6:.4f} M rows/s",
        flush=True,
    )
    return count / processor


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rate")
    arguments = parser.parse_args()
    own = None
    if arguments.rate:
        line = rf"bounding and sums, {PERSONS} persons, \d+ rows: ([0-9.]+) M rows/s"
        found = re.search(line, Path(arguments.rate).read_text())
        assert found, f"{arguments.rate}: no line of the bench `aggregate`"
        own = float(found[1]) * 1e6
        seconds = arguments.rows / own
        print(f"figure: douane, {arguments.rows} rows: {seconds:.1f} s of processor time")
    few = max(arguments.rows // 10, 1_000)
    for name, count, made in [
        (f"OpenDP {OPENDP} (polars)", arguments.rows, opendp),
        (f"PipelineDP {PIPELINE_DP}", few, pipeline_dp),
    ]:
        rate = measured(name, count, made(count))
        if own:
            print(f"figure: douane beside {name}: {own / rate:.0f} x", flush=True)


if __name__ == "__main__":
    inside()
    main()
