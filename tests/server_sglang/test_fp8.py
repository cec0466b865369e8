"""FP8 through SGLang against the torch reference, by what each says after every token of a prompt: two servers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from glm_rocm.model import load_spec
from glm_rocm.pocket import checkpoint_path
from glm_rocm.quantize import quantize_checkpoint
from glm_rocm.reference.model import load_model, logits, read_tensors

pytestmark = pytest.mark.sglang

MEDIAN_BOUND = 1e-2
"""Median KL, as in vLLM's test of activations in 16 bits: many FP8 codes then round the other way."""


@pytest.fixture(scope="module")
def per_channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("fp8") / "channel"
    quantize_checkpoint(checkpoint_path(), target, "fp8_channel_token")
    return target


@pytest.fixture(scope="module")
def per_block(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pocket GLM with experts of 128 columns, in 128x128 blocks: SGLang loads none that a width of 192 cuts."""
    narrow, target = tmp_path_factory.mktemp("narrow"), tmp_path_factory.mktemp("fp8") / "block"
    shutil.copytree(checkpoint_path(), narrow, dirs_exist_ok=True)
    config = json.loads((narrow / "config.json").read_text())
    (narrow / "config.json").write_text(json.dumps({**config, "moe_intermediate_size": 128}))
    tensors = read_tensors(narrow)
    for name, tensor in tensors.items():
        if "experts" in name:
            tensors[name] = (tensor[:, :128] if "down_proj" in name else tensor[:128]).contiguous()
    save_file(tensors, narrow / "model.safetensors", metadata={"format": "pt"})
    quantize_checkpoint(narrow, target, "fp8_block")
    return target


def divergence(model: Path, server: Any, prompts: list[list[int]]) -> torch.Tensor:
    """KL of what SGLang says against the torch reference, at every position of every prompt."""
    reference, vocab = load_model(read_tensors(model), load_spec(str(model))), load_spec(str(model)).vocab
    each = []
    for prompt in prompts:
        asked = {"return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": vocab}
        answer = server.generate([prompt], 1, **asked)[0]["meta_info"]["input_top_logprobs"][1:]
        got = torch.full((len(answer), vocab), -1e9, dtype=torch.float64)
        for position, top in enumerate(answer):
            got[position, [token for _, token, _ in top]] = torch.tensor([value for value, _, _ in top]).double()
        want = logits(reference, torch.tensor(prompt)).log_softmax(-1)[:-1].double()  # [T - 1, V]
        each.append((want.exp() * (want - got)).sum(-1))
    return torch.cat(each)


@pytest.mark.parametrize("kind", ["per_channel", "per_block"])
def test_fp8_agrees_with_the_torch_reference(
    kind: str, request: pytest.FixtureRequest, serve: Callable[..., Any], prompts: list[list[int]]
) -> None:
    model: Path = request.getfixturevalue(kind)
    server = serve(str(model), "--dtype", "bfloat16", "--context", "1024", "--max-seqs", "8")
    assert server.events[0]["plan"]["precision"] == load_spec(str(model)).quantization.scheme
    found = divergence(model, server, prompts[:4])
    print(f"{kind}: median KL {found.median():.1e}")
    assert found.median() < MEDIAN_BOUND
    assert server.stop() == 0
