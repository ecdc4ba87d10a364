"""How fast the statements of ECG reports are read, and how far they agree with PTB-XL's codes.

    python benchmarks/ecg_labels.py [--number N] [--reports FILE] [--smallest]

Speed: 80,000 made-up reports of one to six sentences of the rules' own examples, all of them different texts; processor
time of one process, with an empty memory of sentences. The aim: a few seconds. Agreement: FILE is a CSV with `report`,
`scp_codes` and `strat_fold` (PTB-XL's ptbxl_database.csv will do); precision, recall and F1 by language, by kind of
statement and by statement, for folds 1 to 8, on which the coding habits were chosen, and for 9 and 10, with the
statements as they are said and as PTB-XL codes them. All codes count, whatever their likelihood.
"""

from __future__ import annotations

import argparse
import ast
import csv
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from emgecg_cli.core.reports.ecg.coding import coded_in_ptb_xl
from emgecg_cli.core.reports.ecg.labels import codes, label, label_all
from emgecg_cli.core.reports.ecg.rules import LANGUAGES, rules_of
from emgecg_cli.core.reports.ecg.statements import statements, superclasses_of
from emgecg_cli.core.reports.language import detect_language

Pair = tuple[set[str], set[str]]


def made_up(number: int) -> list[str]:
    """Reports of the examples of a language's rules."""
    draw = random.Random(0)
    examples = {language: [text for rule in rules_of(language).rules for texts in rule.examples.values()
                           for text in texts] for language in LANGUAGES}
    return [" ".join(draw.choices(examples[draw.choice(LANGUAGES)], k=draw.randint(1, 6))) + f" {i}."
            for i in range(number)]


def figures(pairs: Iterable[Pair]) -> str:
    """Precision, recall and micro-F1 of (read, coded)."""
    true = found = given = 0
    for read, coded in pairs:
        true, found, given = true + len(read & coded), found + len(read), given + len(coded)
    return f"P {true / max(1, found):.3f}  R {true / max(1, given):.3f}  F1 {2 * true / max(1, found + given):.3f}"


def tables(path: Path) -> None:
    """Agreement with the codes of a data set, on the terminal."""
    rows = []
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            language = detect_language(row["report"])
            language = language if language in LANGUAGES else "en"
            said = label(row["report"], language)
            coded = coded_in_ptb_xl(said, language, row["report"])
            rows.append((language, int(row["strat_fold"]) > 8, codes(said), coded,
                         set(ast.literal_eval(row["scp_codes"]))))
    ways: tuple[tuple[str, int], ...] = (("as said", 2), ("as coded", 3))
    groups: dict[str, Callable[[set[str]], set[str]]] = {"all 71": set}
    for kind in ("diagnostic", "form", "rhythm"):
        groups[kind] = lambda found, kind=kind: {  # type: ignore[misc]
            code for code in found if code in statements() and kind in statements()[code].kinds}
    groups["superclasses"] = superclasses_of
    for language in (*LANGUAGES, "all"):
        chosen = [row for row in rows if language in (row[0], "all")]
        for name, held_out in (("folds 1-8", (False,)), ("folds 9-10", (True,)), ("all folds", (False, True))):
            part = [row for row in chosen if row[1] in held_out]
            print(f"\n{language}, {name}: {len(part)} reports")
            for group, choose in groups.items():
                print(f"  {group:<13}", "    ".join(
                    f"{way}: {figures((choose(row[which]), choose(row[4])) for row in part)}" for way, which in ways))
    print("\nby statement, all folds: codes given, as said, as coded")
    for code, given in Counter(code for row in rows for code in row[4]).most_common():
        print(f"  {code:<8} {given:>5}  ", "   ".join(
            figures((row[which] & {code}, row[4] & {code}) for row in rows) for _, which in ways))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=80_000)
    parser.add_argument("--reports", type=Path)
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    options = parser.parse_args()
    reports = made_up(200 if options.smallest else options.number)
    start = time.process_time()
    label_all(reports)
    took = time.process_time() - start
    print(f"{len(reports):,} reports, {len(set(reports)):,} different: {took:.1f} s of processor time")
    if options.reports:
        tables(options.reports)


if __name__ == "__main__":
    main()
