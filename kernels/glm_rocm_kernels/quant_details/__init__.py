"""Device code of the quantisation kernels."""
