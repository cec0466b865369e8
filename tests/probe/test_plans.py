"""A probe within a plan: what was passed over stands in it with its error, and what is asked for must work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from glm_rocm import backends
from glm_rocm.cli.plan import Wanted, make, prober
from glm_rocm.errors import SelectionError
from glm_rocm.ops.kernel import Kernel
from glm_rocm.plan import Plan
from glm_rocm.target import detect_target, parse_target

Candidate = Callable[[str], Kernel]


@pytest.fixture
def with_candidate(candidate: Candidate, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put one of the failing kernels before all others of this machine."""
    real = backends.candidates

    def put(name: str) -> None:
        monkeypatch.setattr(backends, "candidates", lambda target: (candidate(name), *real(target)))

    return put


def wanted(**changes: Any) -> Wanted:
    flags: dict[str, Any] = dict.fromkeys(("tp", "context", "max_seqs", "memory_share"))
    flags |= {"model": "pocket", "target": "cpu", "engine": "vllm", "mtp": 0, "fp8": "auto", "dtype": "auto"}
    flags |= {"kv_dtype": "auto", "kernels": {}, "emulate": "", "probe": True}
    return Wanted(**(flags | changes))


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_what_was_passed_over_stands_in_the_plan_and_the_rest_serves(with_candidate: Callable[[str], None]) -> None:
    with_candidate("no_nvcc")
    made, _ = make(wanted(), planning=False)
    assert made.chosen("attention") == "cpu.attention"
    attention = next(one for one in made.selections if one.problem.op == "attention")
    (refused,) = attention.refused
    assert "RuntimeError: Could not find nvcc" in str(refused)
    assert "install the CUDA toolkit" in str(refused)
    assert "Could not find nvcc" in attention.because
    assert Plan.from_json(made.to_json()) == made


def test_the_one_asked_for_must_work(with_candidate: Callable[[str], None]) -> None:
    with_candidate("no_nvcc")
    with pytest.raises(SelectionError, match=r"does not run .*Could not find nvcc"):
        make(wanted(kernels={"attention": "no_nvcc"}), planning=False)


def test_without_a_probe_the_declaration_alone_decides(with_candidate: Callable[[str], None]) -> None:
    with_candidate("no_nvcc")
    made, _ = make(wanted(probe=False), planning=False)
    assert made.chosen("attention") == "test.no_nvcc"


def test_only_what_is_in_this_machine_is_tried() -> None:
    here = detect_target()
    elsewhere = "b200:8" if here.arch != "sm100" else "mi300x:8"
    assert prober(parse_target(elsewhere)) is None
    found = prober(here)
    assert found is not None
    assert found.target == here
