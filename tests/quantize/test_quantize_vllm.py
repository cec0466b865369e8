"""vLLM reads both layouts, MTP layer included: with our kernels it computes what transformers computes with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from glm_rocm.engines.transformers import plan_generation
from glm_rocm.engines.transformers.generation import load_model
from glm_rocm.plan import make_plan
from glm_rocm.quantize import quantize_checkpoint
from glm_rocm.target import parse_target

PROMPT = list(range(3, 40, 3))
CPU = parse_target("cpu")


def answer(folder: Path, plan_file: Path, dtype: str) -> dict[str, Any]:
    """What vLLM generates, in a process of its own with our plug-in."""
    plan = make_plan(str(folder), CPU, engine="vllm", dtype=dtype, mtp=1, context=128, max_seqs=2)
    plan_file.write_text(plan.to_json(), encoding="utf-8")
    environment = {
        "GLM_ROCM_PLAN": str(plan_file),
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
    }
    command = [sys.executable, str(Path(__file__).with_name("vllm_child.py")), str(folder), dtype, *map(str, PROMPT)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=500)
    results = [line.removeprefix("RESULT ") for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert results, done.stdout[-2000:] + done.stderr[-4000:]
    found: dict[str, Any] = json.loads(results[-1])
    return found


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("scheme", "dtype", "tolerance"),
    # vLLM 0.32 takes its `fp8` method in bf16 and fp16 only, so that one is as near as bf16 can be.
    [("fp8_channel_token", "float32", 0.05), ("fp8_block", "bfloat16", 0.5)],
)
def test_vllm_and_transformers_agree_on_the_fp8_model(
    scheme: str, dtype: str, tolerance: float, whole_block_source: Path, tmp_path: Path
) -> None:
    quantize_checkpoint(whole_block_source, tmp_path / "fp8", scheme)
    found = answer(tmp_path / "fp8", tmp_path / "plan.json", dtype)
    assert len(found["tokens"]) == 16
    assert sum(found["drafts"]) >= 8, "the MTP layer must have drafted"
    model = load_model(plan_generation(str(tmp_path / "fp8"), CPU, dtype=dtype))
    logits = model(torch.tensor([PROMPT + found["tokens"]])).logits[0, len(PROMPT) - 1 : -1].float()
    chosen = torch.tensor(found["tokens"])
    logprobs = logits.log_softmax(-1)
    mine = logprobs.gather(1, chosen[:, None]).squeeze(1)
    torch.testing.assert_close(mine, torch.tensor(found["logprobs"]), atol=tolerance, rtol=0.0)
    assert float((logprobs.amax(-1) - mine).max()) <= tolerance, "vLLM must have chosen the best token, or its equal"
