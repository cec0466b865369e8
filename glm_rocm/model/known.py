"""Which model is meant: a folder, a hub id, a name known by heart, or `pocket`."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from glm_rocm.errors import CheckpointError
from glm_rocm.model.config import read_json, spec_from_config
from glm_rocm.model.spec import ModelSpec, Quantization

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PUBLISHED = "published dimensions, known without a download"

_GLM_45 = ModelSpec(
    name="zai-org/GLM-4.5",
    path=None,
    source=PUBLISHED,
    layers=92,
    hidden=5120,
    heads=96,
    kv_heads=8,
    head_dim=128,
    experts=160,
    shared_experts=1,
    top_k=8,
    moe_intermediate=1536,
    intermediate=12288,
    first_dense=3,
    n_group=1,
    topk_group=1,
    routed_scale=2.5,
    norm_topk=True,
    qk_norm=True,
    attention_bias=True,
    vocab=151552,
    max_context=131072,
    mtp_layers=1,
    rotary_dim=64,
    rope_theta=1e6,
    rms_eps=1e-5,
    dtype="bfloat16",
    tied_embeddings=False,
)
_AIR = replace(
    _GLM_45,
    name="zai-org/GLM-4.5-Air",
    layers=46,
    hidden=4096,
    experts=128,
    moe_intermediate=1408,
    intermediate=10944,
    first_dense=1,
    routed_scale=1.0,
    qk_norm=False,
)
_GLM_46 = replace(_GLM_45, name="zai-org/GLM-4.6", max_context=202752)
_GLM_47 = replace(_GLM_46, name="zai-org/GLM-4.7", tool_parser="glm47")

# Left in BF16 by the published FP8 checkpoints: head, router gates and what the MTP layer adds to a decoder layer.
_FP8 = Quantization(
    "fp8_channel_token",
    ("lm_head", r"re:.*\.mlp\.gate$", r"re:.*\.eh_proj$", r"re:.*\.shared_head\.head$", r"re:.*embed_tokens$"),
)


def _fp8(spec: ModelSpec) -> ModelSpec:
    source = f"{PUBLISHED}; FP8 scheme (per channel and token) from public evidence, not from its config.json"
    return replace(spec, name=spec.name + "-FP8", source=source, quantization=_FP8)


KNOWN: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        _GLM_45,
        replace(_GLM_45, name="zai-org/GLM-4.5-Base"),
        _fp8(_GLM_45),
        _AIR,
        replace(_AIR, name="zai-org/GLM-4.5-Air-Base"),
        _fp8(_AIR),
        _GLM_46,
        _fp8(_GLM_46),
        _GLM_47,
        _fp8(_GLM_47),
    )
}
"""Models that can be planned without a download, by hub id. A downloaded config.json goes before these."""


def load_spec(model: str) -> ModelSpec:
    """The spec of `model`.

    Args:
        model: a checkpoint folder; a hub id (`zai-org/GLM-4.6`), read from the local cache, else known by name, else
            its config.json downloaded; a bare known name (`GLM-4.6`, in any case); or `pocket`, the shipped model.

    Raises:
        CheckpointError: no such folder or hub id, or its config.json does not describe a `glm4_moe` model.
    """
    if model == "pocket":
        from glm_rocm.pocket import checkpoint_path

        return replace(_from_folder(checkpoint_path()), name="pocket-glm")
    folder = Path(os.path.expanduser(model))  # Path.expanduser raises for an unknown `~user`
    if model and folder.is_dir():
        return _from_folder(folder)
    known = next((spec for name, spec in KNOWN.items() if _same_name(model, name)), None)
    if known is None and not HUB_ID.fullmatch(model):
        is_file = folder.is_file()
        raise CheckpointError(
            f"`{model}` is a file" if is_file else f"no folder `{model}`, and no model of that name is known",
            required="a checkpoint folder, a hub id, or one of " + ", ".join(f"`{name}`" for name in KNOWN),
            hint="serve the shipped model with `glm-rocm serve pocket`",
        )
    return _from_hub(known.name if known else model, known)


def _same_name(model: str, hub_id: str) -> bool:
    return model.lower() in (hub_id.lower(), hub_id.lower().removeprefix("zai-org/"))


def _from_folder(folder: Path) -> ModelSpec:
    template = folder / "chat_template.jinja"
    text = template.read_text(encoding="utf-8", errors="replace") if template.is_file() else None
    path = str(folder.resolve())
    name = folder.resolve().name
    return spec_from_config(
        read_json(folder / "config.json"), name=name, path=path, source=f"`{path}/config.json`", chat_template=text
    )


def _from_hub(name: str, known: ModelSpec | None) -> ModelSpec:
    """From the hub's local cache, else by heart, else over the network."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json")
    if isinstance(cached, str):
        config = read_json(Path(cached))
        return spec_from_config(config, name=name, path=None, source="config.json in the hub's local cache")
    if known is not None:
        return known
    try:
        downloaded = hf_hub_download(name, "config.json")
    # The hub client lets its transport's own exceptions through (no network, no such name, no permission).
    except Exception as error:
        raise CheckpointError(
            f"config.json of `{name}` cannot be had from the hub: {_first_line(error)}",
            required="a hub id that exists and that this machine can reach",
            hint="check the name and the network, or give the folder of a downloaded checkpoint",
        ) from error
    return spec_from_config(read_json(Path(downloaded)), name=name, path=None, source="config.json from the hub")


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
