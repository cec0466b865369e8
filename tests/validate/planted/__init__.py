"""Bugs that the field has shipped, each as a small wrapper around a kernel, a stage of a layer, or a checkpoint."""
