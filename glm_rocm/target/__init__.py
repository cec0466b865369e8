"""Which hardware is this: a `Target`, stated in words or read from the running kernel's own files."""

from glm_rocm.target.detect import Target, detect_target, gfx_name, known_devices, parse_target

__all__ = ["Target", "detect_target", "gfx_name", "known_devices", "parse_target"]
