"""GLM-4.5 / 4.6's operators as Triton kernels. Importing it imports nothing; each module is one operator."""
