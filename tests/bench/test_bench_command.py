"""`glm-rocm bench` as a person runs it: what it shows, what it writes, what it refuses."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from glm_rocm.bench.timing import quantiles

Bench = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """`bench("--case", "decode")` in a process of its own, in an empty folder."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "glm_rocm.cli", "bench", *words],
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            cwd=tmp_path,
        )

    return run


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The error of a refusal: exit code 2, one `error:` and one `hint:` line, nothing on stdout."""
    lines = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert [line[:7] for line in lines[:2]] == ["error: ", ""], done.stderr
    assert lines[2].startswith("hint: ")
    assert done.stdout == ""
    return lines[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "mi300"], "`--target mi300`"),
        (["--op", "softmax"], "`--op softmax`"),
        (["--case", "decode-b2"], "`--case decode-b2`"),
        (["--against", "sglang"], "`--against sglang`"),
        (["--check", "--write-baseline"], "one of the two"),
        (["--target", "cpu", "--check"], "counts do not depend on the machine"),
        (["--target", "cpu", "--against", "vllm"], "no Triton kernels"),
        (["--op", "moe", "--case", "moe-fp8-m4", "--quick"], "no quick case"),
        (["--case", "decode", "--check"], "no baseline `ci/baselines/gfx942.json`"),
        (["--target", "rocm"], "sees no such card"),
        (["--target", "cuda", "--against", "vllm"], "sees no such card"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_means_nothing_is_refused_before_anything_is_counted(bench: Bench, words: list[str], message: str) -> None:
    if words[1] in ("rocm", "cuda"):
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a card here")
    assert message in refused(bench(*words))


@pytest.mark.slow
def test_one_case_is_shown_written_and_checked(bench: Bench, tmp_path: Path) -> None:
    made = bench("--case", "prologue-m1", "--csv", "rows.csv", "--baseline", "b.json", "--write-baseline")
    assert made.returncode == 0, made.stderr
    assert "prologue-m1  GLM-4.6 at TP 8: M 1, 12/1 heads, bf16 cache" in made.stdout
    assert max(map(len, made.stdout.splitlines())) <= 96
    (line,) = csv.DictReader((tmp_path / "rows.csv").read_text().splitlines())
    entry = json.loads((tmp_path / "b.json").read_text())["cases"]["prologue-m1"]
    assert line["instructions"] == str(entry["instructions"])

    kept = bench("--case", "prologue-m1", "--baseline", "b.json", "--check", "--json")
    assert kept.returncode == 0, kept.stderr
    (row,) = json.loads(kept.stdout)["rows"]
    assert row["contenders"][0]["counts"]["instructions"] == entry["instructions"]
    assert row["misses"] == []

    lower = (tmp_path / "b.json").read_text().replace(f'"instructions": {entry["instructions"]}', '"instructions": 99')
    (tmp_path / "b.json").write_text(lower)
    dearer = bench("--case", "prologue-m1", "--baseline", "b.json", "--check")
    assert dearer.returncode == 1
    assert f"prologue-m1: instructions 99 -> {entry['instructions']}" in dearer.stderr


@pytest.mark.slow
def test_a_cpu_is_timed_and_held_to_its_own_roofline(bench: Bench) -> None:
    done = bench("--target", "cpu", "--case", "decode", "--case", "route-m1-air", "--json")
    assert done.returncode == 0, done.stderr
    decode, route = (row["contenders"][0] for row in json.loads(done.stdout)["rows"])
    assert decode["p10_us"] <= decode["median_us"] <= decode["p90_us"]
    assert 0 < decode["share"] < 1
    assert route["share"] == 0, "no products and no stream to hold it to"


@pytest.mark.slow
def test_vllms_own_launchers_and_tiles_give_the_counts_that_they_are_known_by(bench: Bench) -> None:
    """Of vLLM 0.32.0 with Triton 3.9.0: were they higher, we would have made them so."""
    done = bench("--case", "decode", "--case", "verify", "--case", "moe-fp8-m1", "--against", "vllm", "--json")
    assert done.returncode == 0, done.stderr
    found = {row["case"]: [side["counts"] for side in row["contenders"]] for row in json.loads(done.stdout)["rows"]}
    vllm = {case: (sides[1]["instructions"], sides[1]["workgroups"]) for case, sides in found.items()}
    assert vllm == {
        "decode": (59104, [32, 12]),
        "verify": (80732, [5]),
        "moe-fp8-m1": (1461184, [48, 640]),
    }
    assert all(ours["instructions"] < theirs["instructions"] for ours, theirs in found.values())


def test_percentiles_are_of_the_sorted_times() -> None:
    assert quantiles([5.0, 1.0, 3.0, 2.0, 4.0]) == (3.0, 1.0, 5.0)
    assert quantiles([float(value) for value in range(101)]) == (50.0, 10.0, 90.0)
    assert quantiles([7.0]) == (7.0, 7.0, 7.0)
