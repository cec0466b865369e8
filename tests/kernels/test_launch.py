"""Launch data: the schema, the address, the fallback, and the refusal of what does not fit."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from glm_rocm.target.cards import ARCHS
from glm_rocm.target.cards import CARDS as PRODUCT_CARDS
from glm_rocm_kernels import launch as module
from glm_rocm_kernels.errors import LaunchDataError, LaunchRefusedError
from glm_rocm_kernels.launch import CONFIGS, LaunchChoice, choose, load, refuse_unfit
from glm_rocm_kernels.linear import linear

FILES = sorted(CONFIGS.glob("*.json"))
GOOD: dict[str, Any] = {
    "arch": "gfx000",
    "compute_units": 8,
    "lds_bytes": 65536,
    "entries": [
        {
            "op": "linear",
            "dtype": ["bfloat16"],
            "where": {"M": [None, 16], "N": 64, "quant": "none"},
            "choice": {"BLOCK_M": 16, "num_warps": 2, "num_stages": 1, "kpack": 2},
            "versions": {"triton": "3.9.0"},
        },
        {"op": "linear", "dtype": ["float8_e4m3fn"], "where": {}, "refused": "no such units"},
    ],
}


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the shipped files; the caches are emptied before and after."""

    def clear() -> None:
        for cached in (choose, load, module.device):
            cached.cache_clear()

    def replace(**files: dict[str, Any]) -> None:
        for name, content in files.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        monkeypatch.setattr(module, "CONFIGS", tmp_path)
        clear()

    yield replace
    monkeypatch.undo()
    clear()


def default(**where: Any) -> dict[str, Any]:
    entry = {"op": "linear", "dtype": [], "where": where, "choice": {"BLOCK_M": 99, "num_warps": 4}, "versions": {}}
    return {"arch": "default", "compute_units": 1, "lds_bytes": 1, "entries": [entry]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_files_follow_the_schema(path: Path) -> None:
    table = load(path)
    assert table.device.arch == path.stem


def test_shipped_files_know_the_cards_that_the_product_knows() -> None:
    """Two packages state the same hardware, and neither imports the other."""
    for name, arch in ARCHS.items():
        if (CONFIGS / f"{name}.json").is_file():
            card = next(card for card in PRODUCT_CARDS if card.arch == name)
            assert module.device(name) == module.Device(name, card.compute_units, arch.lds_bytes)


def test_each_operator_has_a_fallback_for_any_dtype_that_nobody_foresaw() -> None:
    ops = {entry.op for path in FILES for entry in load(path).entries}
    fallback = load(CONFIGS / "default.json").entries
    for op in ops:
        unlimited = [entry for entry in fallback if entry.op == op and not entry.where]
        covered = {dtype for entry in unlimited for dtype in entry.dtypes}
        known = {"bfloat16", "float16", "float32"}
        assert any(not entry.dtypes for entry in unlimited) or known <= covered, f"`{op}` has no fallback"


def test_the_first_entry_that_matches_counts(configs: Callable[..., None]) -> None:
    configs(gfx000=GOOD, default=default())
    choice = choose("linear", "gfx000", "bfloat16", M=16, N=64, quant="none", K=1)
    assert choice["BLOCK_M"] == 16
    assert choice.options == {"enable_fp_fusion": True, "num_warps": 2, "num_stages": 1, "kpack": 2}
    assert choice.origin == "gfx000.json, entry 0"


@pytest.mark.parametrize(
    "shape", [{"M": 17, "N": 64, "quant": "none"}, {"M": 1, "N": 65, "quant": "none"}, {"M": 1, "N": 64}]
)
def test_what_no_entry_matches_gets_the_stated_fallback(configs: Callable[..., None], shape: dict[str, Any]) -> None:
    configs(gfx000=GOOD, default=default())
    choice = choose("linear", "gfx000", "bfloat16", **shape)
    assert choice["BLOCK_M"] == 99
    assert choice.arch == "gfx000"
    assert choice.origin == "default.json, entry 0"


def test_an_unknown_architecture_gets_the_fallback(configs: Callable[..., None]) -> None:
    configs(default=default())
    choice = choose("linear", "sm999", "float16", M=1)
    assert choice.origin == "default.json, entry 0"
    assert module.device("sm999") == module.Device("sm999", 1, 1)


def test_options_of_one_vendor_stay_with_it(configs: Callable[..., None]) -> None:
    configs(sm000=GOOD | {"arch": "sm000"}, default=default())
    assert "kpack" not in choose("linear", "sm000", "bfloat16", M=1, N=64, quant="none").options


def test_a_kernel_that_an_architecture_cannot_have(configs: Callable[..., None]) -> None:
    configs(gfx000=GOOD, default=default())
    with pytest.raises(LaunchRefusedError, match=r"not launched on gfx000: no such units \(gfx000.json, entry 1\)"):
        choose("linear", "gfx000", "float8_e4m3fn", M=1)


def test_no_entry_at_all(configs: Callable[..., None]) -> None:
    configs(default=default(M=3))
    with pytest.raises(LaunchDataError, match=r"no entry of `default.json` is for `linear`, dtype float16, {'M': 4}"):
        choose("linear", "gfx000", "float16", M=4)


def test_a_constant_that_the_entry_lacks(configs: Callable[..., None]) -> None:
    configs(default=default())
    with pytest.raises(LaunchDataError, match="entry 0: `linear` needs `BLOCK_N`; found"):
        choose("linear", "gfx000", "float16")["BLOCK_N"]


def broken(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    content = copy.deepcopy(GOOD)
    change(content)
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (broken(lambda c: c.pop("lds_bytes")), "required: exactly"),
        (broken(lambda c: c.update(comment="")), "required: exactly"),
        (broken(lambda c: c.update(compute_units="8")), "`compute_units` is '8'; required: int"),
        (broken(lambda c: c.update(arch="gfx001")), "is for arch `gfx001`; required: `gfx000`"),
        (broken(lambda c: c["entries"].append(3)), "entry 2 has \\['int'\\]"),
        (broken(lambda c: c["entries"][0].pop("versions")), "entry 0 has"),
        (broken(lambda c: c["entries"][0].update(refused="both")), "entry 0 has"),
        (broken(lambda c: c["entries"][0]["choice"].update(num_warp=2)), "`choice.num_warp` is 2; required"),
        (broken(lambda c: c["entries"][0]["choice"].update(BLOCK_N="64")), "`choice.BLOCK_N` is '64'; required"),
        (broken(lambda c: c["entries"][0]["choice"].update(BLOCK_N=True)), "`choice.BLOCK_N` is True; required"),
        (broken(lambda c: c["entries"][0]["where"].update(M=[1])), r"`where.M` is \[1\]; required"),
        (broken(lambda c: c["entries"][0]["where"].update(M=1.5)), "`where.M` is 1.5; required"),
        (broken(lambda c: c["entries"][0]["versions"].update(triton=3.9)), "`versions.triton` is 3.9; required"),
    ],
)
def test_a_file_that_breaks_the_schema(configs: Callable[..., None], content: dict[str, Any], message: str) -> None:
    configs(gfx000=content, default=default())
    with pytest.raises(LaunchDataError, match=message):
        choose("linear", "gfx000", "bfloat16", M=1)


def test_a_file_that_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "gfx000.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(LaunchDataError, match=r"`gfx000\.json` is no JSON"):
        load(path)


def compiled(shared: int, spills: int) -> SimpleNamespace:
    """What `refuse_unfit` reads of a compiled kernel, as Triton 3.9.0 gives it."""
    asm = {"amdgcn": f"    .vgpr_count:     512\n    .vgpr_spill_count: {spills}\n"}
    return SimpleNamespace(metadata=SimpleNamespace(shared=shared), asm=asm)


CHOICE = LaunchChoice("linear", "gfx942", {}, {}, "gfx942.json, entry 7")


def test_a_choice_that_fits() -> None:
    refuse_unfit(compiled(65536, 0), "gemm", CHOICE)


@pytest.mark.parametrize(
    ("shared", "spills", "message"),
    [(65537, 0, "65537 bytes of LDS; at most 65536"), (0, 12, "12 vector registers spilled to memory; none may be")],
)
def test_a_choice_that_does_not_fit(shared: int, spills: int, message: str) -> None:
    with pytest.raises(LaunchRefusedError, match=f"`gemm` is not launched on gfx942: {message}.*entry 7"):
        refuse_unfit(compiled(shared, spills), "gemm", CHOICE)


@pytest.mark.parametrize(
    ("block", "waves", "message"),
    [((128, 128, 256), 0, "bytes of LDS; at most 65536"), ((128, 256, 32), 4, "vector registers spilled to memory")],
    ids=["LDS", "registers"],
)
def test_refused_before_it_is_launched(
    target: Any, device: torch.device, configs: Callable[..., None], block: tuple[int, ...], waves: int, message: str
) -> None:
    """Real kernels, compiled in choices that are too large for the card."""
    if target.name != "gfx942":
        pytest.skip("the limits are those of gfx942")
    sizes = dict(zip(("BLOCK_M", "BLOCK_N", "BLOCK_K"), block, strict=True))
    entry = {
        "op": "linear",
        "dtype": [],
        "where": {},
        "choice": {**sizes, "GROUP_M": 1, "MAX_PARTS": 1, "num_warps": 4, "num_stages": 2, "waves_per_eu": waves},
        "versions": {},
    }
    configs(default={"arch": "default", "compute_units": 304, "lds_bytes": 65536, "entries": [entry]})
    out_of_reach = torch.randn(300, 512).bfloat16()
    with pytest.raises(LaunchRefusedError, match=message):
        linear(out_of_reach, out_of_reach)
