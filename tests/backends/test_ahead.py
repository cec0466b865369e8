"""A cache filled without a card: a second process finds every kernel, and a cache that would not be used is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glm_rocm.backends import ahead, rocm

pytest.importorskip("triton", reason="kernels are compiled by Triton, which is not installed")


@pytest.fixture(autouse=True)
def no_variables_of_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache is checked against them, and libraries that earlier tests imported may have set some."""
    for name in [name for name in os.environ if name.startswith("TRITON_")]:
        monkeypatch.delenv(name)


def compile_kernels(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`glm-rocm compile` in a process of its own."""
    cleaned = {name: value for name, value in os.environ.items() if not name.startswith("TRITON_")}
    return subprocess.run(
        [sys.executable, "-m", "glm_rocm.cli", "compile", *words],
        capture_output=True,
        text=True,
        check=False,
        env=cleaned | environment,
    )


def filled(folder: Path, **environment: str) -> dict[str, Any]:
    done = compile_kernels("--arch", "gfx942", "--op", "quant", "--out", str(folder), "--json", **environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the quantisation kernels of gfx942."""
    folder = tmp_path_factory.mktemp("ahead") / "triton"
    made = filled(folder)
    assert made["compiled"] > 0
    assert made["found"] == 0
    assert not made["refused"]
    return folder


@pytest.mark.slow
def test_second_process_compiles_nothing(cache: Path) -> None:
    again = filled(cache)
    assert again["compiled"] == 0
    assert again["found"] > 0
    assert ahead.check(cache) == ["gfx942"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["triton", "kernels", "variables"])
def test_cache_of_another_make_is_refused(cache: Path, name: str) -> None:
    manifest = cache / ahead.MANIFEST
    right = manifest.read_text(encoding="utf-8")
    manifest.write_text(json.dumps(json.loads(right) | {name: "another"}), encoding="utf-8")
    try:
        with pytest.raises(ahead.CacheError, match=f"compiled with {name} `another`") as refused:
            ahead.check(cache)
    finally:
        manifest.write_text(right, encoding="utf-8")
    assert refused.value.exit_code == 1
    assert refused.value.hint.startswith("glm-rocm compile --arch gfx942,gfx950 --out")


@pytest.mark.slow
def test_variable_that_triton_compiles_by_makes_another_cache(cache: Path) -> None:
    done = compile_kernels("--check", str(cache), TRITON_DEFAULT_FP_FUSION="0")
    assert done.returncode == 1
    assert "compiled with variables `none`; `TRITON_DEFAULT_FP_FUSION=0`" in done.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", '{"archs": 3}', '{"archs": ["gfx942"]}'])
def test_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / ahead.MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(ahead.CacheError, match="cannot be read"):
        ahead.check(tmp_path)


def test_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ahead.CacheError, match=r"no `glm-rocm\.json`"):
        ahead.check(tmp_path)


@pytest.mark.parametrize(
    "words",
    [[], ["--out", "a", "--check", "b"], ["--arch", "gfx941", "--out", "a"], ["--op", "rope", "--out", "a"]],
    ids=["neither", "both", "unknown arch", "unknown op"],
)
def test_words_that_mean_nothing_are_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from glm_rocm.cli import main

    assert main(["compile", *words]) == 2
    assert "hint: glm-rocm compile" in capsys.readouterr().err


def test_every_op_has_calls_on_every_architecture_of_the_kernels() -> None:
    import torch

    from glm_rocm_kernels.calls import served_calls

    assert ahead.COMPILED_FOR == rocm.ARCHS
    assert {call.op for call in served_calls(torch.float8_e4m3fn)} == set(ahead.OPS)


@pytest.mark.slow
def test_moved_cache_is_refused_and_would_compile_anew(cache: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    # A copy beside the original would still be found, by the absolute paths in it; what ships has none beside it.
    cache.rename(moved)
    with pytest.raises(ahead.CacheError, match="compiled with folder"):
        ahead.check(moved)
    assert filled(moved)["compiled"] > 0
    moved.rename(cache)
