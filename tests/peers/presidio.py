#!/usr/bin/env python3
"""tests/peers/presidio.py FILE [--card CARD] [--rate RATE]: Presidio on a file of labelled text.

Installs presidio-analyzer (the version below) from PyPI into a virtual environment of its own in
~/.cache/douane-peers (or DOUANE_PEERS), runs it over FILE, a JSON list as `douane scorecard`
reads it, and prints recall, precision and F1 of each kind by the same rule: a label is found where
a find of its kind shares a character with it. CARD is what `douane scorecard --format json` said
of the same file, RATE what the example `scan_rate` printed: then both sides stand side by side.

Presidio's recognisers of patterns run as they come, with a blank tokeniser of spaCy's in place of
a language model, for models are not on PyPI. So Presidio finds no names, places or nationalities
here, and nothing is said of those; it also runs faster than with a model. DOUANE_PRESIDIO_MODEL
names a model that somebody installed into that environment: then it is used.

What Presidio thinks little of, it says with a low score. Each kind is scored at the threshold
that is best for Presidio there, of those below; the table names it.
"""
import argparse
import json
import logging
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

VERSION = "2.2.366"
THRESHOLDS = [0.0, 0.2, 0.35, 0.4, 0.5, 0.6, 0.8]
# Presidio's entity, our kind, words of labelled text for it.
KINDS = [
    ("EMAIL_ADDRESS", "email", ["EMAIL_ADDRESS", "EMAIL"]),
    ("PHONE_NUMBER", "phone", ["PHONE_NUMBER", "PHONE"]),
    ("CREDIT_CARD", "card", ["CREDIT_CARD", "CARD"]),
    ("IBAN_CODE", "iban", ["IBAN_CODE", "IBAN"]),
    ("US_SSN", "us_ssn", ["US_SSN"]),
    ("IP_ADDRESS", "ip", ["IP_ADDRESS", "IP"]),
    ("URL", "url", ["DOMAIN_NAME", "URL"]),
    ("US_DRIVER_LICENSE", "us_driver_license", ["US_DRIVER_LICENSE"]),
    ("CRYPTO", "crypto_address", ["CRYPTO", "CRYPTO_ADDRESS"]),
    ("MAC_ADDRESS", "mac", ["MAC_ADDRESS", "MAC"]),
    ("PERSON", "person", ["PERSON"]),
    ("LOCATION", "location", ["GPE", "LOCATION"]),
]


def home():
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    return Path(os.environ.get("DOUANE_PEERS", cache + "/douane-peers")) / "presidio"


def inside():
    """Goes on in the environment, made on the first call."""
    python = home() / "bin" / "python"
    if Path(sys.prefix).resolve() == home().resolve():
        return
    if not python.exists():
        venv.create(home(), with_pip=True)
    # So that a run that was cut off while installing is mended by the next.
    have = subprocess.run([python, "-c", "import presidio_analyzer"], capture_output=True)
    if have.returncode != 0:
        pip = [python, "-m", "pip", "install", "--quiet", f"presidio-analyzer=={VERSION}"]
        subprocess.run(pip, check=True)
    os.execv(python, [str(python), *sys.argv])


def analyzer():
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine, NlpEngineProvider

    model = os.environ.get("DOUANE_PRESIDIO_MODEL")
    if model:
        settings = {"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": model}]}
        engine = NlpEngineProvider(nlp_configuration=settings).create_engine()
        return AnalyzerEngine(nlp_engine=engine, supported_languages=["en"]), model

    import spacy

    class Blank(NlpEngine):
        """Words and their places, so that words of context count; no entities."""

        def __init__(self):
            self.nlp = spacy.blank("en")

        def load(self):
            pass

        def is_loaded(self):
            return True

        def process_text(self, text, language):
            doc = self.nlp(text)
            return NlpArtifacts(
                entities=[],
                tokens=doc,
                tokens_indices=[token.idx for token in doc],
                lemmas=[token.text.lower() for token in doc],
                nlp_engine=self,
                language=language,
                scores=[],
            )

        def process_batch(self, texts, language, **_):
            return ((text, self.process_text(text, language)) for text in texts)

        def is_stopword(self, word, language):
            return self.nlp.vocab[word].is_stop

        def is_punct(self, word, language):
            return self.nlp.vocab[word].is_punct

        def get_supported_entities(self):
            return []

        def get_supported_languages(self):
            return ["en"]

    engine = Blank()
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=engine)
    made = AnalyzerEngine(nlp_engine=engine, registry=registry, supported_languages=["en"])
    return made, "a blank tokeniser, no language model"


def shares(planted, found):
    """Counts of one kind over all texts: labels, finds, labels found, finds that are right."""
    both = right = 0
    for labels, finds in zip(planted, found):
        touch = lambda a, b: a[0] < b[1] and b[0] < a[1]
        both += sum(any(touch(label, find) for find in finds) for label in labels)
        right += sum(any(touch(find, label) for label in labels) for find in finds)
    labels, finds = sum(map(len, planted)), sum(map(len, found))
    recall = both / labels
    precision = right / finds if finds else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"planted": labels, "found": finds, "recall": recall, "precision": precision, "f1": f1}


def main():
    parse = argparse.ArgumentParser()
    parse.add_argument("file", nargs="?")
    parse.add_argument("--kinds", action="store_true", help="prints our names of the kinds that both have, of CARD's")
    parse.add_argument("--card")
    parse.add_argument("--rate")
    args = parse.parse_args()
    if args.kinds:
        ran = {kind["kind"] for kind in json.loads(Path(args.card).read_text())["kinds"]}
        by_pattern = [name for entity, name, _ in KINDS if entity not in ("PERSON", "LOCATION")]
        print(",".join(name for name in by_pattern if name in ran))
        return
    if not args.file:
        parse.error("FILE is missing")
    inside()
    # Without a network it takes the list of suffixes that it came with.
    logging.getLogger("tldextract").setLevel(logging.CRITICAL)
    items = json.loads(Path(args.file).read_text(encoding="utf-8"))
    engine, model = analyzer()
    known = set(engine.get_supported_entities(language="en"))
    by_model = [] if os.environ.get("DOUANE_PRESIDIO_MODEL") else ["PERSON", "LOCATION"]
    kinds = [kind for kind in KINDS if kind[0] in known and kind[0] not in by_model]
    entities = [entity for entity, _, _ in kinds]
    texts = [item["full_text"] for item in items]
    analyze = lambda text: engine.analyze(text=text, language="en", entities=entities)
    for text in texts[:20]:
        analyze(text)
    start = time.process_time()
    results = [analyze(text) for text in texts]
    seconds = time.process_time() - start
    size = sum(len(text.encode()) for text in texts)

    card = json.loads(Path(args.card).read_text()) if args.card else {"kinds": []}
    ours = {kind["kind"]: kind for kind in card["kinds"]}
    print(f"presidio-analyzer {VERSION}, {model}; {len(texts)} texts, {size} bytes")
    head = f"{'kind':18} {'labels':>6}   {'presidio: recall':>16} precision     F1 from score"
    print(head + ("   douane: recall precision     F1" if ours else ""))
    behind = []
    for entity, name, words in kinds:
        planted = [
            [
                (span["start_position"], span["end_position"])
                for span in item["spans"]
                if span["entity_type"].upper() in words
            ]
            for item in items
        ]
        if not any(planted):
            continue
        best = max(
            (
                shares(
                    planted,
                    [
                        [(f.start, f.end) for f in r if f.entity_type == entity and f.score >= least]
                        for r in results
                    ],
                )
                | {"least": least}
                for least in THRESHOLDS
            ),
            key=lambda s: s["f1"],
        )
        line = (
            f"{name:18} {best['planted']:6}   {best['recall']:16.4f} {best['precision']:9.4f} "
            f"{best['f1']:6.4f} {best['least']:10.2f}"
        )
        if name in ours and ours[name]["overlap"]["f1"] is not None:
            own = ours[name]["overlap"]
            line += f"   {own['recall']:14.4f} {own['precision']:9.4f} {own['f1']:6.4f}"
            # The card's shares have four places.
            if own["f1"] + 0.00005 < best["f1"]:
                line += "  BEHIND"
                behind.append(name)
        print(line)
    rate = size / seconds
    print(f"figure: presidio.rate {rate / 1e6:.3f} MB/s, {len(texts) / seconds:.0f} texts/s")
    if args.rate:
        own = json.loads(Path(args.rate).read_text())
        own_rate = own["bytes"] / own["seconds"]
        print(f"figure: douane.rate {own_rate / 1e6:.1f} MB/s, {own['texts'] / own['seconds']:.0f} texts/s")
        print(f"figure: douane.to.presidio {own_rate / rate:.0f} times, by computing time of one thread")
    if behind:
        sys.exit(f"behind Presidio's F1: {', '.join(behind)}")


if __name__ == "__main__":
    main()
