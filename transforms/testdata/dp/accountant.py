#!/usr/bin/env python3
"""Writes accountant.json: epsilon and delta of zCDP in 200-bit arithmetic, by other means than the
code under test: the root of the derivative, not a search; and the exact privacy curve of a Gaussian,
which no zCDP bound may be below. Needs mpmath."""
import json
import pathlib

from mpmath import mp, mpf, log, exp, findroot, sqrt, erfc

mp.prec = 200


def alpha_of(rho, eps):
    """(2a - 1) rho - eps + ln(1 - 1/a) = 0: the derivative in alpha is zero (falls to rises)."""
    f = lambda a: (2 * a - 1) * rho - eps + log(1 - 1 / a)
    low, high = mpf(1) + mpf(2) ** -150, mpf(2)
    while f(high) < 0:
        high *= 2
    for _ in range(600):
        mid = (low + high) / 2
        low, high = (mid, high) if f(mid) < 0 else (low, mid)
    return (low + high) / 2


def delta(rho, eps):
    a = alpha_of(rho, eps)
    return min(exp((a - 1) * (a * rho - eps)) / (a - 1) * (1 - 1 / a) ** a, mpf(1))


def epsilon(rho, dlt):
    if delta(rho, mpf(0)) <= dlt:
        return mpf(0)
    low, high = mpf(0), mpf(1)
    while delta(rho, high) > dlt:
        high *= 2
    for _ in range(220):
        mid = (low + high) / 2
        low, high = (mid, high) if delta(rho, mid) > dlt else (low, mid)
    return high


def gauss_epsilon(rho, dlt):
    """Balle and Wang 2018, theorem 8."""
    mu = sqrt(2 * rho)
    phi = lambda x: erfc(-x / sqrt(mpf(2))) / 2
    curve = lambda e: phi(mu / 2 - e / mu) - exp(e) * phi(-mu / 2 - e / mu)
    if curve(mpf(0)) <= dlt:
        return mpf(0)
    low, high = mpf(0), mpf(1)
    while curve(high) > dlt:
        high *= 2
    for _ in range(160):
        mid = (low + high) / 2
        low, high = (mid, high) if curve(mid) > dlt else (low, mid)
    return high


cases = []
for rho in [1e-6, 1e-4, 1e-3, 0.003953, 0.005, 0.014973, 0.015, 0.0936, 0.1, 0.120582, 0.45625, 0.5, 0.732833, 1.0, 10.0, 300.0]:
    for dlt in [1e-3, 1e-6, 1e-9, 1e-12, 1e-20]:
        r, d = mpf(rho), mpf(dlt)
        cases.append({"rho": rho, "delta": dlt, "epsilon": mp.nstr(epsilon(r, d), 40),
                      "gauss": mp.nstr(gauss_epsilon(r, d), 40)})
deltas = []
for rho in [1e-3, 0.005, 0.1, 1.0, 10.0]:
    for eps in [0.1, 1.0, 4.0, 20.0]:
        deltas.append({"rho": rho, "epsilon": eps, "delta": mp.nstr(delta(mpf(rho), mpf(eps)), 40)})
here = pathlib.Path(__file__).parent
(here / "accountant.json").write_text(json.dumps({"epsilon": cases, "delta": deltas}, indent=1) + "\n")
