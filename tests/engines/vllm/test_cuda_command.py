"""GLM's README on NVIDIA: every model and precision of its tables, planned and written out as a command."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from glm_rocm.engines import get_engine
from glm_rocm.engines.base import ServeOptions
from glm_rocm.model import KNOWN
from glm_rocm.plan import Plan
from glm_rocm.plan.gputable import FULL, MTP, README_COUNTS, REQUESTS, SHORT

Make = Callable[..., Plan]
ENGINE = get_engine("vllm")
WITH_PLAN = ServeOptions(plan_file="/run/plan.json")

ROWS = [
    (model, context, f"{card}:{count}")
    for (model, context), counts in README_COUNTS.items()
    for card, count in zip(("h100", "h200"), counts, strict=True)
]
EXPERTS = {"none": "cuda.flashinfer_experts", "fp8_channel_token": "cuda.experts"}


def flags(argv: list[str]) -> dict[str, str | None]:
    """`--name value` pairs; None where no value follows."""
    pairs = zip(argv, [*argv[1:], "--"], strict=True)
    return {name: None if value.startswith("--") else value for name, value in pairs if name.startswith("--")}


@pytest.mark.parametrize(("model", "context", "cards"), ROWS, ids=lambda value: str(value).removeprefix("zai-org/"))
def test_each_row_of_the_readmes_tables_is_a_plan_with_its_command(
    make: Make, monkeypatch: pytest.MonkeyPatch, model: str, context: int, cards: str
) -> None:
    for name in ("TORCH_CUDA_ARCH_LIST", "FLASHINFER_CUDA_ARCH_LIST"):
        monkeypatch.delenv(name, raising=False)
    scheme = KNOWN[model].quantization.scheme
    kv = "auto" if scheme == "none" else "fp8"
    plan = make(model, target=cards, mtp=MTP, context=context, max_seqs=REQUESTS, kv_cache=kv)
    assert plan.chosen("attention") == "cuda.flashinfer_attention"
    assert plan.chosen("moe.experts") == EXPERTS[scheme]
    found = flags(ENGINE.command(plan, WITH_PLAN))
    assert found["--tensor-parallel-size"] == cards.partition(":")[2]
    assert found["--tool-call-parser"] == found["--reasoning-parser"] == "glm45"
    assert "--enable-auto-tool-choice" in found
    assert found["--max-model-len"] == str(context)
    assert found["--attention-backend"] == "CUSTOM"
    assert json.loads(found["--speculative-config"] or "") == {"method": "mtp", "num_speculative_tokens": MTP}
    assert found.get("--kv-cache-dtype") == (None if scheme == "none" else "fp8")
    assert "--cpu-offload-gb" not in found
    assert "--enforce-eager" not in found, "every kernel of the plan can be captured in some batches"
    added = ENGINE.environment(plan, WITH_PLAN)
    assert added["TORCH_CUDA_ARCH_LIST"] == added["FLASHINFER_CUDA_ARCH_LIST"] == "9.0a"


def test_eight_h100_serve_bf16_with_some_weights_in_host_memory(make: Make) -> None:
    found = flags(ENGINE.command(make("zai-org/GLM-4.5", target="h100:8", context=32768, max_seqs=1), WITH_PLAN))
    assert found["--cpu-offload-gb"] == "16"


@pytest.mark.parametrize("model", sorted(KNOWN))
@pytest.mark.parametrize("cards", ["h200:8", "b200:8"])
def test_every_known_model_is_planned_on_eight_large_cards(make: Make, model: str, cards: str) -> None:
    plan = make(model, target=cards)
    kernels = {selection.chosen.name for selection in plan.selections}
    assert not [name for name in kernels if name.startswith("cpu.")]
    assert plan.chosen("attention") == "cuda.flashinfer_attention"


def test_what_the_user_set_is_left_as_it_is(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9.0+PTX")
    added = ENGINE.environment(make("zai-org/GLM-4.5-Air", target="h100:4"), WITH_PLAN)
    assert "TORCH_CUDA_ARCH_LIST" not in added
    assert added["FLASHINFER_CUDA_ARCH_LIST"] == "9.0a"


def test_where_nothing_compiles_no_architecture_is_named(make: Make) -> None:
    kernels = {"attention": "cuda.attention", "moe.experts": "cuda.experts"}
    for plan in (make("zai-org/GLM-4.5-Air", target="h100:4", kernels=kernels), make("GLM-4.6", target="mi300x:8")):
        assert not [name for name in ENGINE.environment(plan, WITH_PLAN) if "ARCH_LIST" in name]


def test_attention_asked_for_by_its_librarys_name(make: Make) -> None:
    for asked, name in (("xformers", "cuda.xformers_attention"), ("flashinfer", "cuda.flashinfer_attention")):
        plan = make("zai-org/GLM-4.5-Air", target="h100:4", kernels={"attention": asked})
        assert plan.chosen("attention") == name
        assert Plan.from_json(plan.to_json()) == plan


def test_the_short_context_is_the_tables(make: Make) -> None:
    assert {context for _, context, _ in ROWS} == {SHORT, FULL}
    assert len(ROWS) == 16
