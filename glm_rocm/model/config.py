"""From a checkpoint's config.json to a ModelSpec: every key checked, every contradiction named.

Keys as transformers 5 writes them (`rope_parameters`, `dtype`) and as version 4 did (`rope_theta`, `torch_dtype`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from glm_rocm.errors import CheckpointError
from glm_rocm.model.spec import BLOCK, ModelSpec, Quantization, Scheme

Number = TypeVar("Number", int, float, bool)

OTHER_MODELS = {
    "glm4_moe_lite": "GLM-4.7-Flash (latent attention)",
    "glm4v_moe": "GLM-4.5V or GLM-4.6V (vision)",
    "glm4v": "GLM-4.1V (vision)",
    "glm4": "GLM-4-0414 (dense)",
    "glm": "GLM-4-9B (dense)",
    "chatglm": "ChatGLM",
    "glm_moe_dsa": "GLM-5 (sparse attention)",
    "deepseek_v3": "DeepSeek-V3 or R1",
    "qwen3_moe": "Qwen3 MoE",
    "gpt_oss": "gpt-oss",
}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        CheckpointError: the file is absent, unreadable, not JSON, or not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"no `{path.name}` in `{path.parent}`",
            required="a Hugging Face checkpoint folder (config.json, tokenizer, *.safetensors)",
            hint=f"complete it with `hf download zai-org/GLM-4.5-Air --local-dir {path.parent}`",
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"`{path}` cannot be read: {error}", required="a JSON file", hint="download the file again"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"`{path}` holds a {type(content).__name__}", required="a JSON object", hint="download the file again"
        )
    return content


def spec_from_config(
    config: Mapping[str, Any], *, name: str, path: str | None, source: str, chat_template: str | None = None
) -> ModelSpec:
    """The ModelSpec that a config.json describes.

    Args:
        config: the parsed file.
        name: what to call the model.
        path: folder of the checkpoint, if there is one.
        source: where the config comes from, for the plan's notes.
        chat_template: the text of the checkpoint's template, from which the tool-call layout is read; without it the
            model's name tells 4.7 from its predecessors (their configs do not).

    Raises:
        CheckpointError: not `glm4_moe`; a key that is missing, of the wrong type or out of range; keys that contradict
            one another; an FP8 scheme that is not known here.
    """
    kind = config.get("model_type")
    if kind != "glm4_moe":
        known = OTHER_MODELS.get(str(kind))
        raise CheckpointError(
            f"`{name}` is `{kind}`" + (f", {known}" if known else "") if kind else f"`{name}` names no `model_type`",
            required="`glm4_moe` (GLM-4.5, GLM-4.5-Air, GLM-4.6, GLM-4.7)",
            hint="plan a model of that family, for example `glm-rocm plan zai-org/GLM-4.6 --gpus mi300x:8`",
        )
    keys = _Keys(config, name)
    heads, hidden = keys.integer("num_attention_heads"), keys.integer("hidden_size")
    head_dim = keys.integer("head_dim", default=hidden // heads)
    rope = config.get("rope_parameters") or {}
    if not isinstance(rope, Mapping):
        raise keys.wrong("rope_parameters", rope, "an object")
    rope_keys = _Keys({**config, **rope}, name)
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16").removeprefix("torch.")
    if dtype not in ("bfloat16", "float16", "float32"):
        raise keys.wrong("dtype", dtype, "`bfloat16`, `float16` or `float32`")
    spec = ModelSpec(
        name=name,
        path=path,
        source=source,
        layers=keys.integer("num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=keys.integer("num_key_value_heads"),
        head_dim=head_dim,
        experts=keys.integer("n_routed_experts"),
        shared_experts=keys.integer("n_shared_experts", default=1, least=0),
        top_k=keys.integer("num_experts_per_tok"),
        moe_intermediate=keys.integer("moe_intermediate_size"),
        intermediate=keys.integer("intermediate_size"),
        first_dense=keys.integer("first_k_dense_replace", least=0),
        n_group=keys.integer("n_group", default=1),
        topk_group=keys.integer("topk_group", default=1),
        routed_scale=keys.real("routed_scaling_factor"),
        norm_topk=keys.flag("norm_topk_prob", default=True),
        qk_norm=keys.flag("use_qk_norm", default=False),
        attention_bias=keys.flag("attention_bias", default=False),
        vocab=keys.integer("vocab_size"),
        max_context=keys.integer("max_position_embeddings"),
        mtp_layers=keys.integer("num_nextn_predict_layers", default=0, least=0),
        rotary_dim=int(head_dim * rope_keys.real("partial_rotary_factor", default=0.5)),
        rope_theta=rope_keys.real("rope_theta"),
        rms_eps=keys.real("rms_norm_eps"),
        dtype=dtype,
        tied_embeddings=keys.flag("tie_word_embeddings", default=False),
        quantization=quantization_from_config(config.get("quantization_config"), name),
        tool_parser=tool_parser(chat_template, name),
    )
    _refuse_contradictions(spec)
    return spec


def tool_parser(chat_template: str | None, name: str) -> str:
    """`glm47` where tool calls are written without line breaks (GLM-4.7), else `glm45`."""
    if chat_template is not None and "<tool_call>" in chat_template:
        return "glm47" if re.search(r"<tool_call>\{[\w-]+\}<arg_key>", chat_template) else "glm45"
    return "glm47" if "glm-4.7" in name.lower() else "glm45"


def quantization_from_config(config: Any, name: str) -> Quantization:
    """How the weights are stored, from `quantization_config` (None: as they are).

    Raises:
        CheckpointError: anything but FP8 per channel and token, or in 128 x 128 blocks; says what it is.
    """
    if config is None:
        return Quantization()
    if not isinstance(config, Mapping):
        raise _unknown_scheme(name, f"a `quantization_config` that is a {type(config).__name__}")
    method = config.get("quant_method")
    if method == "fp8":
        ignore = config.get("modules_to_not_convert") or config.get("ignored_layers") or []
        # The fp8 method names whole sub-trees; compressed-tensors names modules. Kept in the latter's terms.
        trees = tuple(f"re:(.*\\.)?{re.escape(str(tree))}(\\.|$)" for tree in ignore)
        if config.get("weight_block_size") != [BLOCK, BLOCK]:
            raise _unknown_scheme(name, f"`fp8` with weight_block_size {config.get('weight_block_size')}")
        if config.get("activation_scheme", "dynamic") != "dynamic":
            raise _unknown_scheme(name, f"`fp8` with {config['activation_scheme']} activation scales")
        return Quantization("fp8_block", trees)
    if method != "compressed-tensors":
        raise _unknown_scheme(name, f"quant_method `{method}`")
    groups = config.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise _unknown_scheme(name, "`compressed-tensors` without `config_groups`")
    schemes = {_group_scheme(group, name) for group in groups.values()}
    if len(schemes) > 1:
        raise _unknown_scheme(name, f"a mixture of {' and '.join(sorted(schemes))}")
    ignore = config.get("ignore") or []
    return Quantization(schemes.pop(), tuple(str(item) for item in ignore))


def _group_scheme(group: Any, name: str) -> Scheme:
    """The scheme of one compressed-tensors config group."""
    weights = group.get("weights") if isinstance(group, Mapping) else None
    inputs = group.get("input_activations") if isinstance(group, Mapping) else None
    if not isinstance(weights, Mapping):
        raise _unknown_scheme(name, "a config group without `weights`")
    if (weights.get("type"), weights.get("num_bits")) != ("float", 8):
        raise _unknown_scheme(name, f"{weights.get('type')} weights of {weights.get('num_bits')} bits")
    if not isinstance(inputs, Mapping):
        raise _unknown_scheme(name, "FP8 weights with activations that are not quantised")
    if not inputs.get("dynamic") or (inputs.get("type"), inputs.get("num_bits")) != ("float", 8):
        raise _unknown_scheme(
            name, f"{inputs.get('type')} activations of {inputs.get('num_bits')} bits, not dynamic FP8"
        )
    pair = (weights.get("strategy"), inputs.get("strategy"))
    if pair == ("channel", "token"):
        return "fp8_channel_token"
    if pair == ("block", "group") and weights.get("block_structure") == [BLOCK, BLOCK]:
        return "fp8_block"
    raise _unknown_scheme(
        name, f"FP8 weights per {pair[0]} {weights.get('block_structure') or ''}".rstrip() + f", inputs per {pair[1]}"
    )


def _unknown_scheme(name: str, found: str) -> CheckpointError:
    return CheckpointError(
        f"unknown quantisation of `{name}`: {found}",
        required="FP8 per channel and token (compressed-tensors), FP8 in 128 x 128 blocks, or none",
        hint="make one from the BF16 checkpoint with `glm-rocm quantize MODEL OUTPUT`",
    )


@dataclass(frozen=True)
class _Keys:
    """Typed access to a config; every miss is a CheckpointError that names the key."""

    config: Mapping[str, Any]
    name: str

    def wrong(self, key: str, value: object, required: str) -> CheckpointError:
        return CheckpointError(
            f"config.json of `{self.name}` has `{key}` = `{value}`",
            required=required,
            hint="download config.json again, or correct the key",
        )

    def _get(self, key: str, default: Number | None) -> Any:
        value = self.config.get(key)
        if value is None and default is None:
            raise CheckpointError(
                f"config.json of `{self.name}` has no `{key}`",
                required="every dimension of the model",
                hint="download config.json again",
            )
        return default if value is None else value

    def integer(self, key: str, *, default: int | None = None, least: int = 1) -> int:
        value = self._get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.wrong(key, value, f"a whole number of {least} or more")
        return value

    def real(self, key: str, *, default: float | None = None) -> float:
        value = self._get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
            raise self.wrong(key, value, "a positive number")
        return float(value)

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, value, "true or false")
        return value


def _refuse_contradictions(spec: ModelSpec) -> None:
    """Raise for the first pair of dimensions that cannot both be right."""
    checks = (
        (spec.heads % spec.kv_heads == 0, f"{spec.heads} query heads on {spec.kv_heads} KV heads", "a whole ratio"),
        (spec.top_k <= spec.experts, f"top-{spec.top_k} of {spec.experts} experts", "no more than there are"),
        (
            spec.first_dense <= spec.layers,
            f"{spec.first_dense} dense layers of {spec.layers}",
            "no more than there are",
        ),
        (spec.experts % spec.n_group == 0, f"{spec.experts} experts in {spec.n_group} groups", "equal groups"),
        (spec.topk_group <= spec.n_group, f"{spec.topk_group} of {spec.n_group} groups", "no more than there are"),
        (spec.mtp_layers <= 1, f"{spec.mtp_layers} MTP layers", "0 or 1, as every GLM-4.5 to 4.7 has"),
        (
            spec.rotary_dim % 2 == 0 and 0 < spec.rotary_dim <= spec.head_dim,
            f"{spec.rotary_dim} rotated of {spec.head_dim} head dimensions",
            "an even number within the head",
        ),
    )
    for holds, found, required in checks:
        if not holds:
            raise CheckpointError(
                f"config.json of `{spec.name}` contradicts itself: {found}",
                required=required,
                hint="download config.json again",
            )
