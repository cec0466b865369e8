"""report.html: one page that works offline, in the light and in the dark, on paper, and without colour.

Verdict first, then the first failure, then a table and a chart per level. A miss is a filled mark and a word, never a
colour alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from glm_rocm.validate.gates import GATES
from glm_rocm.validate.layer import STAGES
from glm_rocm.validate.pictures import errors_over_m, kl_histograms
from glm_rocm.validate.results import Case, Check, Report, grew, nearest

STYLE = """
:root{--ink:#1b1f24;--soft:#5b6570;--line:#d8dde3;--paper:#fff;--panel:#f5f7f9;--good:#1a7f4b;--bad:#b3261e;--accent:#0b63a5}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9aa5b1;--line:#353c44;--paper:#14171a;--panel:#1d2125;
--good:#5bc98d;--bad:#ff8a80;--accent:#6db7f2}}
*{box-sizing:border-box}body{margin:0 auto;max-width:68rem;padding:2rem 1.25rem 4rem;background:var(--paper);
color:var(--ink);font:16px/1.5 system-ui,sans-serif}h1{font-size:1.5rem;margin:0}
h2{margin:2.5rem 0 .5rem;font-size:1.2rem}
h3{font-size:1rem;margin:1.5rem 0 .25rem}.soft{color:var(--soft)}.verdict{border-left:.5rem solid var(--good);
background:var(--panel);padding:.75rem 1rem;margin:1rem 0}.verdict.bad{border-color:var(--bad)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600}td.n{text-align:right;white-space:nowrap}.good{color:var(--good)}
.bad{color:var(--bad);font-weight:600}
details{border:1px solid var(--line);border-radius:.4rem;padding:.5rem .8rem;margin:.5rem 0}
summary{cursor:pointer}li,summary,p{overflow-wrap:anywhere}figure{margin:1rem 0}.figures{display:grid;
gap:0 1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,31.8rem),1fr))}
figcaption{font-size:.875rem}figure svg{max-width:100%;height:auto;background:#fff}
.heat td{text-align:center;white-space:nowrap}
@media print{body{max-width:none;padding:0}details{break-inside:avoid}figure{break-inside:avoid}}
"""
EVIDENCE = {
    "hardware": "ran on the hardware",
    "emulated": "machine code of the card, run by the emulator",
    "interpreted": "run by Triton's interpreter",
}
LEVEL_WORDS = {
    "ops": "Ops: every kernel against the reference",
    "block": "Block: a layer, stage by stage",
    "model": "Model: BF16 against FP8 on the same text",
    "server": "Server: prompt log-probabilities",
}


def page(report: Report, before: Report | None = None) -> str:
    """The whole page; with the baseline `before`, its figures beside the report's."""
    title = f"glm-rocm validate: {report.model} on {report.target}"
    levels = [part for level in report.levels for part in _level(report, level)]
    body = "\n".join([*_head(report, title), *_failures(report), *_beside(report, before), *levels, *_gates(report)])
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _head(report: Report, title: str) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield f'<p class="soft">{escape(report.started)}; {escape(versions)}</p>'
    yield f'<p class="verdict{"" if report.passed else " bad"}" role="status"><b>{escape(report.verdict())}</b></p>'
    yield (
        "<p>Two comparisons are never mixed: against the reference on <b>the same FP8 bits</b>, which is the kernel's "
        "own error, and against <b>BF16</b>, which is the format's. Each figure is that of the worst token, never a "
        "mean over tokens unless it says so.</p>"
    )
    counts: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in report.cases:
        counts[case.level, case.evidence].append(case)
    rows = [
        (level, EVIDENCE.get(evidence, evidence), str(len(cases)), _state(all(case.passed for case in cases)),
         f"{sum(case.seconds for case in cases):.1f} s")
        for (level, evidence), cases in counts.items()
    ]  # fmt: skip
    yield _table(("level", "evidence", "cases", "result", "time"), rows, raw=(3,))


def _failures(report: Report) -> Iterator[str]:
    if not report.failures:
        return
    yield f"<h2>What missed its gate ({len(report.failures)})</h2>"
    for index, case in enumerate(report.failures):
        opened = " open" if index == 0 else ""
        label = f"{case.level}: {case.sentence()}"
        yield f'<details{opened}><summary class="bad">{escape(label)}</summary>'
        facts = [("kernel", case.kernel), ("problem", case.problem), ("cut", case.cut or "nothing")]
        yield _table((), [(name, value) for name, value in facts])
        yield _checks(case.checks)
        yield "</details>"


def _beside(report: Report, before: Report | None) -> Iterator[str]:
    """Each op's worst figures in the baseline and now, over the cases that both have; what got worse is marked."""
    if before is None:
        return
    then = {case.key: case for case in before.cases}
    shared = [case for case in report.cases if case.key in then]
    yield f"<h2>Against the baseline</h2><p>{escape(report.baseline)}, of {escape(before.started)}: "
    yield f"{len(shared)} of {len(report.cases)} cases are in both. "
    yield f"{len(report.regressions)} got worse.</p>" if report.regressions else "Nothing got worse.</p>"
    groups: dict[tuple[str, str, str], list[Case]] = defaultdict(list)
    for case in shared:
        groups[case.level, case.op, case.kernel].append(case)
    worse: list[tuple[str, ...]] = []
    same: list[tuple[str, ...]] = []
    for name, cases in groups.items():
        for gate in dict.fromkeys(one.gate for case in cases for one in case.checks):
            old, new = _worst(gate, [then[case.key] for case in cases]), _worst(gate, cases)
            if old is not None and new is not None:
                row = (*name, GATES[gate].what, f"{old.measured:.3g}", f"{new.measured:.3g}")
                (worse if grew(new, old) else same).append(row)
    header = ("level", "op", "kernel", "figure, the worst", "baseline", "now")
    if report.regressions:
        yield f'<p class="bad">&#9632; worse than the baseline</p>{_table(header, worse)}'
        keys = _list(report.regressions)
        yield f"<details><summary>{len(report.regressions)} cases that got worse</summary>{keys}</details>"
    yield f"<details><summary>{len(same)} figures that did not get worse</summary>{_table(header, same)}</details>"


def _worst(gate: str, cases: Iterable[Case]) -> Check | None:
    return nearest(one for case in cases for one in case.checks if one.gate == gate)


def _level(report: Report, level: str) -> Iterator[str]:
    cases = report.of_level(level)
    yield f"<h2>{LEVEL_WORDS[level]}</h2>"
    if not cases:
        yield "<p>Nothing ran.</p>"
        return
    if level == "ops":
        yield from errors_over_m(cases)
        yield _table(("op", "kernel", "problem", "cases", "M", "nearest to its gate", "result"), _by_problem(cases),
                     raw=(6,))  # fmt: skip
        cuts = sorted({case.cut for case in cases if case.cut})
        yield (
            f"<p>Cut: {escape('; '.join(cuts))}.</p>" if cuts else "<p>Nothing was cut: every shape is the model's.</p>"
        )
    elif level == "block":
        yield from _heat(cases)
    else:
        rows = [(case.op, case.stress, _figures(case), "; ".join(case.notes), _state(case.passed)) for case in cases]
        yield from kl_histograms(cases)
        yield _table(("figure", "variant", "measured (gate)", "notes", "result"), rows, raw=(2, 4))


def _by_problem(cases: Sequence[Case]) -> Iterator[tuple[str, ...]]:
    groups: dict[tuple[str, str, str], list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.op, case.kernel, case.problem].append(case)
    for (op, kernel, problem), members in groups.items():
        near = nearest(one for case in members for one in case.checks)
        sizes = sorted({case.m for case in members})
        span = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else str(sizes[0])
        words = _near(near) if near else "-"
        yield op, kernel, problem, str(len(members)), span, words, _state(all(case.passed for case in members))


def _near(one: Check) -> str:
    if one.limit == 0:
        return f"{GATES[one.gate].what}: {one.measured:g} (0)"
    return f"{GATES[one.gate].what}: {one.measured:.2g} of {one.limit:.2g}"


def _heat(cases: Sequence[Case]) -> Iterator[str]:
    """A table layer x stage for each precision; each cell the stage's own error."""
    for precision in dict.fromkeys(case.stress for case in cases):
        mine = [case for case in cases if case.stress == precision]
        layers = tuple(dict.fromkeys(case.problem for case in mine))
        stages = [*STAGES, *sorted({case.op for case in mine} - set(STAGES))]
        cells = {(case.op, case.problem): case for case in mine}
        rows = []
        for stage in stages:
            if any((stage, layer) in cells for layer in layers):
                rows.append((stage, *(_cell(cells.get((stage, layer))) for layer in layers)))
        yield f"<h3>{escape(precision)}</h3>"
        first = next((case for case in mine if not case.passed), None)
        if first is not None:
            yield f'<p class="bad">First to go wrong: {escape(first.op)} of {escape(first.problem)}.</p>'
        yield _table(("stage", *layers), rows, raw=tuple(range(1, len(layers) + 1)), kind="heat")


def _cell(case: Case | None) -> str:
    if case is None:
        return '<span class="soft">-</span>'
    if case.error:
        return f'<span class="bad">&#9632; {escape(case.error[:60])}</span>'
    shown = [one for one in case.checks if one.gate != "finite"]
    worst = max(shown, key=lambda one: (not one.passed, one.measured), default=None)
    figure = "0" if worst is None or worst.measured == 0 else f"{worst.measured:.1e}"
    return figure if case.passed else f'<span class="bad">&#9632; {figure}</span>'


def _figures(case: Case) -> str:
    if case.error:
        return f'<span class="bad">{escape(case.error)}</span>'
    parts = []
    for one in case.checks:
        text = f"{one.gate.partition('.')[2] or one.gate} {one.measured:.3g} ({GATES[one.gate].sense} {one.limit:.3g})"
        if one.where and (case.op == "hidden" or not one.passed):
            text += f", {one.where}"
        parts.append(escape(text) if one.passed else f'<span class="bad">&#9632; {escape(text)}</span>')
    return "<br>".join(parts)


def _checks(checks: Iterable[Check]) -> str:
    rows = [
        (one.gate, GATES[one.gate].what, f"{one.measured:.4g}", f"{GATES[one.gate].sense} {one.limit:.4g}", one.where,
         _state(one.passed))
        for one in checks
    ]  # fmt: skip
    return _table(("gate", "figure", "measured", "limit", "where", "result"), rows, raw=(5,))


def _gates(report: Report) -> Iterator[str]:
    used = {one.gate for case in report.cases for one in case.checks}
    rows = [
        (gate.name, gate.what, f"{gate.sense} {gate.limit:g}", gate.source)
        for gate in GATES.values()
        if gate.name in used
    ]
    yield "<h2>Gates and where they come from</h2>"
    yield _table(("gate", "figure", "limit", "source"), rows)


def _state(passed: bool) -> str:
    return '<span class="good">&#10003; met</span>' if passed else '<span class="bad">&#9632; missed</span>'


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], *, raw: Sequence[int] = (), kind: str = "") -> str:
    """Cells in columns `raw` are markup already; all others are text."""
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in header)
    lines = []
    for row in rows:
        cells = (cell if index in raw else escape(cell) for index, cell in enumerate(row))
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    top = f"<thead><tr>{head}</tr></thead>" if header else ""
    return f'<div class="scroll"><table class="{kind}">{top}<tbody>{"".join(lines)}</tbody></table></div>'
