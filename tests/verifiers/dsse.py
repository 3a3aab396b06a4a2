#!/usr/bin/env python3
"""dsse.py --key PUBLIC.pem|PUBLIC.ssh [--key …] [--threshold N] FILE…: signed documents (manifests, releases, trust roots) by
securesystemslib, which checks the envelope, and in-toto-attestation, which checks the statement in it. Needs requirements.txt."""

import argparse
import base64
import hashlib
import json
import sys

from cryptography.hazmat.primitives import serialization
from google.protobuf import json_format
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementBytes
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey


def public(path):
    """A key under the id that the envelopes have for it: of the SSH form, as ssh-keygen -l prints it."""
    with open(path, "rb") as file:
        text = file.read()
    load = serialization.load_ssh_public_key if text.startswith(b"ssh-") else serialization.load_pem_public_key
    key = load(text)
    ssh = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    digest = hashlib.sha256(base64.b64decode(ssh.split()[1])).digest()
    return SSlibKey.from_crypto(key, keyid="SHA256:" + base64.b64encode(digest).decode().rstrip("="))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--key", action="append", required=True)
    parser.add_argument("--threshold", type=int, default=1)
    parser.add_argument("files", nargs="+")
    asked = parser.parse_args()
    keys = [public(path) for path in asked.key]
    for path in asked.files:
        with open(path, encoding="utf-8") as file:
            envelope = Envelope.from_dict(json.load(file))
        if envelope.payload_type != "application/vnd.in-toto+json":
            raise ValueError(f"{path}: of another type of payload")
        signers = envelope.verify(keys, asked.threshold)
        statement = json_format.ParseDict(json.loads(envelope.payload), StatementBytes())
        Statement.copy_from_pb(statement).validate()
        # validate takes a digest of any length.
        if any(len(subject.digest["sha256"]) != 64 for subject in statement.subject):
            raise ValueError(f"{path}: a digest that is none")
        print(f"{path}: {statement.predicate_type}, signed by {len(signers)}")


if __name__ == "__main__":
    try:
        main()
    except (VerificationError, ValueError, KeyError, json_format.ParseError) as fault:
        sys.exit(f"NOT as it was signed: {fault}")
