"""Our kernels beside vLLM's Triton kernels on the same inputs: counted on the machine code, or timed on a card."""
