#!/usr/bin/env python3
"""Three sites train a logistic regression together, and never show a patient: the other side of federated.yaml.

Lines on standard output are what the sites send, one JSON object a patient and round: {"id", "patient", "site", "gradient"};
then {"round": n} ends the round. Lines on standard input are what comes back for it: a JSON array of integers, the noised sum in
steps of the grid. At the end one line says how far the model is from the one that the same rounds give without noise and
clipping. Needs NumPy; with --torch the gradients are PyTorch's, on a GPU where there is one.

    federated.py --local        no pipeline: sums without noise, to see what the program does
"""

import argparse
import json
import sys

import numpy as np

SITES = ["north", "south", "east"]
PATIENTS = 1_500
DIMS = 6
ROUNDS = 6
STEP = 5.0
GRID = 0.001
TRUE = np.array([2.0, -1.5, 1.0, -0.5, 0.75, 0.25])


class Random:
    """SplitMix64: invented patients that are the same wherever this runs."""

    def __init__(self, seed):
        self.state = seed

    def unit(self):
        mask = (1 << 64) - 1
        self.state = (self.state + 0x9E3779B97F4A7C15) & mask
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return ((z ^ (z >> 31)) >> 11) / (1 << 53)


def invented(seed):
    random = Random(seed)
    rows, labels = [], []
    for _ in range(PATIENTS):
        row = [2.0 * random.unit() - 1.0 for _ in range(DIMS - 1)] + [1.0]
        rows.append(row)
        labels.append(1.0 if random.unit() < 1.0 / (1.0 + np.exp(-np.dot(TRUE, row))) else 0.0)
    return np.array(rows), np.array(labels)


def gradients(model, rows, labels):
    """One row a patient: what that patient alone would change."""
    chance = 1.0 / (1.0 + np.exp(-rows @ model))
    return (labels - chance)[:, None] * rows


def gradients_of_torch(model, rows, labels):
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, rows, labels = (torch.tensor(a, dtype=torch.float64, device=device) for a in (model, rows, labels))

    def likelihood(model, row, label):
        return torch.nn.functional.logsigmoid(row @ model) - (1.0 - label) * (row @ model)

    return torch.vmap(torch.func.grad(likelihood), (None, 0, 0))(model, rows, labels).cpu().numpy()


def accuracy(model, rows, labels):
    return float(np.mean((rows @ model > 0.0) == (labels > 0.5)))


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seed", type=int, default=7)
    options.add_argument("--torch", action="store_true")
    options.add_argument("--local", action="store_true")
    options = options.parse_args()
    of = gradients_of_torch if options.torch else gradients
    rows, labels = invented(options.seed)
    model, plain = np.zeros(DIMS), np.zeros(DIMS)
    for turn in range(1, ROUNDS + 1):
        plain += STEP / PATIENTS * of(plain, rows, labels).sum(axis=0)
        updates = of(model, rows, labels)
        if options.local:
            total = np.trunc(updates / GRID).sum(axis=0)
        else:
            for patient, update in enumerate(updates):
                line = {"id": f"{patient}-{turn}", "patient": str(patient), "site": SITES[patient % len(SITES)]}
                print(json.dumps(line | {"gradient": [round(float(g), 6) for g in update]}))
            print(json.dumps({"round": turn}), flush=True)
            total = np.array(json.loads(sys.stdin.readline()))
        model += STEP / PATIENTS * GRID * total
    said = {"distance": float(np.linalg.norm(model - plain)), "length": float(np.linalg.norm(plain))}
    said |= {"accuracy": accuracy(model, rows, labels), "plain_accuracy": accuracy(plain, rows, labels)}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
