"""What outside bytes may look like: `python -m unittest` in this folder, with `cryptography` and `pyarrow`."""

import base64
import hashlib
import json
import unittest

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import douane_feed as feed
from douane_feed import tree

KEY = Ed25519PrivateKey.generate()
PEM = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
CANARY = "Wiebke-Canary"


def signed(predicate, kind=feed.MANIFEST) -> bytes:
    payload = feed._canonical(
        {"_type": feed.STATEMENT, "predicate": predicate, "predicateType": kind}
    )
    form = feed.PAYLOAD_TYPE.encode()
    message = b"DSSEv1 %d %s %d %s" % (len(form), form, len(payload), payload)
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
    said = {"v": 1, "id": f"{number:032x}", "salt": "00" * 16, "leaf": f"{number:064x}", "subjects": list(subjects)}
    if previous is not None:
        said["previous"] = f"{previous:032x}"
    return said["id"].encode(), signed(said)


def codes(given, low=0) -> list[str]:
    manifests = feed.Manifests("t", PEM)
    for offset, (key, value) in enumerate(given):
        manifests.take(offset, key, value, low)
    return [finding.code for finding in manifests.findings]


def root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it stands there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return tree._node(root(leaves[:k]), root(leaves[k:]))


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """Section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return path(m, leaves[:k]) + [root(leaves[k:])]
    return path(m - k, leaves[k:]) + [root(leaves[:k])]


def proof(m: int, leaves: list[bytes], whole=True) -> list[bytes]:
    """Section 2.1.2."""
    if m == len(leaves):
        return [] if whole else [root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return proof(m, leaves[:k], whole) + [root(leaves[k:])]
    return proof(m - k, leaves[k:], False) + [root(leaves[:k])]


def text(hashes) -> list[str]:
    return [base64.b64encode(one).decode() for one in hashes]


def bundle(number: int, leaves: list[bytes], before=0, previous=None, **more) -> tuple[bytes, bytes]:
    note = f"o\n{len(leaves)}\n{text([root(leaves)])[0]}\n\n\u2014 o AAAA\n"
    part = {"checkpoint": note, "consistency": text(proof(before, leaves) if before else [])}
    part.update(more.pop("part", {}))
    said = {"v": 1, "topic": "t", "pipeline": "p", "number": str(number), "previous": previous,
            "at_ms": str(number * 1000), "every_ms": "1000", "logs": [part], **more}
    return f"bundle/{number}".encode(), signed(said, feed.BUNDLE)


def digest(given: tuple[bytes, bytes]) -> str:
    return hashlib.sha256(base64.b64decode(json.loads(given[1])["payload"])).hexdigest()


def record(value) -> feed.Record:
    return feed.Record(0, 7, 1_000, b"k", value, [])


class Bytes(unittest.TestCase):
    def test_manifests_in_order_hold(self):
        self.assertEqual(codes([manifest(1), manifest(2, 1), manifest(3, 2)]), [])

    def test_a_later_beginning_excuses_no_gap(self):
        self.assertEqual(codes([manifest(1), manifest(3, 2)]), ["gap"])
        self.assertEqual(codes([manifest(1), manifest(3, 2)], low=5), ["cut", "gap"])
        self.assertEqual(codes([manifest(1), manifest(2, 1)], low=5), ["cut"])

    def test_every_proof_of_small_trees_holds_and_no_other(self):
        leaves = [bytes([n]) * 32 for n in range(1, 40)]
        trees = [tree.Tree("o", n, root(leaves[:n])) for n in range(40)]
        for size in range(1, 40):
            for index in range(size):
                way = path(index, leaves[:size])
                self.assertTrue(tree.holds(leaves[index], index, trees[size], way))
                self.assertFalse(tree.holds(b"x" * 32, index, trees[size], way))
                self.assertFalse(tree.holds(leaves[index], index, trees[size], way + [b"x" * 32]))
            for before in range(1, size):
                way = proof(before, leaves[:size])
                self.assertTrue(tree.goes_on(trees[before], trees[size], way))
                other = tree.Tree("o", before, b"x" * 32)
                self.assertFalse(tree.goes_on(other, trees[size], way))
                self.assertFalse(tree.goes_on(trees[before], tree.Tree("o", size, b"x" * 32), way))
                self.assertFalse(tree.goes_on(trees[before], trees[size], way[:-1]))

    def test_bundles_go_on_from_one_to_the_next(self):
        leaf = [bytes.fromhex(f"{n:064x}") for n in range(1, 9)]
        one = bundle(1, leaf[:3])
        inside = {"id": f"{5:032x}", "index": "4", "inclusion": text(path(4, leaf[:6]))}
        two = bundle(2, leaf[:6], 3, digest(one), part={"manifest": inside})
        given = [manifest(1), manifest(5, 1)]
        self.assertEqual(codes([*given, one, two]), [])
        manifests = feed.Manifests("t", PEM)
        for offset, (key, value) in enumerate([*given, one, two]):
            manifests.take(offset, key, value)
        self.assertEqual((manifests.bundles, manifests.stale(2000), manifests.stale(2001)), (2, False, True))
        self.assertTrue(feed.Manifests("t", PEM).stale(0))
        other = [b"y" * 32] + leaf[1:6]
        for code, frauds in (
            ("bundle_gap", [*given, two]),
            ("bundle_forked", [*given, one, two, bundle(2, leaf[:7], 6, digest(one))]),
            ("bundle_forked", [*given, one, bundle(2, leaf[:6], 3, "ab" * 32)]),
            ("bundle_doubled", [*given, one, one]),
            ("log_rolled_back", [*given, one, bundle(2, leaf[:2], 0, digest(one))]),
            ("log_forked", [*given, one, bundle(2, other, 3, digest(one))]),
            ("log_forked", [*given, one, bundle(2, other[:3], 0, digest(one))]),
            ("vanished", [manifest(1), one, two]),
            ("not_in_log", [*given, one, bundle(2, leaf[:6], 3, digest(one),
                                                part={"manifest": {**inside, "index": "3"}})]),
            ("wrong_key", [*given, (b"bundle/2", one[1])]),
            ("foreign", [*given, bundle(1, leaf[:3], topic="another")]),
            ("unsigned", [*given, (b"bundle/1", manifest(9)[1])]),
            ("unsigned", [*given, bundle(1, leaf[:3], at_ms="1001")]),
            ("unsigned", [*given, bundle(1, leaf[:3], logs=[])]),
        ):
            self.assertEqual(codes(frauds), [code], code)
        seen = {"checkpoint": json.loads(base64.b64decode(json.loads(one[1])["payload"]))["predicate"]["logs"][0]
                ["checkpoint"], "consistency": text(proof(3, leaf[:6]))}
        well = bundle(2, leaf[:6], 3, digest(one), part={"cosigned": seen})
        self.assertEqual(codes([*given, one, well]), [])
        torn = bundle(2, leaf[:6], 3, digest(one), part={"cosigned": {**seen, "consistency": []}})
        self.assertEqual(codes([*given, one, torn]), ["cosigned_forked"])

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
