"""Emulation is switched on knowingly, with the versions that it was checked with, or refused with the cure."""

from __future__ import annotations

import subprocess
import sys

import pytest

from glm_rocm.backends import emulation
from glm_rocm.errors import EngineError, UsageError


def test_each_word_stands_for_a_card_with_kernels_of_its_own() -> None:
    for word in emulation.CARDS:
        card = emulation.emulated_target(word)
        assert card.vendor == "rocm"
        assert card.fp8_dtype == ("float8_e4m3fnuz" if word == "gfx942" else "float8_e4m3fn")


def test_unknown_card_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="one of `gfx942`, `gfx950`, `interpret`"):
        emulation.emulated_target("mi300x")


@pytest.mark.parametrize("word", emulation.CARDS)
def test_this_environment_can_emulate(word: str) -> None:
    emulation.check(word)


@pytest.mark.parametrize(("word", "missing"), [("gfx942", "triton"), ("interpret", "triton"), ("gfx950", "tinygrad")])
def test_a_missing_package_is_named_with_its_cure(word: str, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = emulation._version
    monkeypatch.setattr(emulation, "_version", lambda name: None if name == missing else real(name))
    with pytest.raises(EngineError, match=f"`{missing}` not installed") as refusal:
        emulation.check(word)
    assert "pip install" in refusal.value.hint


def test_another_triton_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulation, "_version", lambda name: "3.4.0")
    with pytest.raises(EngineError, match=r"`triton` 3.4.0; triton 3.9.0"):
        emulation.check("gfx942")


def test_machine_code_wants_a_compiler_and_the_interpreter_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EngineError, match="without a C compiler"):
        emulation.check("gfx942")
    emulation.check("interpret")


def test_the_interpreter_must_be_asked_for_before_triton_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(EngineError, match="not imported as an interpreter"):
        emulation.activate("interpret")


def test_asking_what_can_be_emulated_imports_neither_triton_nor_torch() -> None:
    script = (
        "import sys; from glm_rocm.backends import emulation; emulation.check('gfx942');"
        "sys.exit(bool({'triton', 'torch', 'tinygrad', 'cdna_emulator'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
