#!/usr/bin/env python3
"""Turns a public intent set into what `agent-runner eval routing` reads.

    scripts/intent-set.py TRAIN TEST OUT [--each N] [--nobody FOLDER]

TRAIN, TEST and FOLDER are folders with a file `seq.in` (a sentence per line) and a file `label` (its class, line by
line), as Banking77, CLINC150 and HWU64 are handed round. Writes OUT.yaml, with one agent per class of TRAIN, and
OUT.jsonl, with the sentences of TEST. An agent is named and described by nothing but its class ("card_arrival" becomes
"card arrival"); its examples are its sentences in TRAIN, the first N where --each is given. Sentences of TEST whose
class is `oos`, and those of FOLDER (which needs no `label`), are expected to be nobody's.
"""

import argparse
import json
import pathlib
import re
import sys

NOBODY = "oos"


def lines(path):
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]


def rows(folder):
    sentences, labels = lines(folder / "seq.in"), lines(folder / "label")
    if len(sentences) != len(labels):
        sys.exit(f"{folder}: {len(sentences)} sentences and {len(labels)} labels")
    return list(zip(sentences, labels))


def identifier(label):
    return re.sub(r"[^a-z0-9_-]", "_", label.lower())[:48]


def agents_file(examples):
    """The agents as YAML: JSON texts are YAML texts, and keep `true` a text."""
    out = ["agents:"]
    for label, sentences in examples.items():
        words = json.dumps(label.replace("_", " "))
        out.append(f"  - id: {json.dumps(identifier(label))}\n    name: {words}\n    description: {words}\n    examples:")
        out.extend(f"      - {json.dumps(sentence)}" for sentence in sentences)
    return "\n".join(out) + "\n"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("train", type=pathlib.Path)
    arguments.add_argument("test", type=pathlib.Path)
    arguments.add_argument("out")
    arguments.add_argument("--each", type=int)
    arguments.add_argument("--nobody", type=pathlib.Path)
    given = arguments.parse_args()

    examples = {}
    for sentence, label in rows(given.train):
        of = examples.setdefault(label, [])
        if label != NOBODY and (given.each is None or len(of) < given.each):
            of.append(sentence)
    examples.pop(NOBODY, None)
    tests = [(sentence, None if label == NOBODY else label) for sentence, label in rows(given.test)]
    if given.nobody:
        tests.extend((sentence, None) for sentence in lines(given.nobody / "seq.in"))
    unknown = {label for _, label in tests if label is not None} - examples.keys()
    if unknown:
        sys.exit(f"classes without examples: {', '.join(sorted(unknown))}")

    pathlib.Path(f"{given.out}.yaml").write_text(agents_file(examples), encoding="utf-8")
    with open(f"{given.out}.jsonl", "w", encoding="utf-8") as out:
        for sentence, label in tests:
            out.write(json.dumps({"query": sentence, "expected": label and identifier(label)}) + "\n")
    nobody = sum(label is None for _, label in tests)
    print(f"{len(examples)} agents, {len(tests) - nobody} sentences of theirs, {nobody} of nobody's")


if __name__ == "__main__":
    main()
