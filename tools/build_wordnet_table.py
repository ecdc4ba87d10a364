"""Build the synonym table of METEOR from the database files of WordNet 3.0.

    apt-get download wordnet-base && dpkg-deb -x wordnet-base_*.deb x
    python tools/build_wordnet_table.py x/usr/share/wordnet emgecg_cli/data

Writes `wordnet_synonyms.txt.gz` and the licence that must go with it, `WORDNET_LICENSE.txt`. Same files, same bytes.

METEOR asks one thing of WordNet: which single words share a synset with a word. So a line is a part of speech and the
single words of a synset, `n unit whole`; a synset of one word is kept because looking a word up must find it. A line
`n! oxen ox` is an irregular form and its lemmas. Words with underscores are left out, since no token equals one, except
where an irregular form of one word leads to them (`comics` to `comic_strip`).
"""

from __future__ import annotations

import gzip
import re
import sys
from pathlib import Path

PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
_MARKER = re.compile(r"\((?:p|a|ip)\)$")


def synset_words(line: str, wanted: set[str]) -> list[str]:
    """Single and wanted words of one line of a `data.*` file, sorted; the position marker of adjectives is cut off."""
    fields = line.split(" ")
    words = [_MARKER.sub("", fields[4 + 2 * index]) for index in range(int(fields[3], 16))]
    return sorted({word for word in words if "_" not in word or word.lower() in wanted})


def table_lines(folder: Path) -> list[str]:
    """All lines of the table, each once, in a fixed order."""
    lines: list[str] = []
    for tag, part in PARTS.items():
        exceptions = (folder / f"{part}.exc").read_text(encoding="ascii").splitlines()
        # NLTK reads the file into a dictionary: of two lines with the same form the later one counts.
        forms = {line.split()[0]: line.split()[1:] for line in exceptions if line.strip()}
        forms = {form: lemmas for form, lemmas in forms.items() if "_" not in form}
        wanted = {lemma for lemmas in forms.values() for lemma in lemmas}
        data = (folder / f"data.{part}").read_text(encoding="ascii").splitlines()
        synsets = {" ".join(synset_words(line, wanted)) for line in data if not line.startswith(" ")}
        lines += [f"{tag} {synset}" for synset in sorted(synsets) if synset]
        lines += [f"{tag}! {form} {' '.join(forms[form])}" for form in sorted(forms)]
    return lines


def licence(folder: Path) -> str:
    """The licence text, which opens every `data.*` file as numbered lines."""
    head = [line for line in (folder / "data.noun").read_text(encoding="ascii").splitlines() if line.startswith("  ")]
    return "\n".join(re.sub(r"^ +\d+ ?", "", line).rstrip() for line in head).strip() + "\n"


def main(source: str, target: str) -> None:
    """Write the table and its licence."""
    folder, out = Path(source), Path(target)
    text = "\n".join(table_lines(folder)) + "\n"
    with (out / "wordnet_synonyms.txt.gz").open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as stream:
        stream.write(text.encode("ascii"))
    (out / "WORDNET_LICENSE.txt").write_text(licence(folder), encoding="ascii")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python tools/build_wordnet_table.py WORDNET_FOLDER OUT_FOLDER")
    main(sys.argv[1], sys.argv[2])
