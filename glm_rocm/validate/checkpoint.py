"""A checkpoint's own trouble, found and named before any arithmetic: what its headers cannot show."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from glm_rocm.model.checkpoint import check_checkpoint, local_folder
from glm_rocm.model.spec import ModelSpec
from glm_rocm.numerics import E4M3FN
from glm_rocm.validate.results import Case, check
from glm_rocm.validate.weights import tensors_of

SCALE_SUFFIXES = (".weight_scale", ".weight_scale_inv")
SHOWN = 5


def checkpoint_case(spec: ModelSpec) -> Case:
    """Headers against config.json, then every tensor's values, one tensor in memory at a time.

    Raises:
        CheckpointError: shards missing, truncated or damaged; tensors missing or misshapen.
    """
    begun = time.monotonic()
    check_checkpoint(local_folder(spec), spec, mtp=bool(spec.mtp_layers))
    tensors = tensors_of(spec)
    found = [*tensors.repeated, *troubles(tensors)]
    where = "; ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
    return Case(
        "model", "checkpoint", "-", "values", spec.name, 0, (check("checkpoint", len(found), where=where),),
        evidence="hardware", seconds=round(time.monotonic() - begun, 3),
        notes=(f"{len(tensors)} tensors read",),
    )  # fmt: skip


def troubles(tensors: Mapping[str, Tensor]) -> list[str]:
    """A sentence for each tensor whose values cannot be right."""
    return [f"`{name}`: {what}" for name in tensors for what in _trouble(name, tensors[name])]


def _trouble(name: str, x: Tensor) -> list[str]:
    if x.dtype == E4M3FN.dtype:
        nan = int(((x.view(torch.uint8) & 0x7F) == 0x7F).sum())
        return [f"{nan} codes are NaN (0x7f or 0xff)"] if nan else []
    if not x.is_floating_point():
        return []
    wide = x.float()
    bad = int((~torch.isfinite(wide)).sum())
    if bad:
        return [f"{bad} values are NaN or infinite"]
    if name.endswith(SCALE_SUFFIXES) and bool((wide <= 0).any()):
        return [f"{int((wide <= 0).sum())} scales are zero or negative"]
    return []
