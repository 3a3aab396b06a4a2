"""What crossed into a global topic, held against its manifests, with the place's public key alone.

Written from docs/formats.md, beside the implementation in Rust and not after it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import Iterable, Iterator, NamedTuple, Optional, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .tree import Tree, goes_on, holds

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
MANIFEST = "https://github.com/douane/douane/attestation/manifest/v1"
BUNDLE = "https://github.com/douane/douane/attestation/bundle/v1"
HEADER = "douane-manifest"


class Record(NamedTuple):
    """A committed record. Headers are pairs of name and value, which may be None."""

    partition: int
    offset: int
    timestamp_ms: int
    key: Optional[bytes]
    value: Optional[bytes]
    headers: Sequence[tuple[str, Optional[bytes]]]


class Finding(NamedTuple):
    """What does not hold, and where. Never a value."""

    code: str
    place: str


class Refused(Exception):
    """Something is not as it was signed."""

    def __init__(self, findings: list[Finding]):
        super().__init__("; ".join(f"{f.code} at {f.place}" for f in findings[:10]))
        self.findings = findings


class _Unsigned(Exception):
    pass


# What bytes of any form may raise on their way through the checks below: none of it is signed.
_MALFORMED = (_Unsigned, TypeError, KeyError, AttributeError, ValueError, RecursionError)


def _canonical(value) -> bytes:
    # RFC 8785 for what these documents hold: text, small integers, no floats, ASCII names.
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def _document(data: bytes):
    try:
        value = json.loads(data)
    except ValueError as error:
        raise _Unsigned("no JSON") from error
    if _canonical(value) != data:
        raise _Unsigned("not canonical")
    return value


def _strict(text) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (TypeError, ValueError) as error:
        raise _Unsigned("not base64") from error
    if base64.b64encode(raw).decode() != text:
        raise _Unsigned("not strict base64")
    return raw


def _keyid(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    name = b"ssh-ed25519"
    wire = struct.pack(">I", len(name)) + name + struct.pack(">I", len(raw)) + raw
    return "SHA256:" + base64.b64encode(hashlib.sha256(wire).digest()).decode().rstrip("=")


def _verified(envelope: bytes, key: Ed25519PublicKey, kind: str) -> tuple[dict, str]:
    """The predicate of an envelope that the key alone signed, and the digest of its payload."""
    document = _document(envelope.removesuffix(b"\n"))
    if not isinstance(document, dict):
        raise _Unsigned("no envelope")
    if set(document) != {"payload", "payloadType", "signatures"}:
        raise _Unsigned("no envelope")
    if document["payloadType"] != PAYLOAD_TYPE or len(document["signatures"]) != 1:
        raise _Unsigned("payload type or signatures")
    signature = document["signatures"][0]
    if set(signature) != {"keyid", "sig"} or signature["keyid"] != _keyid(key):
        raise _Unsigned("another signer")
    payload = _strict(document["payload"])
    form = PAYLOAD_TYPE.encode()
    message = b"DSSEv1 %d %s %d %s" % (len(form), form, len(payload), payload)
    try:
        key.verify(_strict(signature["sig"]), message)
    except InvalidSignature as error:
        raise _Unsigned("signature") from error
    statement = _document(payload)
    if statement.get("_type") != STATEMENT or statement.get("predicateType") != kind:
        raise _Unsigned("another statement")
    predicate = statement["predicate"]
    if predicate.get("v") != 1:
        raise _Unsigned("another version")
    return predicate, hashlib.sha256(payload).hexdigest()


def _note(text: str) -> Tree:
    """What a C2SP checkpoint says, without its signatures."""
    body, _, _ = text.partition("\n\n")
    origin, size, root = body.split("\n")
    note = Tree(origin, int(size), _strict(root))
    if not origin or str(note.size) != size or note.size < 0 or len(note.root) != 32:
        raise _Unsigned("no checkpoint")
    return note


def _hashes(proof) -> list[bytes]:
    hashes = [_strict(one) for one in proof]
    if len(hashes) > 63 or any(len(one) != 32 for one in hashes):
        raise _Unsigned("no proof")
    return hashes


class _Manifest(NamedTuple):
    id: str
    salt: bytes
    offset: int
    chain: int
    depth: int
    subjects: dict[int, tuple[int, str]]
    leaf: bytes


class Manifests:
    """Every manifest of a topic, in the order of their offsets."""

    def __init__(self, topic: str, public_key_pem: bytes):
        key = serialization.load_pem_public_key(public_key_pem)
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("expected an Ed25519 public key")
        self.topic, self._key = topic, key
        self.by_id: dict[str, _Manifest] = {}
        self._heads: list[str] = []
        self._cut = False
        self.findings: list[Finding] = []
        # Bundles of checkpoints: how many, the newest one's number, digest and tick, and where each log stands.
        self.bundles = 0
        self.bundled_at_ms: Optional[int] = None
        self._number, self._digest = 0, None
        self._known: set[str] = set()
        self._logs: dict[str, Tree] = {}

    def take(self, offset: int, key: Optional[bytes], value: Optional[bytes], low: int = 0):
        """Takes the next one. `low`: the first offset of the manifest topic's log. It is kept
        forever, so a log that begins later was cut."""
        place = f"{self.topic}.manifest@{offset}"
        if low > 0 and not self._cut:
            self._cut = True
            self.findings.append(Finding("cut", f"{self.topic}.manifest@{low}"))
        if key is not None and key.startswith(b"bundle/"):
            return self._bundle(place, offset, key, value or b"")
        try:
            said, _ = _verified(value or b"", self._key, MANIFEST)
            name, salt = said["id"], bytes.fromhex(said["salt"])
            if len(bytes.fromhex(name)) != 16 or len(salt) != 16:
                raise _Unsigned("id or salt")
            leaf = bytes.fromhex(said["leaf"])
            if len(leaf) != 32:
                raise _Unsigned("leaf")
            topics = {s["topic"] for s in said["subjects"]}
            subjects = {s["partition"]: (int(s["count"]), s["digest"]) for s in said["subjects"]}
        except _MALFORMED:
            self.findings.append(Finding("unsigned", place))
            return
        code = None
        if key != name.encode():
            code = "wrong_key"
        elif topics - {self.topic}:
            code = "foreign"
        elif name in self.by_id:
            code = "doubled"
        if code:
            self.findings.append(Finding(code, place))
            return
        previous = said.get("previous")
        before = self.by_id.get(previous) if previous else None
        if before and self._heads[before.chain] == before.id:
            chain, depth = before.chain, before.depth + 1
            self._heads[chain] = name
        else:
            if previous:
                self.findings.append(Finding("forked" if before else "gap", place))
            chain, depth = len(self._heads), 0
            self._heads.append(name)
        self.by_id[name] = _Manifest(name, salt, offset, chain, depth, subjects, leaf)

    def _bundle(self, place: str, offset: int, key: bytes, value: bytes) -> None:
        """A bundle: after the one before it, each log goes on, and holds the manifest that is named."""
        try:
            said, digest = _verified(value, self._key, BUNDLE)
            number, at_ms, every_ms = (int(said[name]) for name in ("number", "at_ms", "every_ms"))
            previous, topic = said["previous"], said["topic"]
            if number < 1 or (number == 1) != (previous is None) or at_ms % every_ms:
                raise _Unsigned("no bundle")
            parts = [self._log(one) for one in said["logs"]]
            origins = [note.origin for note, *_ in parts]
            if not origins or sorted(set(origins)) != origins:
                raise _Unsigned("logs")
        except (*_MALFORMED, ZeroDivisionError):
            self.findings.append(Finding("unsigned", place))
            return

        def wrong(code: str) -> None:
            self.findings.append(Finding(code, place))

        if key != b"bundle/%d" % number:
            return wrong("wrong_key")
        if topic != self.topic:
            return wrong("foreign")
        if digest in self._known:
            return wrong("bundle_doubled")
        if number > self._number + 1:
            wrong("bundle_gap")
        elif number <= self._number or previous != self._digest:
            wrong("bundle_forked")
            if number <= self._number:
                return
        stands = {}
        for note, consistency, cosigned, named in parts:
            code = self._look(note, consistency, cosigned, named, offset)
            if code:
                wrong(code)
            stood = self._logs.get(note.origin)
            if not code or stood:
                stands[note.origin] = stood if code else note
        for origin in self._logs.keys() - set(origins):
            wrong("log_rolled_back")
        self._known.add(digest)
        self.bundles, self.bundled_at_ms = self.bundles + 1, at_ms
        self._number, self._digest, self._logs = number, digest, stands

    @staticmethod
    def _log(one):
        cosigned, named = one.get("cosigned"), one.get("manifest")
        if cosigned is not None:
            cosigned = (_note(cosigned["checkpoint"]), _hashes(cosigned["consistency"]))
        if named is not None:
            named = (named["id"], int(named["index"]), _hashes(named["inclusion"]))
        return _note(one["checkpoint"]), _hashes(one["consistency"]), cosigned, named

    def _look(self, note, consistency, cosigned, named, offset) -> Optional[str]:
        before = self._logs.get(note.origin)
        if before and note.size < before.size:
            return "log_rolled_back"
        if before and not goes_on(before, note, consistency):
            return "log_forked"
        if cosigned and cosigned[0].origin != note.origin:
            return "log_checkpoint"
        if cosigned and not goes_on(cosigned[0], note, cosigned[1]):
            return "cosigned_forked"
        if named:
            manifest = self.by_id.get(named[0])
            if manifest is None or manifest.offset >= offset:
                return "vanished"
            if not holds(manifest.leaf, named[1], note, named[2]):
                return "not_in_log"
        return None

    def stale(self, since_ms: int) -> bool:
        """Whether the newest bundle is of before this time: newer ones were taken out, or none was made."""
        return self.bundled_at_ms is None or self.bundled_at_ms < since_ms


def _part(data: Optional[bytes]) -> bytes:
    return b"\0" if data is None else b"\1" + struct.pack(">I", len(data)) + data


def _encoded(record: Record) -> bytes:
    parts = [struct.pack(">iq", record.partition, record.timestamp_ms)]
    parts += [_part(record.key), _part(record.value), struct.pack(">I", len(record.headers))]
    for name, value in record.headers:
        raw = name.encode()
        parts += [struct.pack(">I", len(raw)), raw, _part(value)]
    return b"".join(parts)


class Lane:
    """One partition of the data, in the order of its offsets."""

    def __init__(self, manifests: Manifests, partition: int):
        self._manifests, self.partition = manifests, partition
        self._open: dict[str, tuple] = {}
        self._done: set[str] = set()
        self._newest: dict[int, int] = {}
        self._first: dict[int, int] = {}
        self._unknown: set[str] = set()
        self.findings: list[Finding] = []

    def record(self, record: Record) -> Optional[list[Record]]:
        """Takes the next one. Gives a transaction's records once all of them are verified."""
        place = f"{self._manifests.topic}[{self.partition}]@{record.offset}"

        def wrong(code: str) -> None:
            self.findings.append(Finding(code, place))

        named = [value for name, value in record.headers if name == HEADER]
        if len(named) != 1 or not named[0] or len(named[0]) != 32:
            return wrong("no_manifest")
        name = named[0].decode("ascii", "replace")
        manifest = self._manifests.by_id.get(name)
        if manifest is None:
            if name not in self._unknown:
                self._unknown.add(name)
                wrong("unknown_manifest")
            return None
        if manifest.depth < self._newest.get(manifest.chain, 0):
            return wrong("order")
        if self.partition not in manifest.subjects:
            return wrong("not_named")
        self._newest[manifest.chain] = manifest.depth
        self._first.setdefault(manifest.chain, manifest.depth)
        if name in self._done:
            return wrong("added")
        count, signed = manifest.subjects[self.partition]
        if name not in self._open:
            self._open[name] = (hashlib.sha256(manifest.salt + b"douane-records-v1\n"), [])
        digest, records = self._open[name]
        digest.update(_encoded(record))
        records.append(record)
        if len(records) < count:
            return None
        del self._open[name]
        self._done.add(name)
        if digest.hexdigest() != signed:
            return wrong("changed")
        return records

    def finish(self, low: int = 0) -> list[Finding]:
        """All that is there has come. `low`: the first offset of the partition's log."""
        counts: dict[int, int] = {}
        for manifest in self._manifests.by_id.values():
            if self.partition not in manifest.subjects:
                continue
            passed = max(counts.values(), default=0) > 1
            if manifest.id in self._done or manifest.id in self._open:
                counts[manifest.chain] = counts.get(manifest.chain, 0) + 1
            if manifest.id in self._done:
                continue
            first = self._first.get(manifest.chain)
            # Retention takes records from the front, which is not reached where two transactions
            # of another log that were signed earlier still lie here.
            if low > 0 and not passed and (first is None or manifest.depth <= first):
                continue
            place = f"{self._manifests.topic}[{self.partition}], manifest {manifest.id}"
            self.findings.append(Finding("missing", place))
        return self.findings


def _batch(records: list[Record]):
    # Neither a cell nor what a library says of one leaves here.
    first = records[0]
    place = f"[{first.partition}]@{first.offset}"
    try:
        return _columns(records, place)
    except Refused:
        raise
    except Exception:  # pyarrow's faults are of many classes, and quote the cell
        pass
    raise Refused([Finding("no_columns", place)]) from None


def _columns(records: list[Record], place: str):
    import pyarrow as pa

    keys = pa.array([None if r.key is None else r.key.decode() for r in records], pa.string())
    deleted = pa.array([r.value is None for r in records], pa.bool_())
    times = pa.array([r.timestamp_ms for r in records], pa.timestamp("ms", "UTC"))
    columns = {"_key": keys, "_deleted": deleted, "_timestamp": times}
    if any(r.value is not None and r.value[:1] == b"\0" for r in records):
        columns["value"] = pa.array([r.value for r in records], pa.binary())
    else:
        rows = [json.loads(r.value) if r.value is not None else {} for r in records]
        for name in {name: None for row in rows for name in row}:
            if name in columns:
                raise Refused([Finding("column_name", place)])
            columns[name] = pa.array([row.get(name) for row in rows])
    return pa.record_batch(columns)


def batches(manifests: Manifests, records: Iterable[Record]) -> Iterator:
    """Arrow batches of whole, verified transactions. Raises `Refused`."""
    if manifests.findings:
        raise Refused(manifests.findings)
    lanes: dict[int, Lane] = {}
    for record in records:
        if record.partition not in lanes:
            lanes[record.partition] = Lane(manifests, record.partition)
        whole = lanes[record.partition].record(record)
        if lanes[record.partition].findings:
            raise Refused(lanes[record.partition].findings)
        if whole:
            yield _batch(whole)
    # A partition that brought nothing may lack everything.
    for partition in {p for m in manifests.by_id.values() for p in m.subjects}:
        lane = lanes.get(partition) or Lane(manifests, partition)
        if lane.finish():
            raise Refused(lane.findings)


def findings(manifests: Manifests, records: Iterable[Record]) -> list[Finding]:
    """All that does not hold."""
    lanes: dict[int, Lane] = {}
    for record in records:
        lanes.setdefault(record.partition, Lane(manifests, record.partition)).record(record)
    for partition in {p for m in manifests.by_id.values() for p in m.subjects}:
        lanes.setdefault(partition, Lane(manifests, partition))
    found = list(manifests.findings)
    for lane in lanes.values():
        found += lane.finish()
    return found
