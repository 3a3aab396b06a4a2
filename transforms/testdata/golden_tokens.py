#!/usr/bin/env python3
"""Makes golden_tokens.json from the text of the token format alone (standard library only).

root = 32 bytes of 7; key = HKDF-SHA-256(root, no salt, tuple("douane/v1/token-hmac", domain));
token = HMAC-SHA-256(key, tuple(domain, version, canonical text))[:16]; tuple: a type byte
(t text, u unsigned 64-bit), 4 bytes of length, the bytes.
"""
import base64, hashlib, hmac, json, pathlib, uuid

here = pathlib.Path(__file__).parent
domains = json.loads((here / "golden_domains.json").read_text())["domains"]
ROOT = bytes([7]) * 32


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def text(s):
    b = s.encode()
    return b"t" + len(b).to_bytes(4, "big") + b


def number(n):
    return b"u" + (8).to_bytes(4, "big") + n.to_bytes(8, "big")


def derive(domain):
    prk = mac(bytes(32), ROOT)
    return mac(prk, text("douane/v1/token-hmac") + text(domain) + b"\x01")


def base62(n):
    signs = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    out = ""
    for _ in range(22):
        n, r = divmod(n, 62)
        out = signs[r] + out
    return out


def uuid8(b):
    b = bytearray(b)
    b[6] = b[6] & 0x0F | 0x80
    b[8] = b[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(b)))


FORMS = {
    "base32": lambda b: base64.b32encode(b).decode().rstrip("=").lower(),
    "base62": lambda b: base62(int.from_bytes(b, "big")),
    "uuid": uuid8,
    "decimal": lambda b: f"{int.from_bytes(b, 'big'):039d}",
}

# domain, canonical text, carriers (leaf type, value; dates in days)
CASES = [
    ("plain", "7", [("int16", "7"), ("int32", "7"), ("int64", "7"), ("text", "7"), ("decimal(10,0)", "7"), ("decimal(50,0)", "7"), ("variable_scale_decimal", "7")]),
    ("plain", "-7340012", [("int32", "-7340012"), ("int64", "-7340012"), ("text", "-7340012"), ("decimal(20,0)", "-7340012")]),
    ("plain", "9223372036854775807", [("int64", "9223372036854775807"), ("text", "9223372036854775807"), ("decimal(38,0)", "9223372036854775807")]),
    ("plain", "19.80", [("decimal(10,2)", "19.80"), ("text", "19.80"), ("decimal(40,2)", "19.80")]),
    ("plain", "2022-01-08", [("date", "19000"), ("text", "2022-01-08")]),
    ("plain", "", [("text", "")]),
    ("plain", "x" * 200, [("text", "x" * 200)]),
    ("plain_two", "7", [("int64", "7"), ("text", "7")]),
    ("name", "Jürgen", [("text", "Ju\u0308rgen"), ("text", "Jürgen")]),
    ("email", "ada@example.com", [("text", "Ada@Example.com"), ("text", " ada@example.com ")]),
    ("email", "jürgen@example.de", [("text", "JÜRGEN@example.de"), ("text", "JU\u0308RGEN@EXAMPLE.DE")]),
    ("phone", "+4915112345678", [("text", "+49 (0)151 123 456 78"), ("text", "0049 151 12345678"), ("text", "+4915112345678")]),
    ("phone", "+12025550123", [("text", "+1 202 555 0123"), ("text", "+1 (202) 555-0123")]),
    ("amount", "7", [("int64", "7"), ("decimal(10,2)", "7.00"), ("text", "+07.0"), ("variable_scale_decimal", "7.000")]),
    ("amount", "19.8", [("decimal(10,2)", "19.80"), ("decimal(10,3)", "19.800"), ("text", "19.8")]),
]

out = []
for domain, canonical, inputs in CASES:
    d = domains[domain]
    message = text(domain) + number(d.get("version", 1)) + text(canonical)
    token = FORMS[d.get("form", "base32")](mac(derive(domain), message)[:16])
    out.append({"domain": domain, "token": token, "inputs": inputs})
(here / "golden_tokens.json").write_text(json.dumps(out, indent=1, ensure_ascii=True) + "\n")
