"""The engines read what was written: every weight arrives with the value that codes and scale stand for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from glm_rocm.quantize import quantize_checkpoint


# compressed-tensors 0.17 pulls in torch.utils.mkldnn, which torch 2.13 itself deprecates on import.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_transformers_loads_the_channel_layout_with_every_value(source: Callable[..., Path], tmp_path: Path) -> None:
    from transformers import Glm4MoeForCausalLM

    quantize_checkpoint(source(shards=2), tmp_path / "fp8")
    stored = {}
    for file in (tmp_path / "fp8").glob("*.safetensors"):
        stored |= load_file(file)

    def value(module: str) -> torch.Tensor:
        return (stored[f"{module}.weight"].float() * stored[f"{module}.weight_scale"]).bfloat16()

    model = Glm4MoeForCausalLM.from_pretrained(tmp_path / "fp8", dtype=torch.bfloat16)
    assert model.model.layers[0].self_attn.q_proj.weight.dtype == torch.float8_e4m3fn
    assert torch.isfinite(model(torch.arange(8)[None]).logits).all()  # decompresses the linears in place
    for layer, block in enumerate(model.model.layers):
        place = f"model.layers.{layer}"
        assert torch.equal(block.self_attn.q_proj.weight, value(f"{place}.self_attn.q_proj"))
        assert torch.equal(block.self_attn.o_proj.weight, value(f"{place}.self_attn.o_proj"))
    experts = model.model.layers[1].mlp.experts
    for index in range(2):
        place = f"model.layers.1.mlp.experts.{index}"
        gate, up = experts.gate_up_proj[index].chunk(2)
        assert torch.equal(gate, value(f"{place}.gate_proj"))
        assert torch.equal(up, value(f"{place}.up_proj"))
        assert torch.equal(experts.down_proj[index], value(f"{place}.down_proj"))
    router = model.model.layers[1].mlp.gate
    assert router.e_score_correction_bias.dtype == torch.float32
    assert torch.equal(router.e_score_correction_bias, stored["model.layers.1.mlp.gate.e_score_correction_bias"])
