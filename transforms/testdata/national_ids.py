#!/usr/bin/env python3
"""Writes national_ids.json: numbers that python-stdnum (an independent implementation, 2.2) holds
for right, and others with one changed digit that it holds for wrong. All of them are invented.

    pip install python-stdnum==2.2
    python3 national_ids.py > national_ids.json
"""
import importlib
import json
import random
import string

from stdnum import util

r = random.Random(20261121)
D = string.digits


def d(n):
    return "".join(r.choice(D) for _ in range(n))


def ymd():
    return r.randint(1930, 2009), r.randint(1, 12), r.randint(1, 28)


def yymmdd():
    y, m, day = ymd()
    return f"{y % 100:02}{m:02}{day:02}"


def ddmmyy():
    y, m, day = ymd()
    return f"{day:02}{m:02}{y % 100:02}"


def cf_body():
    c = "BCDFGLMNPRSTVZ"
    y, m, day = ymd()
    month = "ABCDEHLMPRST"[m - 1]
    return "".join(r.choice(c) for _ in range(6)) + f"{y % 100:02}{month}{day:02}" + r.choice("DFHL") + f"{r.randint(1, 999):03}"


L = string.ascii_uppercase
# kind: module, body, signs that are tried at the place of the check, its length, where it stands.
KINDS = {
    "de_steuer_id": ("de.idnr", lambda: r.choice("123456789") + d(9), D, 1, None),
    "fr_nir": ("fr.nir", lambda: r.choice("12") + f"{r.randint(0, 99):02}{r.randint(1, 12):02}" + f"{r.randint(1, 95):02}" + f"{r.randint(1, 900):03}" + f"{r.randint(1, 999):03}", D, 2, None),
    "es_dni": ("es.dni", lambda: d(8), L, 1, None),
    "it_codice_fiscale": ("it.codicefiscale", cf_body, L, 1, None),
    "nl_bsn": ("nl.bsn", lambda: r.choice("123") + d(7), D, 1, None),
    "pl_pesel": ("pl.pesel", lambda: yymmdd() + d(4), D, 1, None),
    "be_national": ("be.nn", lambda: yymmdd() + f"{r.randint(1, 997):03}", D, 2, None),
    "pt_nif": ("pt.nif", lambda: r.choice("123") + d(7), D, 1, None),
    "se_personnummer": ("se.personnummer", lambda: yymmdd() + "-" + d(3), D, 1, None),
    "fi_hetu": ("fi.hetu", lambda: ddmmyy()[:4] + f"{r.randint(30, 99)}-" + f"{r.randint(2, 899):03}", D + L, 1, None),
    "no_fodselsnummer": ("no.fodselsnummer", lambda: ddmmyy()[:4] + f"{r.randint(40, 99)}" + f"{r.randint(0, 499):03}", D, 2, None),
    "ch_ahv": ("ch.ssn", lambda: "756" + d(9), D, 1, None),
    "at_svnr": ("at.vnr", lambda: r.choice("123456789") + d(2) + "?" + ddmmyy(), D, 1, 3),
    "ie_pps": ("ie.pps", lambda: d(7), L, 1, None),
    "cz_rodne_cislo": ("cz.rc", lambda: f"{r.randint(54, 99)}{r.randint(1, 12):02}{r.randint(1, 28):02}/" + d(3), D, 1, None),
    "ro_cnp": ("ro.cnp", lambda: r.choice("12") + yymmdd() + f"{r.randint(1, 46):02}" + f"{r.randint(1, 999):03}", D, 1, None),
    "gr_amka": ("gr.amka", lambda: ddmmyy() + d(4), D, 1, None),
    "bg_egn": ("bg.egn", lambda: f"{r.randint(30, 99)}{r.randint(1, 12):02}{r.randint(1, 28):02}" + d(3), D, 1, None),
    "hr_oib": ("hr.oib", lambda: d(10), D, 1, None),
    "ee_isikukood": ("ee.ik", lambda: r.choice("34") + yymmdd() + d(3), D, 1, None),
    "si_emso": ("si.emso", lambda: ddmmyy()[:4] + f"9{r.randint(30, 99)}" + "50" + d(3), D, 1, None),
    "us_routing": ("us.rtn", lambda: r.choice(["0", "1"]) + r.choice("012") + d(6), D, 1, None),
}
CONTEXT = {
    "nl_bsn": "BSN ", "pt_nif": "NIF ", "bg_egn": "ЕГН ", "hr_oib": "OIB ", "at_svnr": "SVNR ",
    "us_routing": "routing number ",
}


def product(signs, n):
    return [""] if n == 0 else [s + t for s in signs for t in product(signs, n - 1)]


def fill(body, check, at):
    return body + check if at is None else body[:at] + check + body[at + 1:]


out = {}
for kind, (module, body, signs, n, at) in KINDS.items():
    valid = importlib.import_module("stdnum." + module).is_valid
    right, wrong = [], []
    while len(right) < 40:
        b = body()
        found = [fill(b, c, at) for c in product(signs, n)]
        found = [f for f in found if valid(f)]
        right += found[:1]
    while len(wrong) < 40:
        number = r.choice(right)
        place = r.choice([i for i, s in enumerate(number) if s in D])
        changed = number[:place] + r.choice(D) + number[place + 1:]
        if not valid(changed):
            wrong.append(changed)
    out[kind] = {"before": CONTEXT.get(kind, "no. "), "right": right, "wrong": wrong}
# Of VAT numbers those whose check digits are public.
vat = {}
for country in "at be de dk ee fi fr gr hr hu it lu nl pl pt se si".split():
    module = util.get_cc_module(country, "vat")
    bodies = {
        "at": lambda: "U" + d(8), "be": lambda: "0" + d(9), "fr": lambda: d(11), "nl": lambda: d(9) + "B" + d(2),
        "it": lambda: d(7) + f"{r.randint(1, 95):03}" + d(1), "se": lambda: d(10) + "01", "hr": lambda: d(11),
        "gr": lambda: d(9), "pl": lambda: d(10), "de": lambda: d(9), "ee": lambda: d(9), "pt": lambda: r.choice("1235") + d(8),
    }
    body = bodies.get(country, lambda: d(8))
    prefix = {"gr": "EL"}.get(country, country.upper())
    right = []
    while len(right) < 10:
        number = prefix + body()
        if module.is_valid(number):
            right.append(number)
    vat[country] = right
out["vat_id"] = {"before": "", "right": [n for c in vat.values() for n in c], "wrong": []}
print(json.dumps(out, indent=0, ensure_ascii=False))
