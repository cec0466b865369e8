"""Device code of the norms and of the rotary embedding."""
