"""What the linters cannot know of the workflows: pins that agree, least permissions, no words of a cell's own."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WRITES = {"release.yml": {"id-token", "attestations"}}
"""The permissions beyond reading the code, by workflow."""


def load(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def test_there_are_workflows() -> None:
    assert {file.name for file in FILES} == {"amd.yml", "hosted.yml", "nvidia.yml", "release.yml", "vendor-matrix.yml"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_job_states_its_permissions_its_limit_and_no_more_than_it_needs(file: Path) -> None:
    flow = load(file)
    assert flow["permissions"] == {}
    for name, job in flow["jobs"].items():
        writes = {what for what, level in job["permissions"].items() if level != "read"}
        assert writes <= WRITES.get(file.name, set()), name
        assert "uses" in job or "timeout-minutes" in job, name
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_an_action_is_pinned_by_one_digest_everywhere_with_its_version_beside_it() -> None:
    pins = defaultdict(set)
    for file in FILES:
        for line in file.read_text().splitlines():
            if found := re.search(r"uses: ([\w/-]+)@(.*)", line):
                assert re.fullmatch(r"[0-9a-f]{40} # v\d+\.\d+\.\d+", found[2]), line
                pins[found[1]].add(found[2])
    assert pins
    assert {action: len(found) for action, found in pins.items()} == dict.fromkeys(pins, 1)


@pytest.mark.parametrize("name", ["amd.yml", "hosted.yml", "nvidia.yml"])
def test_a_cells_job_runs_the_script_and_keeps_its_result(name: str) -> None:
    (job,) = load(ROOT / ".github" / "workflows" / name)["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ['ci/cell.sh "$CELL"']
    (upload,) = (step for step in job["steps"] if "upload-artifact" in step.get("uses", ""))
    assert upload["if"] == "always()"
    assert upload["with"]["path"] == "ci/results/${{ matrix.cell.name }}.json"
    assert ("container" in job) == (name != "hosted.yml")
