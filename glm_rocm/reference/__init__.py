"""The specification: every op in plain fp32 torch, slow on purpose, with the signatures of `glm_rocm.ops`."""
