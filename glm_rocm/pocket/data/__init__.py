"""The generator of the pocket GLM's conversations."""
