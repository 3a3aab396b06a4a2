#!/usr/bin/env python3
"""Trains on what `douane feed` handed over: reads all shards of a folder, in their order, and fits a small classifier.

    douane feed training.customers --out shards/ --release customers.release.json -- python3 train.py
    train.py shards/ --target country --features city,birth_date,balance_cents

The folder is the argument, or DOUANE_FEED, which `feed` sets. Rows are the states of a record, so the last one of a key counts,
and a deleted one does not. Every feature is a category: protections leave labels, units of the calendar and tokens, of which the
last are no feature. Shards are Parquet or Arrow; nothing else of the feed is read. One JSON line says what came of it: rows,
records, classes, the loss before and after, the share that is told right and that of the most frequent class. Needs pyarrow and
NumPy; with --torch the model is PyTorch's, on a GPU where there is one.
"""

import argparse
import json
import os
import pathlib
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet

STEPS = 200
RATE = 1.0


def shards(folder):
    """The tables of every shard; `feed` names shards by their order, and a folder appears whole."""
    for shard in sorted(pathlib.Path(folder).glob("shard-*")):
        for file in sorted(shard.iterdir()):
            if file.suffix == ".parquet":
                yield pa.parquet.read_table(file)
            elif file.suffix == ".arrow":
                with pa.ipc.open_file(file) as reader:
                    yield reader.read_all()


def newest(tables, columns):
    """Of each key the last state, and how many rows were read. A key has one partition, so its order is a file's."""
    records, rows = {}, 0
    for table in tables:
        cells = [table.column(name).to_pylist() for name in columns]
        for key, deleted, row in zip(table.column("_key").to_pylist(), table.column("_deleted").to_pylist(), zip(*cells)):
            rows += 1
            if deleted:
                records.pop(key, None)
            else:
                records[key] = row
    return list(records.values()), rows


def categories(values):
    """A column of ones and zeros for each value that there is, and the values."""
    names = sorted({str(value) for value in values})
    at = {name: number for number, name in enumerate(names)}
    found = np.zeros((len(values), len(names)))
    found[np.arange(len(values)), [at[str(value)] for value in values]] = 1.0
    return found, names


def fit(features, labels):
    """Softmax regression by plain gradient descent: the loss of no model, and of the last; and what it says of each record."""
    model = np.zeros((features.shape[1], labels.shape[1]))
    losses = []
    for _ in range(STEPS + 1):
        scores = features @ model
        scores -= scores.max(axis=1, keepdims=True)
        shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        losses.append(float(-np.mean(np.log((shares * labels).sum(axis=1)))))
        model -= RATE * features.T @ (shares - labels) / len(labels)
    return losses[0], losses[-1], shares.argmax(axis=1), "cpu"


def fit_torch(features, labels):
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    features, labels = (torch.tensor(a, dtype=torch.float64, device=device) for a in (features, labels))
    model = torch.zeros(features.shape[1], labels.shape[1], dtype=torch.float64, device=device, requires_grad=True)
    descent = torch.optim.SGD([model], lr=RATE)
    losses = []
    for _ in range(STEPS + 1):
        scores = features @ model
        loss = -(torch.log_softmax(scores, dim=1) * labels).sum(dim=1).mean()
        losses.append(float(loss))
        descent.zero_grad()
        loss.backward()
        descent.step()
    return losses[0], losses[-1], scores.argmax(dim=1).cpu().numpy(), device


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", nargs="?", default=os.environ.get("DOUANE_FEED"))
    options.add_argument("--target", default="country")
    options.add_argument("--features", default="city,birth_date,balance_cents")
    options.add_argument("--torch", action="store_true")
    options = options.parse_args()
    if options.folder is None:
        sys.exit("name the folder of `feed --out`, or let `feed` start this: it sets DOUANE_FEED")
    columns = [options.target, *options.features.split(",")]
    records, rows = newest(shards(options.folder), columns)
    if not records:
        sys.exit(f"no record in the shards of {options.folder}")
    target, *others = zip(*records)
    labels, classes = categories(target)
    features = np.hstack([categories(values)[0] for values in others])
    before, after, told, device = (fit_torch if options.torch else fit)(features, labels)
    said = {"rows": rows, "records": len(records), "classes": len(classes), "features": features.shape[1]}
    said |= {"loss_before": before, "loss": after, "device": device}
    said |= {"right": float(np.mean(told == labels.argmax(axis=1))), "most_frequent": float(labels.mean(axis=0).max())}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
