"""Libraries that are missing, too old, too new, there twice or in part, and wheels without code for the card."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glm_rocm.backends import candidates, cuda
from glm_rocm.backends.cuda.limits import capability, runs_on
from glm_rocm.errors import SelectionError
from glm_rocm.model import KNOWN
from glm_rocm.ops.attention import AttentionProblem
from glm_rocm.ops.kernel import Accepted, Refused
from glm_rocm.ops.moe import ExpertsProblem
from glm_rocm.ops.select import select
from glm_rocm.plan.problems import problems_of
from glm_rocm.target import Target, parse_target

GLM = AttentionProblem(12, 1, 128, 16, "bfloat16", "bfloat16")


@pytest.fixture
def h100() -> Target:
    """A detected card: what is installed counts."""
    return replace(parse_target("h100:8"), stated=False)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither library, whatever this environment has."""
    monkeypatch.setattr("glm_rocm.backends.cuda.limits.installed", lambda name: ())


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`install("flashinfer-python", "0.6.13", "flashinfer")`: as pip leaves it; without a module, as a broken one."""
    folders = 0

    def put(distribution: str, version: str, module: str = "", **files: str) -> Path:
        nonlocal folders
        folders += 1
        site = tmp_path / f"site{folders}"
        record = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        record.mkdir(parents=True)
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        if module:
            (site / module).mkdir()
            (site / module / "__init__.py").write_text("")
            for name, text in files.items():
                (site / module / name.replace("__", ".")).write_text(text)
        monkeypatch.syspath_prepend(str(site))
        return site

    return put


def verdict(name: str, problem: Any, target: Target) -> str:
    (kernel,) = (one for one in cuda.KERNELS if one.name == name)
    found = kernel.check(problem, target)
    return str(found) if isinstance(found, Refused) else "accepted"


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("0.5.3", "`flashinfer-python` 0.5.3, required version <0.8,>=0.6.13; pip install 'flashinfer-python>=0.6.13"),
        ("0.8.0", "`flashinfer-python` 0.8.0, required version <0.8,>=0.6.13"),
        ("not-a-version", "`flashinfer-python` not-a-version, required version"),
        ("0.6.13", "accepted"),
        ("0.7.2.post1", "accepted"),
        ("0.6.13+cu130", "accepted"),
    ],
)
def test_version_of_flashinfer(install: Callable[..., Path], h100: Target, version: str, words: str) -> None:
    install("flashinfer-python", version, "flashinfer")
    assert words in verdict("cuda.flashinfer_attention", GLM, h100)


def test_a_missing_library_names_its_command(h100: Target, bare: None) -> None:
    assert "no `flashinfer-python`" in verdict("cuda.flashinfer_attention", GLM, h100)
    assert "pip install 'xformers>=0.0.35'" in verdict("cuda.xformers_attention", GLM, h100)


def test_two_versions_side_by_side(install: Callable[..., Path], h100: Target) -> None:
    install("flashinfer-python", "0.7.2", "flashinfer")
    install("flashinfer-python", "0.6.13", "flashinfer")
    found = verdict("cuda.flashinfer_attention", GLM, h100)
    assert "`flashinfer-python` 0.6.13 and 0.7.2 side by side" in found
    assert "pip uninstall -y flashinfer-python" in found


def test_an_installation_without_its_module(install: Callable[..., Path], h100: Target) -> None:
    install("flashinfer-python", "0.6.13")
    found = verdict("cuda.flashinfer_attention", GLM, h100)
    assert "0.6.13 without its module `flashinfer`" in found
    assert "--force-reinstall" in found


def record(archs: str) -> str:
    return json.dumps({"env": {"TORCH_CUDA_ARCH_LIST": archs}})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (record("7.5 8.0+PTX 9.0a"), "accepted"),
        (record("8.0 8.6"), "`xformers` built for `8.0 8.6`, required code for sm90; build xformers from source"),
        ("{", "accepted"),
        ("{}", "accepted"),
        ('{"env": {"TORCH_CUDA_ARCH_LIST": null}}', "accepted"),
    ],
)
def test_a_wheel_without_code_for_the_card(install: Callable[..., Path], h100: Target, text: str, words: str) -> None:
    install("xformers", "0.0.35", "xformers", cpp_lib__json=text)
    assert words in verdict("cuda.xformers_attention", GLM, h100)


@pytest.mark.parametrize(
    ("archs", "card", "runs"),
    [
        ("9.0a", (9, 0), True),
        ("9.0a", (10, 0), False),
        ("9.0", (9, 0), True),
        ("8.0", (8, 6), True),
        ("8.6", (8, 0), False),
        ("8.0", (9, 0), False),
        ("8.0+PTX", (10, 0), True),
        ("9.0+PTX", (8, 0), False),
        ("7.5;8.0;12.0", (12, 0), True),
        ("", (9, 0), False),
        ("Hopper", (9, 0), False),
    ],
)
def test_which_code_runs_where(archs: str, card: tuple[int, int], runs: bool) -> None:
    assert runs_on(archs, card) is runs


@pytest.mark.parametrize(
    ("arch", "found"), [("sm80", (8, 0)), ("sm90", (9, 0)), ("sm100", (10, 0)), ("gfx942", None), ("cpu", None)]
)
def test_capability_of_an_architecture(arch: str, found: tuple[int, int] | None) -> None:
    assert capability(arch) == found


BLOCKS = ExpertsProblem(160, 8, 5120, 1536, "bfloat16", "block", (128, 128))
REFUSALS = {
    "head size": ("cuda.flashinfer_attention", replace(GLM, head_dim=96), "h100", "head_dim 96, required one of 64"),
    "fp32": ("cuda.flashinfer_attention", replace(GLM, dtype="float32", kv_dtype="float32"), "h100", "dtype float32"),
    "pages": ("cuda.attention", replace(GLM, block_size=256), "h100", "block_size 256, required at most 128"),
    "foreign cache": (
        "cuda.flashinfer_attention",
        replace(GLM, kv_dtype="float8_e4m3fnuz"),
        "h100",
        "kv_dtype float8_e4m3fnuz, required bfloat16 or float8_e4m3fn on sm90",
    ),
    "fp8 cache": ("cuda.xformers_attention", replace(GLM, kv_dtype="float8_e4m3fn"), "h100", "drop `--kv-dtype fp8`"),
    "per channel": (
        "cuda.flashinfer_experts",
        replace(BLOCKS, quant="channel_token", block=None),
        "h100",
        "our Triton experts run FP8 per channel and token",
    ),
    "cut blocks": ("cuda.flashinfer_experts", replace(BLOCKS, intermediate=192), "h100", "5120 and 192 columns in FP8"),
    "Blackwell blocks": ("cuda.flashinfer_experts", BLOCKS, "b200", "FP8 blocks on sm100, required compute"),
    "odd width": (
        "cuda.flashinfer_experts",
        replace(BLOCKS, quant="none", block=None, intermediate=180),
        "h100",
        "multiples of 8",
    ),
    "old card": (
        "cuda.flashinfer_experts",
        replace(BLOCKS, quant="none", block=None),
        "a100",
        "arch sm80, required compute capability 9.0 or above",
    ),
    "uncompiled": ("cuda.attention", GLM, "a100", "arch sm80, required sm90 or sm100; the torch kernels run there"),
}


@pytest.mark.parametrize(("kernel", "problem", "card", "words"), REFUSALS.values(), ids=REFUSALS)
def test_refusal_states_found_required_and_cure(kernel: str, problem: Any, card: str, words: str) -> None:
    assert words in verdict(kernel, problem, parse_target(card))


def test_flashinfers_experts_take_whole_blocks_on_hopper() -> None:
    assert verdict("cuda.flashinfer_experts", BLOCKS, parse_target("h100")) == "accepted"


ORDER = {
    "attention": ["cuda.flashinfer_attention", "cuda.xformers_attention", "cuda.attention", "cpu.attention"],
    "moe.experts": ["cuda.flashinfer_experts", "cuda.experts", "cpu.experts"],
    "moe.route": ["cuda.route", "cpu.route"],
    "norm_rope": ["cuda.norm_rope", "cpu.norm_rope"],
}


@pytest.mark.parametrize("model", sorted(name for name, spec in KNOWN.items() if spec.quantization.scheme == "none"))
@pytest.mark.parametrize("card", ["h100:8", "h200:8", "b200:8"])
def test_bf16_models_find_every_candidate_in_its_order(model: str, card: str) -> None:
    target = parse_target(card)
    for problem in problems_of(KNOWN[model], 8, dtype="bfloat16", kv_dtype="bfloat16", block_size=16):
        found = [kernel.check(problem, target) for kernel in candidates(target) if kernel.op == problem.op]
        assert [one.kernel for one in found if isinstance(one, Accepted)] == ORDER[problem.op]


def test_a_machine_without_the_libraries_still_serves(h100: Target, bare: None) -> None:
    for problem in problems_of(KNOWN["zai-org/GLM-4.6-FP8"], 8, dtype="bfloat16", kv_dtype="bfloat16", block_size=16):
        assert select(problem, h100, candidates(h100)).chosen.name in {
            "cuda.attention",
            "cuda.route",
            "cuda.experts",
            "cuda.linear",
            "cuda.norm_rope",
            "cuda.quant",
        }


@pytest.mark.parametrize(
    ("asked", "op", "name"),
    [
        ("flashinfer", GLM, "cuda.flashinfer_attention"),
        ("xformers", GLM, "cuda.xformers_attention"),
        ("cuda.attention", GLM, "cuda.attention"),
        ("flashinfer", replace(BLOCKS, quant="none", block=None), "cuda.flashinfer_experts"),
    ],
)
def test_a_library_is_asked_for_by_its_name(asked: str, op: Any, name: str) -> None:
    target = parse_target("h100:8")
    assert select(op, target, candidates(target), asked=asked).chosen.name == name


def test_a_library_asked_for_and_not_there_is_an_error(h100: Target, bare: None) -> None:
    with pytest.raises(
        SelectionError, match=r"kernel `cuda\.flashinfer_attention` does not run .*no `flashinfer-python`"
    ):
        select(GLM, h100, candidates(h100), asked="flashinfer")


def test_the_card_is_what_flashinfer_compiles_for() -> None:
    for card, word in (("h100", "9.0a"), ("b200", "10.0a"), ("a100", "8.0")):
        assert set(cuda.environment(parse_target(card)).values()) == {word}
    assert cuda.environment(parse_target("mi300x")) == {}


def test_declaring_looks_at_libraries_without_importing_them(install: Callable[..., Path], h100: Target) -> None:
    install("flashinfer-python", "0.6.13", "flashinfer")
    select(GLM, h100, candidates(h100))
    assert "flashinfer" not in sys.modules
