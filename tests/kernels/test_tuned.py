"""Choices of the user's own: read before the shipped ones, and only by what they were measured with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glm_rocm_kernels import launch, tuned
from glm_rocm_kernels.errors import LaunchDataError

SHAPE = {"M": 12, "E": 160, "N": 192, "H": 5120, "quant": "none"}
ENTRY: dict[str, Any] = {
    "op": "moe.sum",
    "dtype": ["bfloat16"],
    "where": SHAPE | {"M": [9, 16]},
    "choice": {"BLOCK_N": 2048, "num_warps": 2, "num_stages": 1},
    "versions": {"source": "5.00 us, as shipped 6.00 us, time on the card"},
}


@pytest.fixture(autouse=True)
def _as_shipped() -> Iterator[None]:
    yield
    launch.use_tuned("gfx942", ())


def write(folder: Path, **changes: Any) -> Path:
    content = {
        "format": tuned.FORMAT,
        "arch": "gfx942",
        "card": "MI300X",
        "measured": "time on the card",
        "versions": tuned.versions(),
        "entries": [ENTRY],
        "tried": [],
    }
    path = folder / "gfx942.json"
    path.write_text(json.dumps(content | changes), encoding="utf-8")
    return path


def chosen(**changes: Any) -> int:
    return launch.choose("moe.sum", "gfx942", "bfloat16", **(SHAPE | changes))["BLOCK_N"]


def test_a_tuned_choice_goes_before_the_shipped_one_at_its_address_and_nowhere_else(tmp_path: Path) -> None:
    shipped = chosen()
    entries = tuned.read(write(tmp_path), "gfx942")
    assert isinstance(entries, tuple)
    launch.use_tuned("gfx942", entries)
    assert chosen() == chosen(M=16) == 2048 != shipped
    assert chosen(M=8) == chosen(M=17) == chosen(N=384) == chosen(quant="block") == shipped
    assert launch.choose("moe.sum", "gfx950", "bfloat16", **SHAPE)["BLOCK_N"] == shipped
    launch.use_tuned("gfx942", ())
    assert chosen() == shipped


@pytest.mark.parametrize("name", ["triton", "torch", "kernels"])
def test_a_file_of_another_version_is_refused_and_names_both(name: str, tmp_path: Path) -> None:
    found = tuned.read(write(tmp_path, versions=tuned.versions() | {name: "0.0"}), "gfx942")
    assert str(found) == f"measured with {name} 0.0; here is {name} {tuned.versions()[name]}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "no file of tuned choices of format 1"),
        ({"arch": "gfx950"}, "is for gfx950; required: gfx942"),
        ({"entries": {}}, "`entries` is {}; required: list"),
        ({"entries": [ENTRY | {"choice": {"BLOCK_N": "wide"}}]}, "`choice.BLOCK_N` is 'wide'"),
    ],
)
def test_a_broken_file_is_an_error_that_names_it(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(LaunchDataError, match="gfx942") as broken:
        tuned.read(write(tmp_path, **changes), "gfx942")
    assert message in str(broken.value)


def test_a_file_that_was_cut_off_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text()[:99])
    with pytest.raises(LaunchDataError, match="cannot be read"):
        tuned.read(path, "gfx942")
