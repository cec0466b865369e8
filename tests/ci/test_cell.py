"""One cell, run for real in a small checkout: its outcome, its exit code, its one result file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

CI = Path(__file__).parents[2] / "ci"
SCHEMA = json.loads((CI / "result.schema.json").read_text())
FILE = "tests/kernels/test_linear.py"

Run = Callable[..., subprocess.CompletedProcess[str]]


def cells(root: Path, **runs: dict[str, Any]) -> None:
    """A matrix of cells that differ in their commands alone."""
    shared = {
        "vendor": "cpu", "arch": "cpu", "engine": "vllm", "precision": [], "proof": "hardware", "tier": "pull",
        "gate": True, "runner": "hosted", "environment": "vllm-cpu", "minutes": 5,
    }  # fmt: skip
    runners = {
        "hosted": {"vendor": "cpu", "devices": 0, "variable": "", "queue": "cpu"},
        "mi300x-8": {"vendor": "rocm", "devices": 8, "variable": "X", "queue": "x"},
    }
    rows = [shared | {"name": name} | run for name, run in runs.items()]
    (root / "ci" / "matrix.json").write_text(json.dumps({"runners": runners, "cells": rows}))


def pytest_of(test: str) -> dict[str, Any]:
    return {"run": {"pytest": [f"{FILE}", "-k", test, "-p", "no:cacheprovider"]}}


def result(root: Path, cell: str) -> Any:
    found = json.loads((root / "ci" / "results" / f"{cell}.json").read_text())
    jsonschema.validate(found, SCHEMA)
    return found


HERE = ("--python", sys.executable)


def test_passed_with_its_counts_and_the_code_that_ran(checkout: Path, commit: Callable[[], str], run_cell: Run) -> None:
    cells(checkout, good=pytest_of("test_good"))
    head = commit()
    done = run_cell("good", *HERE)
    assert done.returncode == 0, done.stderr
    found = result(checkout, "good")
    assert (found["commit"], found["changed"]) == (head, False)
    assert (found["outcome"], found["proof"]) == ("passed", "hardware")
    assert found["counts"] == {"passed": 3, "failed": 0, "skipped": 0}
    assert found["ops"] == {"linear": {"bfloat16": 1, "float16": 1, "float32": 1}}
    assert found["tools"]["python"].startswith("3.")


def test_failed_names_the_first_failure(checkout: Path, commit: Callable[[], str], run_cell: Run) -> None:
    cells(checkout, bad=pytest_of("test_bad or test_good"))
    commit()
    assert run_cell("bad", *HERE).returncode == 1
    found = result(checkout, "bad")
    assert (found["outcome"], found["proof"]) == ("failed", "none")
    assert found["reason"] == "1 failed, first `tests.kernels.test_linear::test_bad`"


@pytest.mark.parametrize("test", ["test_skipped", "test_that_is_not_there"])
def test_a_run_without_a_check_is_no_pass(checkout: Path, commit: Callable[[], str], run_cell: Run, test: str) -> None:
    cells(checkout, none=pytest_of(test))
    commit()
    assert run_cell("none", *HERE).returncode == 3
    found = result(checkout, "none")
    assert found["outcome"] == "not run"
    assert found["reason"].startswith("no check ran")


def test_a_card_that_is_not_here_is_not_run_and_says_where(
    checkout: Path, commit: Callable[[], str], run_cell: Run
) -> None:
    card = {"vendor": "rocm", "arch": "gfx942", "runner": "mi300x-8", "environment": "image", "image": "X_IMAGE"}
    cells(checkout, card=pytest_of("test_good") | card)
    commit()
    done = run_cell("card")
    assert done.returncode == 3
    found = result(checkout, "card")
    assert "required 8 x gfx942" in found["reason"]
    assert "run `ci/cell.sh card` on such a machine" in found["reason"]
    assert found["reason"] in done.stderr


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        ({"make": "nonsense"}, "the Makefile has no target `nonsense`"),
        ({"pytest": ["tests/nowhere"]}, "found no `tests/nowhere`"),
        ({"script": ["ci/nothing.sh"]}, "found no `ci/nothing.sh`"),
    ],
    ids=["make", "pytest", "script"],
)
def test_what_the_checkout_lacks_is_not_run(
    checkout: Path, commit: Callable[[], str], run_cell: Run, run: dict[str, Any], reason: str
) -> None:
    cells(checkout, lacking={"run": run})
    commit()
    assert run_cell("lacking", *HERE).returncode == 3
    assert reason in result(checkout, "lacking")["reason"]


def test_a_target_of_make_by_its_exit_code(checkout: Path, commit: Callable[[], str], run_cell: Run) -> None:
    cells(checkout, good={"run": {"make": "good"}}, bad={"run": {"make": "bad"}})
    commit()
    assert run_cell("good", *HERE).returncode == 0
    assert result(checkout, "good")["counts"] is None
    assert run_cell("bad", *HERE).returncode == 1
    assert result(checkout, "bad")["reason"] == "exit code 2: error: it broke"


def test_an_environment_that_cannot_be_made_is_not_run(
    checkout: Path, commit: Callable[[], str], run_cell: Run
) -> None:
    cells(checkout, good=pytest_of("test_good"))
    commit()
    assert run_cell("good").returncode == 3
    assert "error: no lock file `ci/locks/vllm-cpu.txt`" in result(checkout, "good")["reason"]


def test_what_passed_with_this_code_is_not_run_again(checkout: Path, commit: Callable[[], str], run_cell: Run) -> None:
    cells(checkout, good=pytest_of("test_good"))
    commit()
    assert run_cell("good", *HERE, "--resume").returncode == 0
    first = result(checkout, "good")
    commit()  # the result alone
    done = run_cell("good", *HERE, "--resume")
    assert "passed before" in done.stderr
    assert result(checkout, "good") == first
    with (checkout / FILE).open("a") as test:
        test.write("# changed\n")
    assert "passed before" not in run_cell("good", *HERE, "--resume").stderr
    assert result(checkout, "good")["changed"] is True


def test_a_command_that_hangs_is_ended_with_the_script(
    checkout: Path, commit: Callable[[], str], tmp_path: Path
) -> None:
    cells(checkout, hangs=pytest_of("test_hangs"))
    commit()
    process = subprocess.Popen(
        ["bash", "ci/cell.sh", "hangs", *HERE], cwd=checkout, env=os.environ | {"PYTHON": sys.executable}
    )
    child = checkout / "hanging"
    deadline = time.monotonic() + 60
    while not (child.exists() and child.read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text()), 0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(("nope",), "no cell `nope`"), (("good", "--python", "/nowhere/python"), "`/nowhere/python` is no program")],
)
def test_bad_input(checkout: Path, run_cell: Run, words: tuple[str, ...], sentence: str) -> None:
    cells(checkout, good=pytest_of("test_good"))
    done = run_cell(*words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {sentence}")
    assert "\n\nhint: " in done.stderr


def test_a_folder_without_git_takes_the_commit_from_the_ci_or_is_told(
    checkout: Path, run_cell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells(checkout, good={"run": {"make": "good"}})
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(checkout.parent))
    monkeypatch.delenv("GITHUB_SHA", raising=False)
    monkeypatch.delenv("BUILDKITE_COMMIT", raising=False)
    done = run_cell("good", *HERE)
    assert done.returncode == 2
    assert done.stderr.startswith("error: this folder is no git checkout with a commit\n\nhint: ")
    monkeypatch.setenv("GITHUB_SHA", "b" * 40)
    assert run_cell("good", *HERE).returncode == 0
    assert result(checkout, "good")["commit"] == "b" * 40


@pytest.mark.parametrize("file", sorted((CI / "results").glob("*.json")), ids=lambda file: file.stem)
def test_a_committed_result_follows_the_schema_and_is_of_code_without_changes(file: Path) -> None:
    import matrix

    found = json.loads(file.read_text())
    jsonschema.validate(found, SCHEMA)
    assert found["cell"] == file.stem
    assert file.stem in matrix.load()
    assert found["changed"] is False
