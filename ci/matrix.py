"""The vendor matrix: which check proves what, on which machine. Data in matrix.json, read here and nowhere else.

    python ci/matrix.py names [--tier pull]          the cells that need no card, one a line
    python ci/matrix.py github [--tier pull]         `hosted=`, `amd=`, `nvidia=` and `absent=` for $GITHUB_OUTPUT
    python ci/matrix.py report DIR ROWS...           a Markdown table of the results of what `github` printed;
                                                     exit code 1 where a gate that has a machine is not passed

Needs Python 3.11 and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""A cell as a workflow's job reads it: name, gate, label, timeout, and the image where a card is needed."""
HOSTED = "ubuntu-24.04"
"""GitHub's label of the machines for cells that need no card."""
ROOT = Path(__file__).resolve().parents[1]
MATRIX = ROOT / "ci" / "matrix.json"
RESULTS = ROOT / "ci" / "results"
VERSIONS = ROOT / "docker" / "versions.env"
SETUP_MINUTES = 20
"""For the checkout, the image and the environment, beside a cell's own limit."""
TIERS = ("pull", "nightly", "weekly")
"""From the most frequent to the rarest; a tier runs the cells of those before it too."""


@dataclass(frozen=True)
class Runner:
    """A kind of machine; see matrix.schema.json for the fields."""

    name: str
    vendor: str
    devices: int
    variable: str
    queue: str


@dataclass(frozen=True)
class Cell:
    """One check on one machine; see matrix.schema.json for the fields."""

    name: str
    vendor: str
    arch: str
    engine: str
    precision: tuple[str, ...]
    proof: str
    tier: str
    gate: bool
    runner: Runner
    environment: str
    image: str
    minutes: int
    kind: str
    words: tuple[str, ...]

    @property
    def needs_card(self) -> bool:
        return self.runner.devices > 0

    @property
    def command(self) -> str:
        """How a person runs it."""
        return f"ci/cell.sh {self.name}"


def load(path: Path = MATRIX) -> dict[str, Cell]:
    """The cells by name, in the file's order."""
    data = json.loads(path.read_text(encoding="utf-8"))
    runners = {name: Runner(name, **fields) for name, fields in data["runners"].items()}
    return {one["name"]: _cell(one, runners) for one in data["cells"]}


def _cell(fields: dict[str, Any], runners: Mapping[str, Runner]) -> Cell:
    ((kind, words),) = fields["run"].items()
    return Cell(
        **{name: value for name, value in fields.items() if name not in ("run", "runner", "precision", "image")},
        precision=tuple(fields["precision"]),
        runner=runners[fields["runner"]],
        image=fields.get("image", ""),
        kind=kind,
        words=(words,) if isinstance(words, str) else tuple(words),
    )


def pins(path: Path = VERSIONS) -> dict[str, str]:
    """KEY=VALUE of docker/versions.env."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def of_tier(cells: Iterable[Cell], tier: str) -> list[Cell]:
    """The cells that run at that tier."""
    return [cell for cell in cells if TIERS.index(cell.tier) <= TIERS.index(tier)]


def github(cells: Iterable[Cell], variables: Mapping[str, str], versions: Mapping[str, str]) -> dict[str, list[Row]]:
    """What the workflow's jobs read with fromJSON: the rows of each job's matrix.

    Args:
        variables: the repository's variables; cells whose runner label none of them holds come under `absent`.
        versions: docker/versions.env.
    """
    groups: dict[str, list[Row]] = {"hosted": [], "amd": [], "nvidia": [], "absent": []}
    for cell in cells:
        label = variables.get(cell.runner.variable, "") if cell.needs_card else HOSTED
        row: Row = {"name": cell.name, "gate": cell.gate, "label": label, "timeout": cell.minutes + SETUP_MINUTES}
        if cell.needs_card:
            row["image"] = versions[cell.image]
        group = {"rocm": "amd", "cuda": "nvidia"}[cell.runner.vendor] if cell.needs_card else "hosted"
        groups[group if label else "absent"].append(row)
    return groups


def report(rows: Iterable[Row], folder: Path) -> tuple[str, bool]:
    """A Markdown table of what became of the rows, and whether every gate that had a machine was passed."""
    lines = ["| cell | outcome | checks passed | shows | minutes |", "| --- | --- | --- | --- | --- |"]
    good = True
    for row in rows:
        file = folder / f"{row['name']}.json"
        if not file.exists():
            why = "no result" if row["label"] else "no runner"
            lines.append(f"| {row['name']} | not run: {why}; `ci/cell.sh {row['name']}` | | none | |")
            good &= not row["gate"] or not row["label"]
            continue
        found = json.loads(file.read_text(encoding="utf-8"))
        count = found["counts"]["passed"] if found["counts"] else ""
        why = f": {found['reason']}" if found["reason"] else ""
        took = f"{found['seconds'] / 60:.1f}"
        lines.append(f"| {row['name']} | {found['outcome']}{why} | {count} | {found['proof']} | {took} |")
        good &= not row["gate"] or found["outcome"] == "passed"
    return "\n".join(lines) + "\n", good


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = ask.add_subparsers(dest="verb", required=True)
    for verb in ("names", "github"):
        verbs.add_parser(verb).add_argument("--tier", choices=TIERS, default=TIERS[-1])
    table = verbs.add_parser("report")
    table.add_argument("folder", type=Path)
    table.add_argument("rows", nargs="+", help="JSON lists")
    asked = ask.parse_args()
    cells = load()
    if asked.verb == "names":
        print(*(cell.name for cell in of_tier(cells.values(), asked.tier) if not cell.needs_card), sep="\n")
    elif asked.verb == "github":
        variables = json.loads(os.environ.get("VARIABLES") or "{}")
        for name, rows in github(of_tier(cells.values(), asked.tier), variables, pins()).items():
            print(f"{name}={json.dumps(rows, separators=(',', ':'))}")
    else:
        text, good = report([row for rows in asked.rows for row in json.loads(rows)], asked.folder)
        print(text, end="")
        return 0 if good else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
