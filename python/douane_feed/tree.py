"""Merkle trees of RFC 9162: whether a proof leads to a tree, from a leaf or from an older tree."""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Optional


class Tree(NamedTuple):
    """A log as a checkpoint has it: its name, how many entries, their root."""

    origin: str
    size: int
    root: bytes


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _climb(path: list[bytes], at: int, last: int, roots: list[bytes]) -> Optional[list[bytes]]:
    """RFC 9162, sections 2.1.3.2 and 2.1.4.2: the roots that a path leads to; only the last one takes what
    lies to the right."""
    for step in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            roots = [_node(step, root) for root in roots]
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            roots[-1] = _node(roots[-1], step)
        at, last = at >> 1, last >> 1
    return roots if last == 0 else None


def holds(leaf: bytes, index: int, tree: Tree, proof: list[bytes]) -> bool:
    if not 0 <= index < tree.size:
        return False
    return _climb(proof, index, tree.size - 1, [leaf]) == [tree.root]


def goes_on(before: Tree, tree: Tree, proof: list[bytes]) -> bool:
    if before.size == tree.size:
        return before.root == tree.root and not proof
    if before.size == 0:
        return not proof
    if before.size > tree.size:
        return False
    if before.size & (before.size - 1) == 0:
        proof = [before.root] + proof
    if not proof:
        return False
    at, last = before.size - 1, tree.size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    return _climb(proof[1:], at, last, [proof[0], proof[0]]) == [before.root, tree.root]
