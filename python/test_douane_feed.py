"""What outside bytes may look like: `python -m unittest` in this folder, with `cryptography` and `pyarrow`."""

import base64
import json
import unittest

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import douane_feed as feed

KEY = Ed25519PrivateKey.generate()
PEM = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
CANARY = "Wiebke-Canary"


def signed(predicate) -> bytes:
    payload = feed._canonical(
        {"_type": feed.STATEMENT, "predicate": predicate, "predicateType": feed.MANIFEST}
    )
    kind = feed.PAYLOAD_TYPE.encode()
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    return feed._canonical(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": feed.PAYLOAD_TYPE,
            "signatures": [
                {
                    "keyid": feed._keyid(KEY.public_key()),
                    "sig": base64.b64encode(KEY.sign(message)).decode(),
                }
            ],
        }
    )


def manifest(number: int, previous=None, subjects=()) -> tuple[bytes, bytes]:
    said = {"v": 1, "id": f"{number:032x}", "salt": "00" * 16, "subjects": list(subjects)}
    if previous is not None:
        said["previous"] = f"{previous:032x}"
    return said["id"].encode(), signed(said)


def codes(given, low=0) -> list[str]:
    manifests = feed.Manifests("t", PEM)
    for offset, (key, value) in enumerate(given):
        manifests.take(offset, key, value, low)
    return [finding.code for finding in manifests.findings]


def record(value) -> feed.Record:
    return feed.Record(0, 7, 1_000, b"k", value, [])


class Bytes(unittest.TestCase):
    def test_manifests_in_order_hold(self):
        self.assertEqual(codes([manifest(1), manifest(2, 1), manifest(3, 2)]), [])

    def test_a_later_beginning_excuses_no_gap(self):
        self.assertEqual(codes([manifest(1), manifest(3, 2)]), ["gap"])
        self.assertEqual(codes([manifest(1), manifest(3, 2)], low=5), ["cut", "gap"])
        self.assertEqual(codes([manifest(1), manifest(2, 1)], low=5), ["cut"])

    def test_whatever_is_no_manifest_is_unsigned(self):
        deep = b"[" * 200_000 + b"]" * 200_000
        odd = [b"", b"null", b"1", b"[]", b"{}", b"\xff", deep, b'"\\ud800"', None, b"9" * 5_000]
        for key in ("payload", "payloadType", "signatures"):
            for value in (None, 1, [], {}, [1], [None], [{"keyid": 1, "sig": []}]):
                document = json.loads(manifest(1)[1])
                document[key] = value
                odd.append(feed._canonical(document))
        for predicate in (None, 1, [], {}, {"v": 1}, {"v": 1, "id": 3, "salt": None, "subjects": 1}):
            odd.append(signed(predicate))
        odd.append(signed({"v": 1, "id": "ab", "salt": "00" * 16, "subjects": []}))
        for value in odd:
            self.assertEqual(codes([(b"k", value)]), ["unsigned"], (value or b"")[:80])

    def test_no_cell_is_in_what_is_raised(self):
        for value in (
            [{"a": 1}, {"a": CANARY}],
            [{"a": {"b": CANARY}}, {"a": 1}],
            [{"a": 2**80}, {"a": CANARY}],
            [CANARY],
            [{"_key": CANARY}],
            [{"_deleted": CANARY}],
        ):
            records = [record(json.dumps(one).encode()) for one in value]
            with self.assertRaises(feed.Refused) as raised:
                feed._batch(records)
            self.assertIsNone(raised.exception.__cause__)
            self.assertIsNone(raised.exception.__context__)
            self.assertNotIn(CANARY, str(raised.exception))
        with self.assertRaises(feed.Refused):
            feed._batch([record(b"no JSON")])
        self.assertEqual(feed._batch([record(b'{"a": 1}')]).num_rows, 1)

    def test_a_shard_that_is_gone_behind_the_front_is_missing(self):
        subject = {"topic": "t", "partition": 0, "count": "1", "digest": "00" * 32}
        manifests = feed.Manifests("t", PEM)
        order = [(1, None), (2, 1), (11, None), (3, 2), (12, 11)]
        for offset, (number, previous) in enumerate(order):
            manifests.take(offset, *manifest(number, previous, [subject]))
        self.assertEqual(manifests.findings, [])
        for there, missing in (((1, 2, 3), 2), ((2, 3), 1), ((3, 12), 0), ((2, 3, 11, 12), 0)):
            lane = feed.Lane(manifests, 0)
            for number in there:
                name = f"{number:032x}"
                lane._done.add(name)
                chain = manifests.by_id[name].chain
                lane._first.setdefault(chain, manifests.by_id[name].depth)
            self.assertEqual(len(lane.finish(low=1)), missing, there)


if __name__ == "__main__":
    unittest.main()
