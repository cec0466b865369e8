"""The SGLang flags of GLM's README, each with what became of it in SGLang 0.5.23 and with what says it here.

GLM's README (versions of July 2025 to 2026, and its guide to GLM-4.6's tools) starts SGLang by its own command line.
`translate` takes such flags out of the words of `glm-rocm serve`: what shapes the computation becomes a flag of ours
and so lands in the Plan, the rest goes on to SGLang under its present name, and each change is told.
docs/sglang-flags.md is made from `FLAGS` and `ROUTER_FLAGS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from glm_rocm.errors import UsageError

PARSERS = {"glm45": "glm45", "glm": "glm45", "glm47": "glm47"}
"""SGLang's names of GLM's tool-call parsers, as `ModelSpec.tool_parser` has them; `glm45` is `glm` since 0.5."""
ALGORITHMS = ("EAGLE", "NEXTN")
"""SGLang's names for drafting by the model's own MTP layer."""
README_STEPS = 3
"""Draft tokens per step in GLM's README, taken where `--speculative-algorithm` stands alone."""


@dataclass(frozen=True)
class Flag:
    """A flag as a published command has it.

    Attributes:
        name: with its dashes.
        values: what the commands give it; empty for a switch.
        where: the commands it stands in.
        now: what SGLang 0.5.23 calls it; empty where it is gone.
        ours: what says it to `glm-rocm serve`; empty where nothing has to.
        effect: what `translate` makes of it: `option` (the flag in `ours`, with its value), `model`, `mtp`, `parser`,
            `pass` (on to SGLang, under `now`), `same` (ours has the same name) or `refuse`.
        remark: what the reader should know; of a refused flag, what is required instead.
    """

    name: str
    values: tuple[str, ...]
    where: str
    now: str
    ours: str
    effect: str
    remark: str = ""

    @property
    def is_switch(self) -> bool:
        """It takes no value."""
        return not self.values

    @property
    def fate(self) -> str:
        """`kept`, `renamed` or `dropped` by SGLang 0.5.23."""
        if not self.now:
            return "dropped"
        return "kept" if self.now == self.name else "renamed"


_ALL = "4.5, 4.6, 4.7"
_PD = "4.5 and 4.7, prefill / decode"
_OTHER = "recipes of 2025"

FLAGS: tuple[Flag, ...] = (
    Flag("--model-path", ("zai-org/GLM-4.5-Air",), _ALL, "--model-path", "MODEL", "model"),
    Flag("--tp-size", ("8", "4"), _ALL, "--tp-size", "--tp", "option"),
    Flag("--tool-call-parser", ("glm45", "glm47"), _ALL, "--tool-call-parser", "", "parser",
         "`glm45` is called `glm` now; the plan reads the layout from the chat template, another one is refused"),
    Flag("--reasoning-parser", ("glm45",), _ALL, "--reasoning-parser", "", "parser", "always on"),
    Flag("--speculative-algorithm", ("EAGLE",), _ALL, "--speculative-algorithm", "--mtp", "mtp"),
    Flag("--speculative-num-steps", ("3",), _ALL, "--speculative-num-steps", "--mtp", "mtp"),
    Flag("--speculative-eagle-topk", ("1",), _ALL, "--speculative-eagle-topk", "--mtp", "mtp",
         "GLM's one MTP layer drafts a chain: 1"),
    Flag("--speculative-num-draft-tokens", ("4",), _ALL, "--speculative-num-draft-tokens", "--mtp", "mtp",
         "the drafts and the token that they follow: steps + 1"),
    Flag("--mem-fraction-static", ("0.7", "0.8"), _ALL, "--mem-fraction-static", "--gpu-memory-utilization", "option",
         "of a device's memory; SGLang counts weights and KV cache in it, the plan leaves room for the rest"),
    Flag("--served-model-name", ("glm-4.5-air",), _ALL, "--served-model-name", "--served-model-name", "same"),
    Flag("--host", ("0.0.0.0",), _ALL, "--host", "--host", "same"),
    Flag("--port", ("8000",), _ALL, "--port", "--port", "same"),
    Flag("--disable-shared-experts-fusion", (), "4.5 FP8", "--disable-shared-experts-fusion", "", "pass",
         "on in every plan: it counts the routed experts alone"),
    Flag("--disaggregation-mode", ("prefill", "decode"), _PD, "--disaggregation-mode", "--disaggregate", "refuse",
         "both servers and their router in one command"),
    Flag("--disaggregation-ib-device", ("mlx5_0",), _PD, "--disaggregation-ib-device", "", "pass"),
    Flag("--base-gpu-id", ("4",), _PD, "--base-gpu-id", "--disaggregate", "refuse",
         "each server of a group gets its own share of the devices"),
    Flag("--enable-ep-moe", (), _OTHER, "", "--tp", "refuse", "the plan shards experts by tensor parallelism"),
    Flag("--enable-dp-attention", (), _OTHER, "--attn-dp-size", "--tp", "refuse",
         "the plan shards attention by tensor parallelism"),
    Flag("--cuda-graph-max-bs", ("256",), _OTHER, "--cuda-graph-max-bs-decode", "", "pass"),
    Flag("--disable-cuda-graph", (), _OTHER, "--cuda-graph-backend-decode=disabled", "", "pass",
         "`--cuda-graph-backend-prefill=disabled` as well where prefill is captured"),
)  # fmt: skip
"""The flags of `python -m sglang.launch_server`, in the order of GLM's README."""

ROUTER_FLAGS: tuple[Flag, ...] = (
    Flag("--pd-disaggregation", (), _PD, "--pd-disaggregation", "--disaggregate", "same"),
    Flag("--prefill", ("http://127.0.0.1:30000",), _PD, "--prefill", "--disaggregate", "same",
         "now with the prefill server's bootstrap port behind the address"),
    Flag("--decode", ("http://127.0.0.1:30001",), _PD, "--decode", "--disaggregate", "same"),
    Flag("--host", ("0.0.0.0",), _PD, "--host", "--host", "same"),
    Flag("--port", ("8000",), _PD, "--port", "--port", "same"),
)  # fmt: skip
"""The flags of `python -m sglang_router.launch_router`. Nobody writes them here: `--disaggregate` starts the router."""

_BY_NAME = {flag.name: flag for flag in FLAGS if flag.effect != "same"}


@dataclass(frozen=True)
class Translation:
    """Words of a command line in which SGLang's flags have become ours.

    Attributes:
        words: for our own parser.
        engine: for SGLang's, under its present names.
        notes: what became of them, for the plan's reader.
        tool_parser: the layout of tool calls that was asked for, `glm45` or `glm47`; empty: none was.
    """

    words: tuple[str, ...]
    engine: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tool_parser: str = ""


@dataclass
class _Reading:
    """What has been read so far."""

    words: list[str] = field(default_factory=list)
    engine: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    speculation: dict[str, str] = field(default_factory=dict)
    tool_parser: str = ""


def translate(words: Sequence[str]) -> Translation:
    """`words` of `glm-rocm serve` (what stands before `--`) without the flags that only SGLang has.

    Raises:
        UsageError: a flag that has no value, that contradicts one of ours, or that means nothing for GLM.
    """
    reading = _Reading()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, joined, value = word.partition("=")
        flag = _BY_NAME.get(name)
        if flag is None:
            reading.words.append(word)
            continue
        if not flag.is_switch and not joined:
            if not rest or rest[0].startswith("--"):
                raise UsageError(f"`{name}` without a value", required="one behind it", hint=f"{name} {flag.values[0]}")
            value = rest.pop(0)
        _take(reading, flag, value)
    if reading.speculation:
        _take_speculation(reading)
    _refuse_twice(words, reading)
    told = ("SGLang's flags, as this plan has them: " + ", ".join(reading.changes),) if reading.changes else ()
    return Translation(tuple(reading.words), tuple(reading.engine), (*told, *reading.notes), reading.tool_parser)


def _take(reading: _Reading, flag: Flag, value: str) -> None:
    said = f"{flag.name} {value}".rstrip()
    match flag.effect:
        case "model":
            reading.words.insert(1, value)  # behind the command's name, before any flag that might swallow it
            reading.changes.append(f"`{said}` is MODEL")
        case "option":
            reading.words += [flag.ours, value]
            reading.changes.append(f"`{said}` is `{flag.ours} {value}`")
        case "mtp":
            reading.speculation[flag.name] = value
        case "parser":
            _take_parser(reading, flag, value)
        case "pass":
            now = flag.now if flag.is_switch or not value else f"{flag.now}={value}"
            reading.engine.append(now)
            if flag.fate != "kept":
                reading.notes.append(f"`{said}` is called `{now}` in SGLang 0.5.23: translated")
        case _:
            raise UsageError(
                f"`{said}`" + (", which SGLang has dropped" if flag.fate == "dropped" else ""),
                required=flag.remark,
                hint="glm-rocm serve MODEL --engine sglang "
                + ("--disaggregate prefill=1,decode=1" if flag.ours == "--disaggregate" else f"{flag.ours} N"),
            )


def _take_parser(reading: _Reading, flag: Flag, value: str) -> None:
    said = f"{flag.name} {value}"
    if flag.name == "--reasoning-parser":
        known: tuple[str, ...] = ("glm45",)
    else:
        known = tuple(PARSERS)
        reading.tool_parser = PARSERS.get(value, "")
    if value not in known:
        raise UsageError(
            f"`{said}`",
            required="one of " + ", ".join(f"`{name}`" for name in known) + ", GLM's own",
            hint=f"drop `{flag.name}`: the plan knows the model's",
        )
    if value == "glm45" and flag.name == "--tool-call-parser":
        reading.notes.append(f"`{said}` is called `{flag.name} glm` in SGLang 0.5.23: translated")


def _take_speculation(reading: _Reading) -> None:
    """The four flags of README's 3 / 1 / 4 as one `--mtp`."""
    given = reading.speculation
    said = " ".join(f"{name} {value}" for name, value in given.items())
    hint = "--speculative-algorithm EAGLE --speculative-num-steps 3 --speculative-eagle-topk 1 "
    hint += "--speculative-num-draft-tokens 4, or `--mtp 3`"
    algorithm = given.get("--speculative-algorithm", "")
    if algorithm not in ALGORITHMS:
        found = f"`--speculative-algorithm {algorithm}`" if algorithm else f"`{said}` without an algorithm"
        raise UsageError(found, required="`EAGLE`, which drafts by the model's own MTP layer", hint=hint)
    steps = _number(given, "--speculative-num-steps", README_STEPS, hint)
    top_k = _number(given, "--speculative-eagle-topk", 1, hint)
    drafts = _number(given, "--speculative-num-draft-tokens", steps + 1, hint)
    if top_k != 1:
        raise UsageError(
            f"`--speculative-eagle-topk {top_k}`", required="1: GLM's one MTP layer drafts a chain, no tree", hint=hint
        )
    if drafts != steps + 1:
        raise UsageError(
            f"`--speculative-num-draft-tokens {drafts}` with `--speculative-num-steps {steps}`",
            required=f"{steps + 1}: the drafts of a chain and the token that they follow",
            hint=hint,
        )
    reading.words += ["--mtp", str(steps)]
    reading.changes.append(f"`{said}` is `--mtp {steps}`")


def _number(given: dict[str, str], name: str, default: int, hint: str) -> int:
    value = given.get(name, str(default))
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise UsageError(f"`{name} {value}`", required="a number from 1 on", hint=hint)
    return int(value)


def _refuse_twice(words: Sequence[str], reading: _Reading) -> None:
    """Ours and SGLang's for the same thing: one of them would be passed over in silence."""
    ours = {word.partition("=")[0] for word in words}
    for flag in FLAGS:
        said = any(word.partition("=")[0] == flag.name for word in words)
        if flag.effect in ("option", "mtp") and said and flag.ours in ours:
            raise UsageError(
                f"`{flag.name}` and `{flag.ours}` together", required="one of them", hint=f"drop `{flag.name}`"
            )
