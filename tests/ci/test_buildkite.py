"""The pipeline for Buildkite is the one that the matrix gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import buildkite
import matrix
import yaml

FILE = Path(__file__).parents[2] / "ci" / "buildkite.yml"


def steps() -> dict[str, Any]:
    return {step["key"]: step for step in yaml.safe_load(FILE.read_text())["steps"]}


def test_it_is_up_to_date() -> None:
    assert FILE.read_text() == buildkite.pipeline(), "run `python3 ci/buildkite.py`"


def test_each_cell_is_one_step_that_runs_the_script() -> None:
    found = steps()
    assert list(found) == list(matrix.load())
    for name, cell in matrix.load().items():
        assert cell.command in found[name]["command"]
        assert found[name]["agents"] == {"queue": cell.runner.queue}
        assert found[name].get("soft_fail", False) is not cell.gate
        assert found[name]["timeout_in_minutes"] > cell.minutes


def test_a_card_runs_inside_its_engines_image_with_its_vendors_devices() -> None:
    found = steps()
    assert matrix.pins()["SGLANG_ROCM_MI35X_IMAGE"] in found["mi355x-sglang"]["command"]
    assert "--device /dev/kfd" in found["mi355x-sglang"]["command"]
    assert "--gpus all" in found["h100-kernels"]["command"]
    assert "docker" not in found["cpu-vllm"]["command"]


def test_a_build_without_a_tier_runs_the_cells_of_a_pull_request_alone() -> None:
    for name, step in steps().items():
        assert ("== null" in step["if"]) == (matrix.load()[name].tier == "pull")
    assert json.dumps("nightly") in steps()["gfx90a-compiled"]["if"]
    assert json.dumps("pull") not in steps()["gfx90a-compiled"]["if"]
