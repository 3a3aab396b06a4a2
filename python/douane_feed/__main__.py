"""Prints what does not hold in a dumped topic, and how many rows its batches have."""

import json
import sys

from . import Manifests, Record, Refused, batches, findings


def main(path: str) -> int:
    with open(path, encoding="utf-8") as file:
        dump = json.load(file)

    def raw(text):
        return None if text is None else bytes.fromhex(text)

    manifests = Manifests(dump["topic"], dump["key"].encode())
    for one in dump["manifests"]:
        manifests.take(one["offset"], raw(one["key"]), raw(one["value"]))
    records = [
        Record(r["partition"], r["offset"], r["timestamp_ms"], raw(r["key"]), raw(r["value"]),
               [(name, raw(value)) for name, value in r["headers"]])
        for r in dump["records"]
    ]
    found = findings(manifests, records)
    rows = 0
    try:
        for batch in batches(manifests, records):
            rows += batch.num_rows
        refused = False
    except Refused:
        refused = True
    codes = sorted({one.code for one in found})
    print(json.dumps({"codes": codes, "rows": rows, "refused": refused}))
    return 1 if found else 0


sys.exit(main(sys.argv[1]))
