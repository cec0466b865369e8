"""MTP in SGLang: EAGLE with GLM's own MTP layer as the draft, one token per step (`--speculative-eagle-topk 1`).

A draft is then a chain, and verifying it is causal attention over the chain's tokens: no tree mask is needed, by any
kernel of ours. On a CPU, SGLang 0.5.23 has neither an attention backend for the drafts of another name than its own nor
the two kernels that build and verify a tree (they live in `sgl_kernel`): a chain's are a few lines of torch.
"""

from __future__ import annotations

from typing import Any

import torch
from sglang.srt.model_executor.forward_batch_info import ForwardBatch
from sglang.srt.runtime_context import attention_backends

from glm_rocm.engines.sglang.attention import GlmAttentionBackend
from glm_rocm.engines.sglang.command import BACKEND
from glm_rocm.errors import EngineError


class GlmDraftAttention:
    """The attention of a draft's steps: SGLang asks for one backend per step but the last, which only samples."""

    needs_cpu_seq_lens = True

    def __init__(self, runner: Any, topk: int, steps: int) -> None:
        require_chain(topk)
        self.attn_backends = [GlmAttentionBackend(runner, drafted=step + 1) for step in range(steps - 1)]

    def init_forward_metadata(self, forward_batch: ForwardBatch) -> None:
        """The metadata of each step: the same requests, each with one token more in the cache."""
        for backend in self.attn_backends:
            backend.init_forward_metadata(forward_batch)


def require_chain(topk: int) -> None:
    """Refuse a draft that branches.

    Raises:
        EngineError: more than one token is drafted per step.
    """
    if topk != 1:
        raise EngineError(
            f"`--speculative-eagle-topk {topk}`",
            required="1: a draft is a chain, as in GLM's README",
            hint="`--mtp 3` drafts three tokens, one after the other",
        )


def create_decode_backend(original: Any, factory: Any) -> Any:
    """Around `DraftBackendFactory.create_decode_backend`: ours where the draft's attention is ours."""
    if _backend_of(factory) != BACKEND or factory.speculative_num_steps <= 1:
        return original(factory)
    made = GlmDraftAttention(factory.draft_model_runner, factory.topk, factory.speculative_num_steps)
    for part in (made, *made.attn_backends):
        _name(part)
    return made


def create_draft_extend_backend(original: Any, factory: Any) -> Any:
    """Around `DraftBackendFactory.create_draft_extend_backend`, as above."""
    return (
        _name(GlmAttentionBackend(factory.draft_model_runner)) if _backend_of(factory) == BACKEND else original(factory)
    )


def _backend_of(factory: Any) -> str:
    return str(factory.draft_attn_backend or attention_backends()[1])


def _name(backend: Any) -> Any:
    """SGLang reads from each backend under which name it was asked for."""
    backend.prefill_attention_backend_str = backend.decode_attention_backend_str = BACKEND
    return backend


def build_chain(
    parent_list: torch.Tensor,
    top_scores_index: torch.Tensor,
    seq_lens: torch.Tensor,
    tree_mask: torch.Tensor,
    positions: torch.Tensor,
    retrieve_index: torch.Tensor,
    retrieve_next_token: torch.Tensor,
    retrieve_next_sibling: torch.Tensor,
    topk: int,
    spec_steps: int,
    num_verify_tokens: int,
    tree_mask_mode: Any,
) -> None:
    """In place of `build_tree_kernel_efficient_func`: each token follows the one before; nothing reads the mask.

    Args:
        seq_lens: [B] tokens before the chain.
        positions: [B * n] to write: of each token of a chain of n = `num_verify_tokens`.
        retrieve_index: [B, n] to write: each token's row in the flattened batch.
        retrieve_next_token, retrieve_next_sibling: [B, n], -1 throughout; the former gets each token's successor.
    """
    require_chain(topk)
    chain = torch.arange(num_verify_tokens, device=seq_lens.device)
    positions.copy_((seq_lens[:, None] + chain).flatten())
    retrieve_index.copy_(torch.arange(retrieve_index.numel(), device=seq_lens.device).view_as(retrieve_index))
    retrieve_next_token[:, :-1] = chain[1:]


def verify_chain(
    predicts: torch.Tensor,
    accept_index: torch.Tensor,
    accept_token_num: torch.Tensor,
    candidates: torch.Tensor,
    retrieve_index: torch.Tensor,
    retrieve_next_token: torch.Tensor,
    retrieve_next_sibling: torch.Tensor,
    target_predict: torch.Tensor,
    topk: int = -1,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """In place of `verify_tree_greedy_func`: drafts are accepted up to the first that the model would not have said.

    Args:
        predicts: [B * n] to write: the model's token at each accepted row.
        accept_index: [B, n] to write: the rows of the accepted tokens, the chain's first among them, -1 behind them.
        accept_token_num: [B] to write: how many drafts were accepted, 0 to n - 1.
        candidates: [B, n] the token that begins the chain, then the drafts.
        target_predict: [B, n] what the model says after each.

    Returns:
        The three that were written to, as SGLang takes them back.
    """
    requests, chain = candidates.shape
    said = target_predict.view(requests, chain)
    right = (candidates[:, 1:] == said[:, :-1]).cumprod(-1)  # [B, n - 1]
    kept = torch.cat([torch.ones_like(right[:, :1]), right], -1).bool()  # [B, n]
    accept_token_num.copy_(right.sum(-1))
    accept_index.copy_(torch.where(kept, retrieve_index, -1)[:, : accept_index.shape[1]])
    predicts[retrieve_index[kept]] = said[kept].to(predicts.dtype)
    return predicts, accept_index, accept_token_num


def sample_chain(
    predicts: torch.Tensor,
    accept_index: torch.Tensor,
    accept_token_num: torch.Tensor,
    candidates: torch.Tensor,
    retrive_index: torch.Tensor,
    *,
    uniform_samples: torch.Tensor,
    target_probs: torch.Tensor,
    **unused: Any,
) -> None:
    """In place of `tree_speculative_sampling_target_only`: what the model would have sampled is what comes out.

    At each place of the chain a token is drawn from the model's own distribution, and the drafts are accepted up to the
    first that was not drawn: exactly the distribution without drafts.

    Args:
        predicts, accept_index, accept_token_num, candidates: as of `verify_chain`.
        retrive_index: [B, n], SGLang's spelling of `retrieve_index` for this kernel.
        uniform_samples: [B, n] in [0, 1).
        target_probs: [B, n, V].
    """
    rising = target_probs.cumsum(-1)
    drawn = torch.searchsorted(rising, uniform_samples[..., None] * rising[..., -1:], right=True)
    said = drawn.squeeze(-1).clamp(max=target_probs.shape[-1] - 1)  # [B, n]
    verify_chain(
        predicts, accept_index, accept_token_num, candidates, retrive_index, retrive_index, retrive_index, said
    )


def keep_top_k(probs: torch.Tensor, top_k: torch.Tensor) -> torch.Tensor:
    """In place of `top_k_renorm_prob`: [T, V] probabilities, of a row all but the k [T] highest 0, their sum 1."""
    falling = probs.sort(-1, descending=True).values
    last = falling.gather(-1, top_k[:, None].long().clamp(1, probs.shape[-1]) - 1)
    return _normalised(torch.where(probs >= last, probs, 0))


def keep_top_p(probs: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """In place of `top_p_renorm_prob`: as above, the highest that reach p [T] together stay."""
    falling, order = probs.sort(-1, descending=True)
    before = falling.cumsum(-1) - falling
    kept = torch.where(before < top_p[:, None], falling, 0)
    return _normalised(torch.zeros_like(probs).scatter(-1, order, kept))


def _normalised(probs: torch.Tensor) -> torch.Tensor:
    return probs / probs.sum(-1, keepdim=True)


def set_embed_and_head(model: Any, embed: torch.nn.Parameter, head: torch.nn.Parameter) -> None:
    """In place of the MTP model's own, which waits for a CUDA device (0.5.23): share embedding and output layer."""
    model.model.embed_tokens.weight = embed
    model.lm_head.weight = head
