"""Candidates that really fail: modules that die, hang or lack something, tried by real processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from glm_rocm.backends import by_name
from glm_rocm.ops.attention import AttentionProblem
from glm_rocm.ops.kernel import Kernel
from glm_rocm.target import Target, parse_target

PROBLEM = AttentionProblem(12, 1, 128, 16, "bfloat16", "bfloat16")

HEADS = "q, k_cache, v_cache, block_table, query_start, context_len, *, scale, k_scale=1.0, v_scale=1.0, out=None"
DYING = {
    "segfault": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    "abort": "import os\nos.abort()\n",
    "killed": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "hang": "import subprocess, time\nsubprocess.Popen(['sleep', '317.25'])\ntime.sleep(300)\n",
    "leave": "import sys\nprint('half way', file=sys.stderr, flush=True)\nimport os\nos._exit(0)\n",
    "no_nvcc": "raise RuntimeError(\"Could not find nvcc and default cuda_home='/usr/local/cuda' doesn't exist\")\n",
    "half": "import a_library_that_is_not_there\n",
    "read_only": "raise OSError(30, 'Read-only file system', '/root/.cache/flashinfer')\n",
}
"""By name: a module that does this when it is imported."""
RUNNING = {
    "wrong": "    tables = block_table, query_start, context_len\n"
    "    return torch_attention(q, k_cache, v_cache, *tables, scale=2 * scale)\n",
    "argument": "    raise TypeError(\"plan() got an unexpected keyword argument 'o_data_type'\")\n",
    "memory": "    raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')\n",
    "value": "    raise ValueError('BF16 MoE needs compute capability 9.0')\n",
}
"""By name: the body of an `attention` that does this when it is called."""


@pytest.fixture
def candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Kernel]:
    """`candidate(name)`: a kernel whose module is one of the above; the real torch kernel for `torch`."""
    folder = tmp_path / "modules"
    folder.mkdir()
    for name, text in DYING.items():
        (folder / f"dying_{name}.py").write_text(text)
    head = "import torch\nfrom glm_rocm.backends.torch_kernels.attention import attention as torch_attention\n"
    for name, body in RUNNING.items():
        (folder / f"dying_{name}.py").write_text(f"{head}def attention({HEADS}):\n{body}")
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.syspath_prepend(str(folder))

    def build(name: str) -> Kernel:
        torch_kernel = by_name("cpu.attention")
        entry = torch_kernel.entry if name == "torch" else f"dying_{name}:attention"
        return replace(torch_kernel, name=f"test.{name}", entry=entry, limits=())

    return build


@pytest.fixture
def here() -> Target:
    """The machine of the tests, as if it were detected."""
    return replace(parse_target("cpu"), stated=False)


@pytest.fixture
def problem() -> AttentionProblem:
    """GLM-4.6's attention on one of 8 ranks."""
    return PROBLEM
