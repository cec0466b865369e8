"""A checkpoint's own trouble is named before any arithmetic."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from planted.checkpoints import TROUBLES, Trouble

from glm_rocm.errors import CheckpointError
from glm_rocm.model import load_spec
from glm_rocm.pocket import checkpoint_path
from glm_rocm.quantize import quantize_checkpoint
from glm_rocm.validate.checkpoint import checkpoint_case


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pocket GLM in FP8."""
    folder = tmp_path_factory.mktemp("fp8") / "pocket"
    quantize_checkpoint(checkpoint_path(), folder)
    return folder


def test_sound_checkpoints_have_none(sound: Path) -> None:
    for folder in (sound, checkpoint_path()):
        assert checkpoint_case(load_spec(str(folder))).passed


@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_trouble_is_named_with_its_tensor(trouble: Trouble, sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(sound, folder)
    trouble.plant(folder)
    assert trouble.named in told(folder)


def told(folder: Path) -> str:
    """What is said of a damaged checkpoint, in the report or as a refusal."""
    try:
        case = checkpoint_case(load_spec(str(folder)))
    except CheckpointError as error:
        return error.sentence
    return "" if case.passed else case.failures[0].where
