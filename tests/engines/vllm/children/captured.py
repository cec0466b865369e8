"""Our attention adapter for an absent card: vLLM's batch description, our builder and layer, FlashInfer by the book.

`captured.py BOOK`: the file with the library's stand-in, and the mode that forbids what a captured graph cannot hold.
"""

import importlib.util
import json
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

spec = importlib.util.spec_from_file_location("book", sys.argv[1])
assert spec
assert spec.loader
book: Any = importlib.util.module_from_spec(spec)
sys.modules["book"] = book
spec.loader.exec_module(book)

from vllm.v1.attention.backend import CommonAttentionMetadata  # noqa: E402

from glm_rocm.backends import by_name  # noqa: E402
from glm_rocm.backends.cuda import flashinfer_attention  # noqa: E402
from glm_rocm.engines.vllm import attention as adapter  # noqa: E402
from glm_rocm.engines.vllm.attention import GlmAttention, GlmMetadataBuilder  # noqa: E402
from glm_rocm.numerics import calc_diff  # noqa: E402
from glm_rocm.reference import attention as reference  # noqa: E402

HEADS, HEAD_DIM, PAGE, REQUESTS, WIDTH = 12, 128, 16, 3, 8
SCALE = HEAD_DIM**-0.5
LAYER = SimpleNamespace(_k_scale_float=1.0, _v_scale_float=1.0)


def batch(queries: int, contexts: list[int], optimism: int = 0) -> CommonAttentionMetadata:
    """`queries` of each request; `optimism`: by how much vLLM's guess of the lengths on the host exceeds them."""
    starts = torch.arange(0, REQUESTS * queries + 1, queries, dtype=torch.int32)
    lengths = torch.tensor(contexts, dtype=torch.int32)
    table = torch.arange(REQUESTS * WIDTH, dtype=torch.int32).view(REQUESTS, WIDTH)
    return CommonAttentionMetadata(
        query_start_loc=starts,
        query_start_loc_cpu=starts.clone(),
        seq_lens=lengths,
        num_reqs=REQUESTS,
        num_actual_tokens=REQUESTS * queries,
        max_query_len=queries,
        max_seq_len=max(contexts),
        block_table_tensor=table,
        slot_mapping=torch.zeros(REQUESTS * queries, dtype=torch.int64),
        seq_lens_cpu_upper_bound=lengths + optimism,
    )


def builder(*, drafting: bool) -> GlmMetadataBuilder:
    config = SimpleNamespace(speculative_config=object() if drafting else None)
    return GlmMetadataBuilder(None, ["layer"], config, torch.device("cpu"))


def difference(queries: int, contexts: list[int], *, drafting: bool, capture: bool) -> float:
    """Two layers of a step in the mode that forbids memory and reading back, against the reference; calc_diff."""
    making = builder(drafting=drafting)
    common = batch(queries, contexts, optimism=2 if drafting else 0)
    metadata = making.build_for_cudagraph_capture(common) if capture else making.build(0, common)
    layer = GlmAttention(HEADS, HEAD_DIM, SCALE, 1)
    rows = REQUESTS * queries
    query = torch.randn(rows, HEADS, HEAD_DIM, dtype=torch.bfloat16)
    cache = torch.randn(REQUESTS * WIDTH, 1, PAGE, 2 * HEAD_DIM, dtype=torch.bfloat16)
    output = torch.zeros(rows, HEADS, HEAD_DIM, dtype=torch.bfloat16)
    with book.Captured(fixed=True):
        for _ in range(2):
            layer.forward(LAYER, query, None, None, cache, metadata, output)
    pages = cache.transpose(1, 2)
    halves = (pages[..., :HEAD_DIM], pages[..., HEAD_DIM:])
    tables = (common.block_table_tensor, common.query_start_loc, common.seq_lens)
    return float(calc_diff(output, reference.attention(query, *halves, *tables, scale=SCALE)).max())


def main() -> None:
    torch.manual_seed(0)
    found = book.Book()
    flashinfer_attention.WORKSPACE_BYTES = 16
    wrapper = type("Wrapper", (book.PrefillWrapper,), {"book": found})
    flashinfer_attention._wrapper_class = lambda: wrapper
    answer: dict[str, Any] = {
        "decode": difference(1, [5, 16, 17], drafting=False, capture=True),
        "replay": difference(1, [33, 70, 128], drafting=False, capture=False),
        "verify": difference(4, [20, 41, 100], drafting=True, capture=True),
        "wrappers": len(found.wrappers),
        "support": {"as planned": GlmMetadataBuilder.get_cudagraph_support(None, None).name},
    }
    for name in ("cuda.attention", "cuda.xformers_attention", "cpu.attention"):
        adapter.chosen = partial(lambda name, op: by_name(name), name)
        answer["support"][name] = GlmMetadataBuilder.get_cudagraph_support(None, None).name
    print("RESULT " + json.dumps(answer))


main()
