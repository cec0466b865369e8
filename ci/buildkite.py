"""Write ci/buildkite.yml, the vendor matrix for Buildkite, where vLLM's fleet of AMD cards runs.

    python ci/buildkite.py [FILE]

One step a cell. A card's cells run inside the engine's image; a build's `TIER` (pull by default) says which there are.
`buildkite-agent pipeline upload ci/buildkite.yml` takes the file as it is. Needs Python 3.11 and nothing else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import matrix
from matrix import SETUP_MINUTES, TIERS, Cell

HEAD = "# Made by ci/buildkite.py from ci/matrix.json; edit that. A test holds the two together.\n"
FLAGS = {
    "rocm": "--device /dev/kfd --device /dev/dri --group-add video --security-opt seccomp=unconfined --ipc host",
    "cuda": "--gpus all --ipc host",
}


def command(cell: Cell, versions: dict[str, str]) -> str:
    """The step's shell command. `$$`: Buildkite leaves the variable to the shell."""
    if not cell.needs_card:
        return cell.command
    return (
        f"docker run --rm {FLAGS[cell.vendor]} -v $$PWD:/src -w /src --entrypoint bash {versions[cell.image]} "
        f"-c '{cell.command}'"
    )


def condition(cell: Cell) -> str:
    """When the step is part of a build."""
    tiers = TIERS[TIERS.index(cell.tier) :]
    asked = " || ".join(f'build.env("TIER") == "{tier}"' for tier in tiers)
    return f'build.env("TIER") == null || {asked}' if cell.tier == TIERS[0] else asked


def steps(cells: list[Cell], versions: dict[str, str]) -> Iterator[list[str]]:
    """The lines of each step."""
    quote = json.dumps  # a JSON string is a YAML string
    for cell in cells:
        yield [
            f"  - label: {quote(cell.name)}",
            f"    key: {quote(cell.name)}",
            f"    command: {quote(command(cell, versions))}",
            f"    if: {quote(condition(cell))}",
            f"    agents: {{queue: {quote(cell.runner.queue)}}}",
            f"    timeout_in_minutes: {cell.minutes + SETUP_MINUTES}",
            f"    artifact_paths: {quote(f'ci/results/{cell.name}.json')}",
            *([] if cell.gate else ["    soft_fail: true"]),
        ]


def pipeline() -> str:
    """The whole file."""
    found = steps(list(matrix.load().values()), matrix.pins())
    return HEAD + "steps:\n" + "\n".join(line for lines in found for line in lines) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("buildkite.yml")
    target.write_text(pipeline(), encoding="utf-8")
