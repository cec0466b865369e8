"""Device code of the linear layer."""
