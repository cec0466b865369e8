"""A whole GLM in plain fp32, one sequence at a time: what every served logit is held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from glm_rocm.model.spec import ModelSpec
from glm_rocm.reference.block import Batch, Cache, block, empty_cache, one_sequence
from glm_rocm.reference.mtp import mtp
from glm_rocm.reference.norm_rope import cos_sin_table, rms_norm
from glm_rocm.reference.weights import BlockWeights, MtpWeights, load_block, load_mtp


@dataclass(frozen=True)
class Model:
    """The weights of a model, and of its MTP layer where the checkpoint has one."""

    spec: ModelSpec
    embedding: Tensor
    blocks: tuple[BlockWeights, ...]
    norm: Tensor
    head: Tensor
    mtp: MtpWeights | None


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint folder by name, as stored."""
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for shard in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(shard))
    return tensors


def load_model(tensors: Mapping[str, Tensor], spec: ModelSpec) -> Model:
    """A model from a checkpoint's tensors; tensors it does not need are ignored."""
    embedding = tensors["model.embed_tokens.weight"]
    return Model(
        spec=spec,
        embedding=embedding,
        blocks=tuple(load_block(tensors, layer, spec) for layer in range(spec.layers)),
        norm=tensors["model.norm.weight"],
        head=embedding if spec.tied_embeddings else tensors["lm_head.weight"],
        mtp=load_mtp(tensors, spec) if spec.mtp_layers else None,
    )


def hidden_states(model: Model, tokens: Tensor) -> Tensor:
    """`tokens [T]` of one sequence -> the last hidden state `[T, H]` fp32, final norm applied."""
    batch, cos_sin = _whole(model, tokens)
    x = model.embedding[tokens].float()
    for weights in model.blocks:
        x = block(x, weights, _cache(model, tokens), batch, cos_sin, model.spec)
    return rms_norm(x, model.norm, model.spec.rms_eps)


def logits(model: Model, tokens: Tensor) -> Tensor:
    """`tokens [T]` of one sequence -> `[T, vocab]` fp32, row t the logits of token t + 1."""
    return hidden_states(model, tokens) @ model.head.float().T


def mtp_logits(model: Model, tokens: Tensor) -> Tensor:
    """`tokens [T]` -> `[T - 1, vocab]`, row t the MTP layer's logits of token t + 2, given the true token t + 1."""
    assert model.mtp is not None, "the checkpoint has no MTP layer"
    rows = tokens[:-1]
    batch, cos_sin = _whole(model, rows)
    embedded, hidden = model.embedding[tokens[1:]], hidden_states(model, rows)
    return mtp(embedded, hidden, model.mtp, _cache(model, rows), batch, cos_sin, model.spec)[0]


def _whole(model: Model, tokens: Tensor) -> tuple[Batch, Tensor]:
    spec, length = model.spec, tokens.shape[0]
    return one_sequence(length), cos_sin_table(length, spec.rotary_dim, spec.rope_theta)


def _cache(model: Model, tokens: Tensor) -> Cache:
    return empty_cache(tokens.shape[0], model.spec)
