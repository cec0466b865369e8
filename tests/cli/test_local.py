"""`generate` and `quantize` as a person runs them, on the pocket GLM."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.slow


def test_generate_prints_the_answer_alone_and_the_same_as_json(cli: Run) -> None:
    words = ("generate", "Who are you?", "--no-thinking", "--max-new-tokens", "24")
    plain, machine = cli(*words), cli(*words, "--json")
    assert (plain.returncode, machine.returncode) == (0, 0), plain.stderr + machine.stderr
    answer = json.loads(machine.stdout)
    assert plain.stdout.strip() == answer["text"].strip()
    assert 0 < len(answer["tokens"]) <= 24
    assert answer["kernels"]["attention"] == "cpu.attention"


def test_quantize_then_plan_reads_the_scheme_from_the_config(cli: Run, tmp_path: Path) -> None:
    folder = tmp_path / "pocket-small"
    done = cli("quantize", "pocket", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["bytes_after"] < 0.75 * report["bytes_before"]
    made = json.loads(cli("plan", str(folder), "--target", "cpu", "--json").stdout)
    assert made["precision"] == "fp8_channel_token"


def test_quantize_onto_a_checkpoint_is_refused_and_leaves_it(refuses: Run, damaged: Callable[[], Path]) -> None:
    folder = damaged()
    before = sorted((file.name, file.stat().st_size) for file in folder.iterdir())
    refuses("quantize", "pocket", str(folder))
    assert sorted((file.name, file.stat().st_size) for file in folder.iterdir()) == before
