"""Prefill and decode on servers of their own: how many of each, and which devices each gets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from glm_rocm.errors import PlanError, UsageError
from glm_rocm.target import Target

ENGINES = ("sglang",)
"""Engines that hand a KV cache from one server to another as GLM's README has it."""
_FORM = "prefill=1,decode=1"
_HINT = f"glm-rocm serve MODEL --engine sglang --disaggregate {_FORM}"


@dataclass(frozen=True)
class Disaggregation:
    """How many servers fill the KV cache, and how many continue from it; each is a whole copy of the model."""

    prefill: int
    decode: int

    @property
    def servers(self) -> int:
        """Servers behind the router."""
        return self.prefill + self.decode

    @classmethod
    def parse(cls, text: str) -> Disaggregation:
        """`prefill=P,decode=D`.

        Raises:
            UsageError: anything else.
        """
        counts: dict[str, int] = {}
        for pair in text.split(","):
            role, _, number = (part.strip() for part in pair.partition("="))
            if role in counts or not (number.isascii() and number.isdigit()) or int(number) < 1:
                break
            counts[role] = int(number)
        else:
            if set(counts) == {"prefill", "decode"}:
                return cls(**counts)
        raise UsageError(
            f"`--disaggregate {text}`", required=f"the form `{_FORM}`, at least one server of each", hint=_HINT
        )

    def share(self, target: Target) -> Target:
        """What one server gets: its part of the devices, or of a CPU's memory.

        Raises:
            PlanError: fewer devices than servers.
        """
        if target.vendor == "cpu":
            return replace(target, memory_bytes=target.memory_bytes // self.servers)
        if target.count < self.servers:
            raise PlanError(
                f"{self.servers} servers on {target.describe()}",
                required="a device or more for each: the servers share none",
                hint=f"state more devices with `--gpus`, or serve on one: `glm-rocm serve MODEL --tp {target.count}`",
            )
        return replace(target, count=target.count // self.servers)

    def first_device(self, server: int, tp: int) -> int:
        """The number of the first device of a server, prefill servers first; each takes `tp` in a row."""
        return server * tp


def check_engine(engine: str) -> None:
    """Whether the engine serves so.

    Raises:
        UsageError: it does not.
    """
    if engine not in ENGINES:
        known = " or ".join(f"`--engine {name}`" for name in ENGINES)
        raise UsageError(f"`--disaggregate` with engine `{engine}`", required=known, hint=_HINT)
