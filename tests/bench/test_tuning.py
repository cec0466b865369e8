"""The search of launch choices: what it keeps, what it remembers, and what serving makes of its file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from glm_rocm.backends import tuned
from glm_rocm.bench.tuning import KNOBS, Cost, Search, Store, bucket, cases_of, on_emulator, sensible
from glm_rocm.errors import ParityError, UsageError
from glm_rocm.target import parse_target
from glm_rocm_kernels import launch

MI300X = parse_target("gfx942")
(CASE,) = cases_of("zai-org/GLM-4.6", 8, [12], [False])
WHERE = {"M": 12, "E": 160, "N": 192, "H": 5120, "quant": "none"}


def search(path: Path, *kernels: str) -> Search:
    store, stale = Store.open(path, "gfx942", MI300X.name, "made up")
    assert stale == ""
    return Search(CASE, MI300X, kernels, store)


def sum_choice() -> launch.LaunchChoice:
    return launch.choose("moe.sum", "gfx942", "bfloat16", **WHERE)


def by_width(best: int, calls: list[int]) -> Callable[[], Cost]:
    """A card on which the sum is fastest at one width."""

    def measure() -> Cost:
        width = sum_choice()["BLOCK_N"]
        calls.append(width)
        return Cost(5.0 if width == best else 6.0)

    return measure


def test_the_best_choice_is_kept_and_used_by_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "new" / "gfx942.json"
    list(search(path, "moe.sum").run(by_width(2048, [])))
    assert sum_choice()["BLOCK_N"] != 2048, "the search leaves the process as it found it"
    assert tuned.use("gfx942", path) == f"1 tuned choices from `{path}`"
    try:
        assert sum_choice()["BLOCK_N"] == 2048
    finally:
        launch.use_tuned("gfx942", ())
    (entry,) = json.loads(path.read_text())["entries"]
    assert entry["where"] == WHERE | {"M": [9, 16]}
    assert entry["versions"]["source"] == "5.00 us, as shipped 6.00 us, made up"


def test_a_search_that_was_cut_off_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "gfx942.json"
    calls: list[int] = []
    first = search(path, "moe.sum").run(by_width(2048, calls))
    for _ in range(3):
        next(first)
    first.close()
    assert len(calls) == 3
    tried = list(search(path, "moe.sum").run(by_width(2048, calls)))
    assert [item.remembered for item in tried[:4]] == [True, True, True, False]
    assert len(calls) == len(tried)
    again = list(search(path, "moe.sum").run(by_width(2048, calls)))
    assert all(item.remembered for item in again)
    assert len(json.loads(path.read_text())["entries"]) == 1


def test_a_choice_that_computes_something_else_is_refused_with_its_reason(tmp_path: Path) -> None:
    def measure() -> Cost:
        if sum_choice()["BLOCK_N"] == 2048:
            raise ParityError("token 3 is off")
        return Cost(6.0)

    tried = list(search(tmp_path / "gfx942.json", "moe.sum").run(measure))
    assert ["token 3 is off" in item.refused for item in tried if item.changed == "BLOCK_N 2048"] == [True]
    assert json.loads((tmp_path / "gfx942.json").read_text())["entries"] == []


def test_an_error_that_no_choice_can_cause_ends_the_search(tmp_path: Path) -> None:
    def measure() -> Cost:
        raise MemoryError

    with pytest.raises(MemoryError):
        list(search(tmp_path / "gfx942.json", "moe.sum").run(measure))


def test_less_than_noise_replaces_nothing() -> None:
    assert not Cost(9.9).beats(Cost(10.0))
    assert Cost(9.7).beats(Cost(10.0))
    assert Cost(10.0, 90).beats(Cost(10.0, 100))
    assert not Cost(10.1, 10).beats(Cost(10.0, 100))


def test_buckets_meet_and_do_not_overlap() -> None:
    found = sorted({bucket(tokens) for tokens in range(1, 300)})
    assert [low for low, _ in found] == [1, *(high + 1 for _, high in found[:-1])]
    assert all(bucket(tokens)[0] <= tokens <= bucket(tokens)[1] for tokens in range(1, 300))


def test_a_direct_tile_stays_one_warp() -> None:
    direct = {"BLOCK_N": 32, "DIRECT": 1, "num_warps": 1, "matrix_instr_nonkdim": 16}
    assert sensible("moe.down", direct)
    assert not sensible("moe.down", direct | {"num_warps": 2})
    assert not sensible("moe.down", direct | {"matrix_instr_nonkdim": 64})


def test_a_file_of_other_kernels_is_not_used_and_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "gfx942.json"
    list(search(path, "moe.sum").run(by_width(2048, [])))
    path.write_text(path.read_text().replace('"kernels": "', '"kernels": "0'))
    assert "tuned choices are not used" in tuned.use("gfx942", path)
    store, stale = Store.open(path, "gfx942", MI300X.name, "made up")
    assert "begins anew: measured with kernels 0" in stale
    assert store.tried == []


def test_a_file_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    path.write_text("[]")
    with pytest.raises(UsageError, match="no file of tuned choices"):
        Store.open(path, "gfx942", MI300X.name, "made up")


def test_no_file_is_no_line_and_the_default_lies_in_the_users_configuration(tmp_path: Path) -> None:
    path = tuned.default_path("gfx942", {"XDG_CONFIG_HOME": str(tmp_path), "HOME": "/nowhere"})
    assert path == tmp_path / "glm-rocm" / "tuned" / "gfx942.json"
    assert tuned.use("gfx942", path) == ""


def test_the_emulator_counts_a_choice_of_the_search(tmp_path: Path) -> None:
    """One real call each of the shipped choices and of another width of the sum."""
    small = search(tmp_path / "gfx942.json", "moe.sum")
    (small_case,) = cases_of("zai-org/GLM-4.5-Air", 8, [1], [False])
    found = Search(small_case, MI300X, ("moe.sum",), small.store).run(on_emulator(small_case, MI300X))
    first, second = next(found), next(found)
    assert first.cost is not None
    assert second.cost is not None
    assert first.cost.instructions != second.cost.instructions
    found.close()


def test_every_knob_is_one_that_the_shipped_choices_have(tmp_path: Path) -> None:
    shipped = search(tmp_path / "gfx942.json").shipped()
    for kernel, knobs in KNOBS.items():
        assert set(knobs) <= set(shipped[kernel])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "mi300"], "`--target mi300`"),
        (["--target", "rocm"], "sees no such card"),
        (["--target", "gfx942", "--kernel", "softmax"], "`--kernel softmax`"),
        (["GLM-5", "--target", "gfx942"], "`MODEL GLM-5`"),
        (["--target", "gfx942", "--tp", "7"], "TP"),
    ],
)
def test_a_wrong_word_is_refused(words: list[str], message: str, tmp_path: Path) -> None:
    done = tune(tmp_path, *words)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "hint: " in done.stderr


def test_a_dry_run_says_what_it_would_try_and_writes_nothing(tmp_path: Path) -> None:
    done = tune(tmp_path, "--target", "gfx942", "--tokens", "16", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("M 16, E 160, H 5120, N 192") == 2
    assert not list(tmp_path.rglob("*.json"))


def tune(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "glm_rocm.cli", "tune", *words],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "XDG_CONFIG_HOME": str(folder)},
        cwd=folder,
    )
