"""Without SGLang (in vLLM's environment) nothing of this folder is collected: `make test-sglang` runs it."""

from __future__ import annotations

import importlib
import importlib.util
import warnings

if importlib.util.find_spec("sglang") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from glm_rocm.engines.sglang import torchvision

    torchvision.watch()
    with warnings.catch_warnings():
        # Imported here once: SGLang and what it imports warn of their own old ways, and here a warning is an error.
        warnings.simplefilter("ignore")
        for name in ("server_args", "models.glm4_moe", "plugins", "model_executor.model_runner"):
            importlib.import_module(f"sglang.srt.{name}")
