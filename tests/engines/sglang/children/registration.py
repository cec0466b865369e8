"""What SGLang's own loading of plug-ins leaves in a process, as JSON behind `RESULT `."""

import json
import sys
from dataclasses import asdict

from glm_rocm.engines.sglang import ENGINE, torchvision

torchvision.watch()
contracts = {contract.hook: asdict(contract) for contract in ENGINE.contracts()}
before = {name: module for name, module in sys.modules.items() if name.startswith("glm_rocm.engines.sglang.")}

from sglang.srt.plugins import load_plugins  # noqa: E402

load_plugins()

from sglang.kernels.ops.speculative import spec_tree  # noqa: E402
from sglang.srt.arg_groups import choices  # noqa: E402
from sglang.srt.layers.quantization import fp8, unquant  # noqa: E402
from sglang.srt.layers.quantization.compressed_tensors import schemes  # noqa: E402
from sglang.srt.platforms import current_platform  # noqa: E402

methods = {
    "unquantised runner": unquant.UnquantizedFusedMoEMethod.create_moe_runner,
    "unquantised experts": unquant.UnquantizedFusedMoEMethod.apply,
    "block runner": fp8.Fp8MoEMethod.create_moe_runner,
    "block experts": fp8.Fp8MoEMethod.apply,
    "channel runner": schemes.CompressedTensorsW8A8Fp8MoE.create_moe_runner,
    "a draft's layout": spec_tree.build_tree_kernel_efficient_func,
    "a draft's verification": spec_tree.verify_tree_greedy_func,
}
answer = {
    "contracts": contracts,
    "words": {
        "attention": "glm_rocm" in choices.ATTENTION_BACKEND_CHOICES,
        "draft": "glm_rocm" in choices.DRAFT_ATTENTION_BACKEND_CHOICES,
        "runner": "glm_rocm" in choices.MOE_RUNNER_BACKEND_CHOICES,
    },
    "platform": type(current_platform).__name__,
    "wrapped": {name: hasattr(method, "__wrapped__") for name, method in methods.items()},
    "our modules": sorted(
        name for name in sys.modules if name.startswith("glm_rocm.engines.sglang.") and name not in before
    ),
}
print("RESULT " + json.dumps(answer))
