"""The matrix as data: it follows its schema, and what it names exists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import matrix
import pytest

from glm_rocm.target.cards import CARDS_BY_KEY

CI = Path(__file__).parents[2] / "ci"
CELLS = matrix.load()
SCHEMA = json.loads((CI / "matrix.schema.json").read_text())


def data() -> Any:
    return json.loads((CI / "matrix.json").read_text())


def test_it_follows_its_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(data(), SCHEMA)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"proof": "believed"}, "believed"),
        ({"minutes": 0}, "minimum"),
        ({"name": "Mi300X kernels"}, "does not match"),
        ({"environment": "image"}, "'image' is a required property"),
        ({"runner": "mi300x-1"}, "'hosted' was expected"),
        ({"run": {"pytest": ["tests"], "make": "lint"}}, "too many properties"),
        ({"run": {"bash": "curl"}}, "Additional properties"),
        ({"colour": "green"}, "Additional properties"),
    ],
    ids=[
        "proof",
        "minutes",
        "name",
        "no-image",
        "card-without-image",
        "two-commands",
        "unknown-command",
        "unknown-key",
    ],
)
def test_a_cell_that_breaks_the_schema(change: dict[str, Any], word: str) -> None:
    broken = data()
    broken["cells"][0] |= change
    with pytest.raises(jsonschema.ValidationError, match=word):
        jsonschema.validate(broken, SCHEMA)


def test_names_are_unique() -> None:
    assert len(CELLS) == len(data()["cells"])


@pytest.mark.parametrize("cell", CELLS.values(), ids=lambda cell: cell.name)
def test_what_a_cell_names_exists(cell: matrix.Cell) -> None:
    if cell.needs_card:
        assert cell.vendor == cell.runner.vendor
        card = CARDS_BY_KEY[cell.runner.name.partition("-")[0]]
        assert card.arch == cell.arch
        assert cell.image in matrix.pins()
        assert cell.proof == "hardware"
    else:
        assert cell.runner.name == "hosted"
        assert cell.proof != "hardware" or cell.arch == "cpu"
    for word in cell.words:
        # other engines' folders come with their engines; what is not there yet is `not run`, with that reason
        if word.startswith(("tests/", "ci/")):
            assert (CI.parent / word).exists(), word


@pytest.mark.parametrize("runner", data()["runners"])
def test_a_runner_has_a_cell(runner: str) -> None:
    assert any(cell.runner.name == runner for cell in CELLS.values())


def test_every_architecture_that_we_compile_for_has_a_cell() -> None:
    compiled = {cell.arch for cell in CELLS.values() if cell.proof == "compiled"}
    assert compiled == {"gfx90a", "gfx942", "gfx950", "gfx1201", "sm90", "sm100"}


def test_a_rarer_tier_runs_the_cells_of_the_more_frequent() -> None:
    pull, nightly, weekly = (set(matrix.of_tier(CELLS.values(), tier)) for tier in matrix.TIERS)
    assert pull < nightly < weekly == set(CELLS.values())


def test_cells_go_to_the_vendors_workflows_and_those_without_a_runner_to_none() -> None:
    groups = matrix.github(CELLS.values(), {"RUNNER_MI300X_1": "linux-mi300", "RUNNER_H100_1": "h100"}, matrix.pins())
    placed = {name: [row["name"] for row in rows] for name, rows in groups.items()}
    assert "mi300x-kernels" in placed["amd"]
    assert "h100-vllm" in placed["nvidia"]
    assert "mi355x-kernels" in placed["absent"]
    assert "cpu-vllm" in placed["hosted"]
    assert sorted(name for names in placed.values() for name in names) == sorted(CELLS)
    (row,) = (row for row in groups["amd"] if row["name"] == "mi300x-sglang")
    assert row["image"] == matrix.pins()["SGLANG_ROCM_IMAGE"]
    assert row["label"] == "linux-mi300"


def write(folder: Path, name: str, outcome: str, reason: str = "") -> None:
    found = {"outcome": outcome, "reason": reason, "proof": "emulated", "counts": {"passed": 7}, "seconds": 90}
    (folder / f"{name}.json").write_text(json.dumps(found))


def row(name: str, *, gate: bool = True, label: str = "here") -> matrix.Row:
    return {"name": name, "gate": gate, "label": label}


def test_a_gate_that_passed_is_good(tmp_path: Path) -> None:
    write(tmp_path, "a", "passed")
    text, good = matrix.report([row("a")], tmp_path)
    assert good
    assert "| a | passed | 7 | emulated | 1.5 |" in text


@pytest.mark.parametrize("outcome", ["failed", "not run"])
def test_a_gate_that_did_not_pass_is_not_good_and_says_why(tmp_path: Path, outcome: str) -> None:
    write(tmp_path, "a", outcome, "it broke")
    text, good = matrix.report([row("a")], tmp_path)
    assert not good
    assert f"{outcome}: it broke" in text
    assert matrix.report([row("a", gate=False)], tmp_path)[1]


def test_a_missing_result_is_not_run_and_no_gate_passes_by_it(tmp_path: Path) -> None:
    text, good = matrix.report([row("a")], tmp_path)
    assert not good
    assert "not run: no result; `ci/cell.sh a`" in text


def test_a_card_that_nobody_has_holds_nobody_back_and_is_not_green(tmp_path: Path) -> None:
    text, good = matrix.report([row("a", label="")], tmp_path)
    assert good
    assert "not run: no runner" in text
    assert "passed |" not in text.replace("checks passed |", "")
