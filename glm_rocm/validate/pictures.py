"""The report's figures: which cases a picture shows. Drawing is `chart`'s."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from html import escape

from glm_rocm.validate import chart
from glm_rocm.validate.gates import GATES
from glm_rocm.validate.results import Case

MISSING = (
    '<p>No pictures: matplotlib is not installed here. <code>pip install "glm-rocm[report]"</code>, then the same '
    "command with the same <code>--out</code>; finished cases are not run again.</p>"
)
KINDS = (("same_bits", "the kernel's error, same bits"), ("format", "the format's error, against BF16"))
MEAN = "format.mean"
"""The one figure that is not of the worst token."""


def errors_over_m(cases: Sequence[Case]) -> Iterator[str]:
    """A picture per kernel and comparison: the worst token over M, a line for each problem, the gates dashed."""
    by_kernel: dict[str, dict[tuple[str, str], list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for case in cases:
        if case.stress != "plain":
            continue
        for gate in dict.fromkeys(one.gate for one in case.checks):
            if gate.startswith(tuple(kind for kind, _ in KINDS)) and gate != MEAN:
                worst = max(one.measured for one in case.checks if one.gate == gate)
                by_kernel[case.kernel][case.problem, gate].append((case.m, worst))
    if by_kernel and not chart.available():
        yield MISSING
        return
    yield '<div class="figures">'
    for kernel, lines in by_kernel.items():
        for kind, words in KINDS:
            chosen = {name: points for name, points in lines.items() if name[1].startswith(kind)}
            if chosen:
                series = [chart.Series(problem, tuple(points)) for (problem, _), points in chosen.items()]
                gates = [(GATES[gate].limit, gate.partition(".")[2]) for gate in dict.fromkeys(g for _, g in chosen)]
                caption = f"{kernel}: {words}"
                yield _figure(chart.over_m(series, gates, caption), f"<b>{escape(kernel)}</b>: {words}")
    yield "</div>"


def kl_histograms(cases: Sequence[Case]) -> Iterator[str]:
    """How the KL divergence is spread over the tokens, a row for each variant."""
    counts = {case.stress: case.histogram for case in cases if case.histogram}
    if counts and chart.available():
        title = "KL divergence of FP8 from BF16 over the tokens"
        yield _figure(chart.histogram(counts, title), title)
    elif counts:
        yield MISSING


def _figure(picture: str, caption: str) -> str:
    return f"<figure><figcaption>{caption}</figcaption>{picture}</figure>"
