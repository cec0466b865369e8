"""The package itself: what its import costs, what it offers, how its core is built and what a place without a compiler
is told."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import cdna_emulator
from cdna_emulator import BuildError, build, core


def test_import_is_free() -> None:
    heavy = "numpy", "torch", "triton", "tinygrad", "ctypes"
    code = f"import sys, cdna_emulator; print([name for name in {heavy!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_decoding_leaves_the_process_as_it_was() -> None:
    code = (
        "import sys; from cdna_emulator.encoding import split; limit = sys.getrecursionlimit();"
        "split((0xBF810000).to_bytes(4, 'little'), 0); sys.exit(sys.getrecursionlimit() != limit)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_offered_is_there_and_no_other() -> None:
    assert cdna_emulator.__all__ == dir(cdna_emulator)
    for name in cdna_emulator.__all__:
        assert getattr(cdna_emulator, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cdna_emulator.nothing


def test_no_operation_is_there_twice_and_classes_follow_the_mnemonics() -> None:
    assert [name for name, count in Counter(core.operation_names()).items() if count > 1] == []
    prefixes = {
        "v_mfma": "MFMA",
        "ds_": "LDS",
        "buffer_": "VMEM",
        "global_": "VMEM",
        "flat_": "VMEM",
        "scratch_": "SCRATCH",
    }
    for name, operation in core.operations().items():
        expected = next((cls for prefix, cls in prefixes.items() if name.startswith(prefix)), None)
        if expected:
            assert operation.cls.name == expected, name
        elif name.startswith("v_"):
            assert operation.cls.name == "VALU", name
        else:
            assert name.startswith("s_"), name


def test_core_is_compiled_once_and_again_when_a_source_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = tmp_path / "core"
    sources.mkdir()
    (sources / "answer.h").write_text("#define ANSWER 41\n")
    (sources / "answer.c").write_text('#include "answer.h"\nint answer(void);\nint answer(void) { return ANSWER; }\n')
    monkeypatch.setattr(build, "SOURCES", sources)
    monkeypatch.setenv("CDNA_EMULATOR_CACHE", str(tmp_path / "cache"))
    first = build.build()
    written = first.stat().st_mtime_ns
    assert build.build() == first
    assert first.stat().st_mtime_ns == written
    (sources / "answer.h").write_text("#define ANSWER 42\n")
    second = build.build()
    assert [ctypes.CDLL(str(library)).answer() for library in (first, second)] == [41, 42]
    assert list((tmp_path / "cache").rglob("*.part")) == []


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(BuildError, match=r"no C compiler; .*\n\nhint: apt-get install gcc"):
        build.compiler()


def test_a_compiler_that_fails_is_named_with_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\necho no such flag >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setenv("CC", str(failing))
    monkeypatch.setenv("CDNA_EMULATOR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BuildError, match=r"failing` does not compile the core:\nno such flag"):
        build.build()


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CDNA_EMULATOR_CACHE", str(tmp_path / "file"))
    with pytest.raises(BuildError, match=r"(?s)cannot write to `.*file.*export CDNA_EMULATOR_CACHE") as caught:
        build.build()
    assert "a folder for the compiled core" in str(caught.value)


@pytest.mark.slow
def test_core_compiles_without_a_warning() -> None:
    sources = [str(source) for source in sorted(build.SOURCES.glob("*.c"))]
    command = [build.compiler(), *build.FLAGS, *build.WARNINGS, "-fsyntax-only", *sources]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
