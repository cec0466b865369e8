"""Training: it learns, it is a function of its settings, and stopping changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from glm_rocm.pocket.batches import step_batch
from glm_rocm.pocket.config import PocketConfig
from glm_rocm.pocket.model import PocketGLM
from glm_rocm.pocket.optimizer import balance, orthogonalise
from glm_rocm.pocket.tokenizer import build_tokenizer
from glm_rocm.pocket.train import Losses, Settings, batch_loss, train

QUICK = Settings(steps=8, tokens=300, workers=1, warmup=2, mtp_start=0.3, save_every=4)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "last.pt", weights_only=True)["model"]
    return state


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def test_an_interrupted_run_ends_in_the_very_same_weights(tiny: PocketConfig, tmp_path: Path) -> None:
    """Stopped between two snapshots, before the MTP layer starts to train, and gone on with."""
    train(QUICK, tmp_path / "whole", tiny)
    stopping = tmp_path / "stopped"

    class Stop(Exception):
        pass

    with pytest.MonkeyPatch.context() as patch:
        from glm_rocm.pocket.train import Run

        advance = Run.advance

        def stop_after_six(self: Run) -> None:
            if self.step == 6:
                raise Stop
            advance(self)

        patch.setattr(Run, "advance", stop_after_six)
        with pytest.raises(Stop):
            train(QUICK, stopping, tiny)
    assert torch.load(stopping / "last.pt", weights_only=True)["step"] == 4
    train(QUICK, stopping, tiny)
    expected = weights(tmp_path / "whole")
    for name, tensor in weights(stopping).items():
        assert torch.equal(tensor, expected[name]), name


def test_another_seed_gives_other_weights(tiny: PocketConfig, tmp_path: Path) -> None:
    short = replace(QUICK, steps=2, save_every=2)
    train(short, tmp_path / "one", tiny)
    train(replace(short, seed=2), tmp_path / "two", tiny)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert not torch.equal(one["embed"], two["embed"])


def test_the_loss_falls_on_repeated_data(tiny: PocketConfig) -> None:
    """One batch, seen again and again, is learnt, by the MTP layer too."""
    from glm_rocm.pocket.optimizer import Optimizer

    torch.manual_seed(1)
    model = PocketGLM(tiny).train()
    batch = step_batch(build_tokenizer(), "same", 250, 0.0, {"identity": 1.0})
    optimizer, first, losses = Optimizer(model), Losses(), Losses()
    batch_loss(model, batch, 0.3, first)
    for _ in range(30):
        losses = Losses()
        for parameter in model.parameters():
            parameter.grad = None
        batch_loss(model, batch, 0.3, losses).backward()
        optimizer.step(1.0)
    assert losses.report()["loss"] < 0.3 * first.report()["loss"]
    assert losses.report()["mtp_loss"] < 0.5 * first.report()["mtp_loss"]


def test_the_mtp_layer_waits_for_its_start(tiny: PocketConfig, tmp_path: Path) -> None:
    settings = replace(QUICK, steps=20, mtp_start=0.5, save_every=20)
    train(settings, tmp_path, tiny)
    entries = log(tmp_path)
    assert [entry["step"] for entry in entries] == [10, 20]
    assert entries[0]["mtp_loss"] == 0.0
    assert entries[1]["mtp_loss"] > 0.0


@pytest.mark.slow
def test_two_workers_train_as_one_model(tiny: PocketConfig, tmp_path: Path) -> None:
    """Two processes share gradients and the orthogonalisation; the run ends and its snapshot is whole."""
    settings = replace(QUICK, steps=10, workers=2, save_every=10)
    train(settings, tmp_path, tiny)
    assert log(tmp_path)[0]["tokens"] > 10 * 300 * 0.9
    assert all(torch.isfinite(tensor).all() for tensor in weights(tmp_path).values())


def test_learning_rate_warms_up_stays_and_falls() -> None:
    settings = Settings(steps=100, warmup=10, decay=0.5)
    rates = [settings.rate(step) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.1)
    assert set(rates[9:49]) == {1.0}
    assert rates[-1] == pytest.approx(0.02)
    assert all(later < earlier for earlier, later in pairwise(rates[50:]))


@pytest.mark.parametrize("shape", [(24, 60), (60, 24), (3, 40, 40)], ids=["wide", "tall", "stack"])
def test_orthogonalise_evens_out_the_singular_values(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_balance_lifts_the_idle_and_lowers_the_busy(tiny: PocketConfig) -> None:
    layer = PocketGLM(tiny).experts()[0]
    layer.load.copy_(torch.tensor([0.0, 10.0, 10.0, 20.0]))
    assert balance([layer], 0.01) == pytest.approx(2.0)
    torch.testing.assert_close(layer.bias, torch.tensor([0.01, 0.0, 0.0, -0.01]))
    assert layer.load.sum() == 0


def test_balancing_leaves_the_mtp_layer_alone_while_it_is_not_run(tiny: PocketConfig) -> None:
    layer = PocketGLM(tiny).experts()[-1]
    balance([layer], 0.01)
    assert layer.bias.abs().max() == 0
