"""What a GLM is: its dimensions from a config or by heart, its bytes per rank, the soundness of its checkpoint."""

from glm_rocm.model.known import KNOWN, load_spec
from glm_rocm.model.spec import ModelSpec, Quantization, RankShapes, WeightBytes

__all__ = ["KNOWN", "ModelSpec", "Quantization", "RankShapes", "WeightBytes", "load_spec"]
