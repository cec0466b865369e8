"""FP8 checkpoints are computed in FP8: held against stock transformers with every rounding written out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from glm_rocm.engines.transformers.fp8 import Fp8Experts, Fp8Linear
from glm_rocm.engines.transformers.generation import load_model
from glm_rocm.plan import Plan
from glm_rocm.quantize import quantize_checkpoint

SCHEMES = ("fp8_channel_token", "fp8_block")


@pytest.fixture(scope="module", params=SCHEMES)
def quantised(request: pytest.FixtureRequest, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fp8") / str(request.param)
    quantize_checkpoint(checkpoint, folder, request.param)
    return folder


def round_fp8(x: Tensor, largest: Tensor, *, bf16_scale: bool) -> Tensor:
    """x to the nearest e4m3fn code times its scale, and back."""
    scale = (largest / 448).clamp_min(2.0**-40)
    if bf16_scale:  # weights' scales are rounded up to bf16 by the writer
        nearest = scale.bfloat16().float()
        scale = torch.where(nearest < scale, torch.nextafter(nearest.bfloat16(), torch.tensor(9e9).bfloat16()), nearest)
        scale = scale.float()
    return (x / scale).to(torch.float8_e4m3fn).float() * scale


def weight_as_stored(w: Tensor, block: bool) -> Tensor:
    """What the writer makes of one weight `[N, K]`, tile by tile."""
    if not block:
        return round_fp8(w, w.abs().amax(1, keepdim=True), bf16_scale=True)
    out = w.clone()
    for row in range(0, w.shape[0], 128):
        for column in range(0, w.shape[1], 128):
            tile = w[row : row + 128, column : column + 128]
            out[row : row + 128, column : column + 128] = round_fp8(tile, tile.abs().amax(), bf16_scale=True)
    return out


def activation(x: Tensor, block: bool) -> Tensor:
    """Activations per token, or per token and 128 columns."""
    parts = x.split(128, -1) if block else (x,)
    return torch.cat([round_fp8(part, part.abs().amax(-1, keepdim=True), bf16_scale=False) for part in parts], -1)


def emulated_linear(module: nn.Linear, x: Tensor, block: bool) -> Tensor:
    return nn.functional.linear(activation(x, block), weight_as_stored(module.weight, block), module.bias)


def emulated_experts(module: Any, x: Tensor, ids: Tensor, weights: Tensor, block: bool) -> Tensor:
    """One token and one expert at a time; gate and up are weights of their own."""
    out = torch.zeros_like(x)
    for token in range(x.shape[0]):
        for expert, weight in zip(ids[token].tolist(), weights[token], strict=True):
            inputs = activation(x[token], block)
            gate, up = (weight_as_stored(part, block) @ inputs for part in module.gate_up_proj[expert].chunk(2))
            hidden = activation(nn.functional.silu(gate) * up, block)
            out[token] += weight * (weight_as_stored(module.down_proj[expert], block) @ hidden)
    return out


def test_every_projection_equals_its_emulation_on_the_inputs_that_it_got(
    quantised: Path, checkpoint: Path, plan_for: Callable[..., Plan], calls: Callable[[], Counter[str]]
) -> None:
    """Per module and not end to end: a code that a sum's order flips would be amplified by each layer after it."""
    from transformers import Glm4MoeForCausalLM

    block = quantised.name == "fp8_block"
    plain = Glm4MoeForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).requires_grad_(False)
    model = load_model(plan_for(quantised))
    seen: dict[str, tuple[tuple[Tensor, ...], Tensor]] = {}
    for name, module in model.named_modules():
        if isinstance(module, Fp8Linear | Fp8Experts):
            module.register_forward_hook(lambda _, args, out, name=name: seen.update({name: (args, out)}))
    counter = calls()
    model(torch.arange(1, 13).view(2, 6))
    # 3 layers of 4 attention projections, 1 dense MLP and 2 shared experts of 3 projections.
    assert counter == {"attention": 3, "moe.experts": 2, "linear": 3 * 4 + 3 * 3}
    assert len(seen) == 23
    for name, (args, got) in seen.items():
        module = plain.get_submodule(name)
        linear = isinstance(module, nn.Linear)
        want = (emulated_linear if linear else emulated_experts)(module, *args, block)
        unquantised = module(*args)
        error = (got - want).norm() / want.norm()
        effect = (unquantised - want).norm() / want.norm()
        assert effect > 0.01, f"{name}: quantising changes nothing, so the test would not see it missing"
        # Between the experts' products a code may flip; a linear quantises the very same inputs.
        assert error < (1e-5 if linear else 2e-3), f"{name} is off by {float(error):.2g}"


def test_weights_stay_in_fp8_and_what_the_checkpoint_ignores_stays_plain(
    quantised: Path, plan_for: Callable[..., Plan]
) -> None:
    model = load_model(plan_for(quantised, dtype="bfloat16"))
    kinds = Counter(type(module).__name__ for module in model.modules())
    assert (kinds["Fp8Linear"], kinds["Fp8Experts"]) == (21, 2)
    assert kinds["Linear"] == 1, "lm_head alone stays"
    for module in model.modules():
        if isinstance(module, Fp8Linear | Fp8Experts):
            dtypes = {name: parameter.dtype for name, parameter in module.named_parameters()}
            for name, dtype in dtypes.items():
                scale = name.endswith(("_scale", "_scale_inv"))
                wanted = torch.float32 if scale else torch.bfloat16 if name == "bias" else torch.float8_e4m3fn
                assert dtype == wanted, name
    assert model.lm_head.weight.dtype == torch.bfloat16
    assert model.model.layers[1].mlp.gate.e_score_correction_bias.dtype == torch.float32
    assert torch.isfinite(model(torch.arange(1, 9)[None]).logits).all()


def test_a_padded_batch_in_fp8_equals_each_prompt_alone(quantised: Path, plan_for: Callable[..., Plan]) -> None:
    model = load_model(plan_for(quantised))
    ids = torch.arange(1, 13).view(1, 12)
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, :7] = 0
    batch = ids.repeat(2, 1)
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    logits = model(batch, attention_mask=mask, position_ids=positions).logits
    torch.testing.assert_close(logits[0], model(ids).logits[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits[1, 7:], model(ids[:, 7:]).logits[0], rtol=1e-4, atol=1e-4)
