"""FP8 checkpoints in transformers, computed in FP8: weights stay codes and scales, activations are really quantised.

transformers itself widens such a checkpoint to bf16 wherever it has no FP8 kernel, experts always, and then computes
something that no FP8 engine does. It offers a registry of quantisers; ours puts modules that call our kernels in the
place of the linears and experts that the checkpoint quantised, and lets transformers load their tensors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from glm_rocm.engines.transformers.active import NAME, kernel
from glm_rocm.model.spec import BLOCK, Quantization
from glm_rocm.plan.problems import QUANT

FLOAT8 = torch.float8_e4m3fn


class Fp8Linear(nn.Module):
    """`nn.Linear` with FP8 weights `[N, K]` and scales `[N, 1]` or one per 128x128 block."""

    def __init__(self, like: nn.Linear, scheme: str) -> None:
        super().__init__()
        self.quant = QUANT[scheme]
        self.weight = _frozen(like.weight.shape, FLOAT8)
        self.scale_name = _scale_name(self.quant)
        setattr(self, f"weight{self.scale_name}", _frozen(_scale_shape(like.weight.shape, self.quant), torch.float32))
        self.bias = None if like.bias is None else _frozen(like.bias.shape, like.bias.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """x `[..., K]` -> `[..., N]` of x's dtype."""
        scale = getattr(self, f"weight{self.scale_name}")
        rows = x.reshape(-1, x.shape[-1])
        result: Tensor = kernel("linear")(
            rows, self.weight, w_scale=scale, bias=self.bias, quant=self.quant, out_dtype=x.dtype
        )
        return result.view(*x.shape[:-1], -1)


class Fp8Experts(nn.Module):
    """`Glm4MoeExperts` with FP8 weights, under the names into which transformers merges a checkpoint's experts."""

    gate_up_proj: nn.Parameter
    down_proj: nn.Parameter

    def __init__(self, like: Any, scheme: str) -> None:
        super().__init__()
        self.quant = QUANT[scheme]
        self.scale_name = _scale_name(self.quant)
        self.gate_up_proj = _frozen(like.gate_up_proj.shape, FLOAT8)  # [E, 2N, H]
        self.down_proj = _frozen(like.down_proj.shape, FLOAT8)  # [E, H, N]
        experts, hidden, width = self.down_proj.shape
        # Gate and up bring scales of their own: with partial blocks these are more than those of one matrix of 2N rows.
        _, rows, columns = _scale_shape((experts, width, hidden), self.quant)
        setattr(self, f"gate_up_proj{self.scale_name}", _frozen((experts, 2 * rows, columns), torch.float32))
        down_shape = _scale_shape(self.down_proj.shape, self.quant)
        setattr(self, f"down_proj{self.scale_name}", _frozen(down_shape, torch.float32))

    def align(self) -> None:
        """Pad each expert's N to whole blocks, so that no block holds rows of gate and of up. Exact: codes of 0."""
        experts, hidden, width = self.down_proj.shape
        missing = -width % BLOCK
        if self.quant != "block" or missing == 0:
            return
        gate_up = self.gate_up_proj.view(torch.uint8).view(experts, 2, width, hidden)
        gate_up = pad(gate_up, (0, 0, 0, missing)).flatten(1, 2)
        self.gate_up_proj = nn.Parameter(gate_up.view(FLOAT8), requires_grad=False)
        down = pad(self.down_proj.view(torch.uint8), (0, missing))
        self.down_proj = nn.Parameter(down.view(FLOAT8), requires_grad=False)

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """As `run_experts`."""
        result: Tensor = kernel("moe.experts")(
            hidden_states,
            self.gate_up_proj,
            self.down_proj,
            top_k_index,
            top_k_weights.float(),
            w13_scale=getattr(self, f"gate_up_proj{self.scale_name}"),
            w2_scale=getattr(self, f"down_proj{self.scale_name}"),
            quant=self.quant,
        )
        return result


@register_quantization_config(NAME)
class Fp8Config(QuantizationConfigMixin):  # type: ignore[misc]  # transformers is untyped
    """The `quantization_config` that stands in for the checkpoint's own while it is loaded."""

    quant_method = NAME

    def __init__(self, scheme: str, ignore: list[str], **kwargs: Any) -> None:
        self.quant_method = NAME
        self.scheme = scheme
        self.ignore = ignore


@register_quantizer(NAME)
class Fp8Quantizer(HfQuantizer):  # type: ignore[misc]
    """Swap modules before transformers loads the tensors, align them afterwards."""

    requires_calibration = True

    def _process_model_before_weight_loading(self, model: nn.Module, **kwargs: Any) -> nn.Module:
        config = self.quantization_config
        quantization = Quantization(config.scheme, tuple(config.ignore))
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.Linear) and quantization.covers(name):
                model.set_submodule(name, Fp8Linear(module, config.scheme))
            elif type(module).__name__ == "Glm4MoeExperts" and quantization.covers(f"{name}.0.gate_proj"):
                model.set_submodule(name, Fp8Experts(module, config.scheme))
        return model

    def _process_model_after_weight_loading(self, model: nn.Module, **kwargs: Any) -> nn.Module:
        for module in model.modules():
            if isinstance(module, Fp8Experts):
                module.align()
        return model

    def is_serializable(self) -> bool:
        """No: the checkpoint on disk is the one to keep."""
        return False

    @property
    def is_trainable(self) -> bool:
        """No."""
        return False


def _frozen(shape: tuple[int, ...], dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, dtype=dtype), requires_grad=False)


def _scale_name(quant: str) -> str:
    """The suffix of a scale's name in the checkpoint; the merged experts' scales carry it as well."""
    return "_scale_inv" if quant == "block" else "_scale"


def _scale_shape(weight: tuple[int, ...], quant: str) -> tuple[int, ...]:
    *experts, rows, columns = weight
    if quant == "block":
        return (*experts, -(-rows // BLOCK), -(-columns // BLOCK))
    return (*experts, rows, 1)
