"""Device code of the mixture of experts."""
