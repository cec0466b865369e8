"""Every op in plain torch, quick enough to serve a small GLM from a CPU and correct on any device."""
