"""What is computed: one op, one file; kernels that declare their limits; `select` that chooses and says why."""
