"""Every call that the adapters make, against the signatures of the real libraries, which are imported and never run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement

from glm_rocm.backends import by_name, cuda
from glm_rocm.backends.cuda import flashinfer_experts, xformers_attention
from glm_rocm.backends.cuda.flashinfer_attention import attention, plan_batch
from glm_rocm.ops.attention import AttentionProblem
from glm_rocm.ops.kernel import Refused
from glm_rocm.probe import Prober
from glm_rocm.target import parse_target

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
LIBRARIES = ROOT / ".venvs" / "cuda-libs"
CHILD = Path(__file__).with_name("children") / "libraries.py"
VERIFY = [(4, 40), (4, 71), (4, 102)]


@pytest.fixture
def environment() -> dict[str, str]:
    """That of a process which finds the libraries."""
    if not LIBRARIES.is_dir():
        pytest.skip("no FlashInfer and XFormers here: `make cuda-libs` downloads them")
    path = [str(LIBRARIES), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


@pytest.fixture
def answer(
    environment: dict[str, str],
    attention_case: Callable[..., Any],
    experts_case: Callable[..., Any],
    book: Any,
    xbook: Any,
) -> dict[str, Any]:
    """What the libraries say to all the calls of all the adapters."""
    case = attention_case(VERIFY, dtype=torch.bfloat16, k_scale=0.5, v_scale=0.5, kv_dtype=torch.float8_e4m3fn)
    attention(*case.arguments, **case.options)
    starts, contexts = case.arguments[4:]
    problem = AttentionProblem(12, 1, 128, 16, "bfloat16", "float8_e4m3fn")
    plan_batch(problem, *case.arguments[3:], query_start_host=starts, context_len_host=contexts, capture=True)
    experts = experts_case(3, hidden=128, intermediate=128, dtype=torch.bfloat16, quant="block")
    flashinfer_experts.experts(*experts.arguments, **experts.options)
    plain = attention_case(VERIFY, dtype=torch.bfloat16)
    xformers_attention.attention(*plain.arguments, **plain.options)
    calls = [asdict(call) for call in dict.fromkeys((*book.calls, *xbook.calls))]
    assert len(calls) == 6, "two constructors, a plan, a run, experts, XFormers"
    wrong = {"function": "prefill.plan", "positional": 8, "named": ["out_data_type"]}
    return ask(environment, {"calls": [*calls, wrong], "mask": [[1, 3], [2, 5]]})


def ask(environment: dict[str, str], request: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(CHILD)],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(lines[-1].removeprefix("RESULT "))
    return found


def test_the_libraries_take_every_call(answer: dict[str, Any]) -> None:
    assert answer["refused"][:-1] == [""] * 6
    assert "out_data_type" in answer["refused"][-1], "a call that is wrong is seen"
    for text, name in ((cuda.FLASHINFER, "flashinfer-python"), (cuda.XFORMERS, "xformers")):
        assert Requirement(text).specifier.contains(answer["versions"][name])
    # What is given by position is what the library has at that position.
    assert answer["orders"]["prefill.plan"][1:9] == [
        "qo_indptr",
        "paged_kv_indptr",
        "paged_kv_indices",
        "paged_kv_last_page_len",
        "num_qo_heads",
        "num_kv_heads",
        "head_dim_qk",
        "page_size",
    ]
    assert answer["orders"]["prefill.__init__"][1:3] == ["float_workspace_buffer", "kv_layout"]
    assert answer["orders"]["prefill.run"][1:3] == ["q", "paged_kv_cache"]
    assert answer["orders"]["memory_efficient_attention_forward"][:3] == ["query", "key", "value"]
    # XFormers' own mask: one query of a context of 2 sees both, three of 5 see 3, 4 and 5.
    assert answer["mask"] == [
        [1, 1, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 1, 0],
        [0, 0, 1, 1, 1, 1, 1],
    ]
    assert "compiled part did not load" in answer["loading"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("cuda.xformers_attention", "compiled part did not load"), ("cuda.flashinfer_attention", "RuntimeError")],
)
def test_the_real_library_without_a_card_is_passed_over_by_a_real_probe(
    environment: dict[str, str], name: str, words: str
) -> None:
    here = replace(parse_target("cpu"), stated=False)
    problem = AttentionProblem(12, 1, 128, 16, "bfloat16", "bfloat16")
    refused = Prober(here, folder=None, environment=environment)(by_name(name), problem)
    assert isinstance(refused, Refused)
    assert words in str(refused)
