"""What probes found is remembered by versions, card and problem; a folder that takes nothing is no trouble."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glm_rocm.ops.kernel import Kernel, Refused
from glm_rocm.probe import Prober, cache
from glm_rocm.probe.outcome import Outcome
from glm_rocm.target import parse_target

Candidate = Callable[[str], Kernel]
FAILED = Outcome("failed", "RuntimeError: no nvcc", "tail", 1.5)


def test_a_failure_is_remembered_and_says_where(candidate: Candidate, problem: Any, here: Any, tmp_path: Path) -> None:
    told: list[str] = []
    for _ in range(2):
        refused = Prober(here, folder=tmp_path / "probes", tell=told.append)(candidate("segfault"), problem)
        assert isinstance(refused, Refused)
    assert told == ["test.segfault"], "the second launch read what the first found"
    (file,) = (tmp_path / "probes").iterdir()
    assert f"delete `{file}` to try again" in refused.reasons[0].cure


def test_what_stops_a_launch_is_not_remembered(tmp_path: Path) -> None:
    for state in ("parity", "memory", "argument"):
        assert not cache.write(tmp_path, "name", Outcome(state, "x"))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_written_whole_and_read_again(tmp_path: Path) -> None:
    assert cache.write(tmp_path / "new", "name", FAILED)
    assert cache.read(tmp_path / "new", "name") == FAILED
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["name.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"state": "ran"}', '{"state":"?","error":"","detail":"","seconds":1}']
)
def test_a_damaged_memory_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "name.json").write_text(text)
    assert cache.read(tmp_path, "name") is None


@pytest.mark.parametrize("taken", ["a file", "read-only"])
def test_a_folder_that_takes_nothing_is_no_trouble(
    candidate: Candidate, problem: Any, here: Any, tmp_path: Path, taken: str
) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("") if taken == "a file" else blocked.mkdir()
    folder = blocked / "probes" if taken == "a file" else Path("/proc/glm-rocm/probes")
    assert isinstance(Prober(here, folder=folder)(candidate("half"), problem), Refused)
    assert not cache.write(folder, "name", FAILED)


def test_address_changes_with_all_that_a_result_depends_on(candidate: Candidate, monkeypatch: Any) -> None:
    kernel, h100 = candidate("torch"), parse_target("h100")
    plain = cache.address(kernel, "request", h100, {})
    others = [
        cache.address(candidate("half"), "request", h100, {}),
        cache.address(kernel, "other request", h100, {}),
        cache.address(kernel, "request", parse_target("h200"), {}),
        cache.address(kernel, "request", h100, {"CUDA_HOME": "/opt/cuda"}),
        cache.address(kernel, "request", h100, {"PATH": os.environ["PATH"]}),
    ]
    monkeypatch.setattr(cache, "_versions", lambda name: ["0.7.2"] if name == "flashinfer-python" else [])
    others.append(cache.address(kernel, "request", h100, {}))
    assert len({plain, *others}) == 7
    monkeypatch.undo()
    assert cache.address(kernel, "request", replace(h100, count=8), {"HOME": "/elsewhere"}) == plain


def test_default_folder_follows_the_environment() -> None:
    assert cache.default_folder({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == Path("/x/glm-rocm/probes")
    assert cache.default_folder({"HOME": "/h"}) == Path("/h/.cache/glm-rocm/probes")
