"""Which tensors of a GLM checkpoint become FP8, what they are then called, and the config that says so.

Two layouts, each chosen for who reads it:

- `fp8_channel_token` is that of zai-org/GLM-4.5-FP8 and its siblings: compressed-tensors `float-quantized`, one static
  scale per output channel, activations quantised per token while running.
- `fp8_block` is DeepSeek's (`quant_method: fp8`, `weight_block_size`, `weight_scale_inv`), not the block strategy of
  compressed-tensors: vLLM adapts only this one to a tensor-parallel rank that cuts a block (its `Fp8MoEMethod` refines
  the scale grid; 1536 / 8 = 192 is such a rank), and transformers 5.19 reads FP8 experts per block only in this one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from glm_rocm.model.spec import BLOCK as EDGE

Scheme = Literal["fp8_channel_token", "fp8_block"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)

BLOCK = (EDGE, EDGE)
"""Rows and columns that share one scale in `fp8_block`; a block at the edge may be smaller."""

_LAYER = r"model\.layers\.\d+\."
_MLP = r"(?:gate|up|down)_proj"
_QUANTIZED = re.compile(
    rf"{_LAYER}(?:self_attn\.[qkvo]_proj|mlp\.{_MLP}|mlp\.shared_experts\.{_MLP}|mlp\.experts\.\d+\.{_MLP})\.weight"
)
_KEPT_LINEAR = re.compile(rf"lm_head\.weight|{_LAYER}(?:mlp\.gate|eh_proj|embed_tokens|shared_head\.head)\.weight")
_KEPT = re.compile(
    r"model\.embed_tokens\.weight|model\.norm\.weight"
    rf"|{_LAYER}(?:input_layernorm|post_attention_layernorm|self_attn\.[qk]_norm|enorm|hnorm|shared_head\.norm)\.weight"
    rf"|{_LAYER}self_attn\.[qkv]_proj\.bias"
    rf"|{_LAYER}mlp\.gate\.e_score_correction_bias"
    rf"|{_LAYER}self_attn\.rotary_emb\.inv_freq"
)


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as a shard's header names it. `dtype` is safetensors' word: `BF16`, `F32`, `F8_E4M3`."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def is_quantized(name: str) -> bool:
    """Whether the tensor becomes FP8: attention, dense, shared and routed projections, the MTP layer's included."""
    return _QUANTIZED.fullmatch(name) is not None


def is_known(name: str) -> bool:
    """Whether the tensor is one that a GLM-4.5 / 4.6 / 4.7 checkpoint holds."""
    return is_quantized(name) or _KEPT.fullmatch(name) is not None or _KEPT_LINEAR.fullmatch(name) is not None


def scale_name(weight: str, scheme: Scheme) -> str:
    """The name of the scale that belongs to a quantised weight."""
    return f"{weight}_scale_inv" if scheme == "fp8_block" else f"{weight}_scale"


def scale_shape(weight: tuple[int, ...], scheme: Scheme) -> tuple[int, int]:
    """`[N, 1]`, or `[ceil(N / 128), ceil(K / 128)]` for blocks, of a weight `[N, K]`; F32, as kernels take it."""
    rows, columns = weight
    return (-(-rows // BLOCK[0]), -(-columns // BLOCK[1])) if scheme == "fp8_block" else (rows, 1)


def ignored_modules(names: Iterable[str]) -> list[str]:
    """The linear-like modules that keep their dtype, as the quantisation config lists them: `lm_head` first."""
    kept = {name.removesuffix(".weight") for name in names if _KEPT_LINEAR.fullmatch(name)} - {"lm_head"}
    return ["lm_head", *sorted(kept, key=_natural)]


def quantization_config(scheme: Scheme, names: Iterable[str]) -> dict[str, Any]:
    """The `quantization_config` of config.json for a checkpoint that holds the tensors `names`."""
    ignored = ignored_modules(names)
    if scheme == "fp8_block":
        return {
            "quant_method": "fp8",
            "fmt": "e4m3",
            "activation_scheme": "dynamic",
            "weight_block_size": list(BLOCK),
            "modules_to_not_convert": ignored,
        }
    float8 = {"num_bits": 8, "type": "float", "symmetric": True, "group_size": None, "block_structure": None}
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "kv_cache_scheme": None,
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {**float8, "strategy": "channel", "dynamic": False, "observer": "minmax"},
                "input_activations": {**float8, "strategy": "token", "dynamic": True, "observer": None},
                "output_activations": None,
            }
        },
        "ignore": ignored,
    }


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts layer 9 before layer 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]
