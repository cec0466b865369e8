"""glm-rocm serves GLM-4.5 / 4.6 on whatever accelerator is there, with kernels it can prove right on it.

Importing the package does nothing: no torch, no device, no environment variable, no logger.
"""

__version__ = "0.1.0"
