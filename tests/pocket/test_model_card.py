"""The model card says what the scores say, and the curve is a picture."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from glm_rocm.pocket.curve import curve, read_log
from glm_rocm.pocket.evaluate import markdown, read_scores
from glm_rocm.pocket.tokenizer import VOCABULARY


def test_the_card_shows_the_published_scores(shipped: Path) -> None:
    card = (shipped.parent / "README.md").read_text(encoding="utf-8")
    assert markdown(read_scores(shipped)) in card
    assert f"{len(VOCABULARY.read_text(encoding='utf-8').split())} whole words" in card


def test_a_step_trained_twice_is_drawn_once(tmp_path: Path) -> None:
    """A resumed run repeats the steps since its last snapshot; the later entry counts."""
    log = tmp_path / "log.jsonl"
    log.write_text(
        '{"step": 10, "tokens": 100, "loss": 2.0, "mtp_loss": 0.0}\n'
        '{"step": 20, "tokens": 200, "loss": 1.0, "mtp_loss": 1.5}\n'
        '{"step": 20, "tokens": 210, "loss": 0.5, "mtp_loss": 0.7}\n',
        encoding="utf-8",
    )
    entries = read_log(log)
    assert [entry["loss"] for entry in entries] == [2.0, 0.5]
    drawn = ElementTree.fromstring(curve(entries))
    lines = drawn.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [2, 1]


def test_the_shipped_curve_is_readable(shipped: Path) -> None:
    picture = ElementTree.parse(shipped.parent / "loss.svg").getroot()
    assert picture.findall("{http://www.w3.org/2000/svg}polyline")
