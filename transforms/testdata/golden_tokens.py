#!/usr/bin/env python3
"""Makes golden_tokens.json from the text of the token format alone (standard library only).

root = 32 bytes of 7; key = HKDF-SHA-256(root, no salt, tuple("douane/v1/<purpose>", domain));
tuple: a type byte (t text, u unsigned 64-bit), 4 bytes of length, the bytes.

hmac_sha256: purpose token-hmac, token = HMAC-SHA-256(key, tuple(domain, version, text))[:16].
aes_cmac:    purpose token-cmac, token = AES-256-CMAC(key, the same tuple).
aes_siv:     purpose token-siv, K1 and K2 = HKDF-Expand(key, tuple("douane/v1/pair"), 64),
             token = byte 1 (number of the key), then AES-SIV (RFC 5297) of text, 0x80 and zeros up
             to the bucket, with associated data tuple(domain, version, 1).
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


def derive(purpose, domain):
    prk = mac(bytes(32), ROOT)
    return mac(prk, text("douane/v1/" + purpose) + text(domain) + b"\x01")


# AES (FIPS 197), from the definition: slow, and short enough to be read.
def xtime(a):
    return (a << 1 ^ 0x1B) & 0xFF if a & 0x80 else a << 1


def gmul(a, b):
    out = 0
    while b:
        if b & 1:
            out ^= a
        a, b = xtime(a), b >> 1
    return out


def sbox(a):
    inverse = next((b for b in range(256) if gmul(a, b) == 1), 0)
    out = 0x63
    for i in range(5):
        out ^= (inverse << i | inverse >> (8 - i)) & 0xFF
    return out


SBOX = [sbox(a) for a in range(256)]


def schedule(key):
    words = [list(key[i : i + 4]) for i in range(0, len(key), 4)]
    nk, rcon = len(words), 1
    for i in range(nk, 4 * (nk + 7)):
        w = list(words[-1])
        if i % nk == 0:
            w = [SBOX[b] for b in w[1:] + w[:1]]
            w[0] ^= rcon
            rcon = xtime(rcon)
        elif nk > 6 and i % nk == 4:
            w = [SBOX[b] for b in w]
        words.append([a ^ b for a, b in zip(w, words[-nk])])
    return [sum(words[i : i + 4], []) for i in range(0, len(words), 4)]


def aes(key, block):
    keys = schedule(key)
    s = [a ^ b for a, b in zip(block, keys[0])]
    for n, k in enumerate(keys[1:], 1):
        s = [SBOX[b] for b in s]
        s = [s[(i + 4 * (i % 4)) % 16] for i in range(16)]
        if n + 1 < len(keys):
            s = [
                gmul(s[c + r], 2) ^ gmul(s[c + (r + 1) % 4], 3) ^ s[c + (r + 2) % 4] ^ s[c + (r + 3) % 4]
                for c in range(0, 16, 4)
                for r in range(4)
            ]
        s = [a ^ b for a, b in zip(s, k)]
    return bytes(s)


assert aes(bytes(range(32)), bytes.fromhex("00112233445566778899aabbccddeeff")).hex() == (
    "8ea2b7ca516745bfeafc49904b496089"  # FIPS 197, C.3
)


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


def dbl(b):
    n = int.from_bytes(b, "big") << 1
    return (n & (1 << 128) - 1 ^ (0x87 if n >> 128 else 0)).to_bytes(16, "big")


def cmac(key, data):
    k1 = dbl(aes(key, bytes(16)))
    if data and len(data) % 16 == 0:
        data = data[:-16] + xor(data[-16:], k1)
    else:
        data += b"\x80" + bytes(15 - len(data) % 16)
        data = data[:-16] + xor(data[-16:], dbl(k1))
    state = bytes(16)
    for i in range(0, len(data), 16):
        state = aes(key, xor(state, data[i : i + 16]))
    return state


def siv(k1, k2, header, plain):
    d = xor(dbl(cmac(k1, bytes(16))), cmac(k1, header))
    assert len(plain) >= 16
    iv = cmac(k1, plain[:-16] + xor(plain[-16:], d))
    counter = int.from_bytes(iv, "big") & ~(1 << 63 | 1 << 31)
    blocks = range(0, len(plain), 16)
    stream = b"".join(aes(k2, ((counter + i // 16) % (1 << 128)).to_bytes(16, "big")) for i in blocks)
    return iv + xor(plain, stream)


def token_bytes(d, domain, canonical):
    head = text(domain) + number(d.get("version", 1))
    algorithm = d.get("algorithm", "hmac_sha256")
    if algorithm == "hmac_sha256":
        return mac(derive("token-hmac", domain), head + text(canonical))[:16]
    if algorithm == "aes_cmac":
        return cmac(derive("token-cmac", domain), head + text(canonical))
    key = derive("token-siv", domain)
    first = mac(key, text("douane/v1/pair") + b"\x01")
    second = mac(key, first + text("douane/v1/pair") + b"\x02")
    plain = canonical.encode() + b"\x80"
    bucket = d.get("pad_to", 16)
    while bucket < len(plain):
        bucket *= 2
    return b"\x01" + siv(first, second, head + number(1), plain.ljust(bucket, b"\0"))


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
    "base64url": lambda b: base64.urlsafe_b64encode(b).decode().rstrip("="),
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
    ("iban", "DE00123456789012345678", [("text", "de00 1234 5678 9012 3456 78"), ("text", "DE00123456789012345678")]),
    ("fast", "7", [("int16", "7"), ("int64", "7"), ("text", "7"), ("decimal(10,0)", "7"), ("decimal(50,0)", "7")]),
    ("fast", "", [("text", "")]),
    ("fast", "2022-01-08", [("date", "19000"), ("text", "2022-01-08")]),
    ("fast", "x" * 5, [("text", "x" * 5)]),
    ("fast", "x" * 200, [("text", "x" * 200)]),
    ("fast_email", "jürgen@example.de", [("text", "JÜRGEN@example.de"), ("text", "JU\u0308RGEN@EXAMPLE.DE")]),
    ("back", "7", [("int16", "7"), ("int64", "7"), ("text", "7"), ("decimal(10,0)", "7"), ("decimal(50,0)", "7")]),
    ("back", "", [("text", "")]),
    ("back", "-7340012", [("int32", "-7340012"), ("text", "-7340012")]),
    ("back", "fifteen letters", [("text", "fifteen letters")]),
    ("back", "sixteen letters!", [("text", "sixteen letters!")]),
    ("back", "x" * 200, [("text", "x" * 200)]),
    ("back_email", "ada@example.com", [("text", "Ada@Example.com"), ("text", " ada@example.com ")]),
    ("amount", "19.8", [("decimal(10,2)", "19.80"), ("decimal(10,3)", "19.800"), ("text", "19.8")]),
]

out = []
for domain, canonical, inputs in CASES:
    d = domains[domain]
    token = FORMS[d.get("form", "base32")](token_bytes(d, domain, canonical))
    out.append({"domain": domain, "token": token, "inputs": inputs})
(here / "golden_tokens.json").write_text(json.dumps(out, indent=1, ensure_ascii=True) + "\n")
