"""Muon for the matrices inside the layers, Adam for everything else, and the router's balancing rule.

Muon (Jordan et al., 2024) steps along the orthogonalised momentum; the Newton-Schulz coefficients are the authors' own.
The router bias rule is DeepSeek-V3's (auxiliary-loss-free balancing), which GLM-4.5 uses too: after each step the bias
of an expert moves by a fixed amount, up when it was picked less than the mean, down when more.
"""

from __future__ import annotations

from collections import defaultdict

import torch
import torch.distributed as dist
from torch import Tensor, nn

from glm_rocm.pocket.model import Experts, PocketGLM

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
ADAM_BETAS = (0.9, 0.98)
MUON_MOMENTUM = 0.95
WEIGHT_DECAY = 0.05


def orthogonalise(x: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrix, roughly; x [..., rows, columns]."""
    a, b, c = NEWTON_SCHULZ
    wide = x.mT if x.shape[-2] > x.shape[-1] else x
    wide = wide / (wide.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = wide @ wide.mT
        wide = a * wide + (b * square + c * (square @ square)) @ wide
    result: Tensor = wide.mT if x.shape[-2] > x.shape[-1] else wide
    return result


def _by_muon(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and name not in {"embed", "head"} and not name.endswith("router")


class Optimizer:
    """Both rules over all parameters of a model.

    With several processes each orthogonalises a part of the matrices; gradients are expected to be averaged already.
    """

    def __init__(self, model: PocketGLM, muon_rate: float = 0.02, adam_rate: float = 4e-3) -> None:
        named = list(model.named_parameters())
        self.matrices = [p for name, p in named if _by_muon(name, p)]
        self.others = [p for name, p in named if not _by_muon(name, p)]
        self.muon_rate, self.adam_rate = muon_rate, adam_rate
        self.momentum = [torch.zeros_like(p) for p in self.matrices]
        self.mean = [torch.zeros_like(p) for p in self.others]
        self.square = [torch.zeros_like(p) for p in self.others]
        self.updates = [0] * len(self.others)

    def state(self) -> dict[str, object]:
        return {"momentum": self.momentum, "mean": self.mean, "square": self.square, "updates": self.updates}

    def load_state(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)

    def step(self, rate: float) -> None:
        """One update with both learning rates times `rate`; parameters without a gradient stay as they are."""
        with torch.no_grad():
            self._muon(rate * self.muon_rate)
            self._adam(rate * self.adam_rate)

    def _muon(self, rate: float) -> None:
        groups: dict[tuple[int, int], list[tuple[int, Tensor]]] = defaultdict(list)
        for index, (parameter, momentum) in enumerate(zip(self.matrices, self.momentum, strict=True)):
            if parameter.grad is None:
                continue
            momentum.lerp_(parameter.grad, 1 - MUON_MOMENTUM)
            update = parameter.grad.lerp(momentum, MUON_MOMENTUM)
            stack = update if update.ndim == 3 else update.unsqueeze(0)
            groups[(stack.shape[-2], stack.shape[-1])].append((index, stack))
        for (rows, columns), members in groups.items():
            directions = _orthogonalise_shared(torch.cat([stack for _, stack in members]))
            scale = rate * max(1.0, rows / columns) ** 0.5
            pieces = torch.split(directions, [len(stack) for _, stack in members])
            for (index, _), direction in zip(members, pieces, strict=True):
                parameter = self.matrices[index]
                parameter.mul_(1 - rate * WEIGHT_DECAY).add_(direction.view_as(parameter), alpha=-scale)

    def _adam(self, rate: float) -> None:
        first, second = ADAM_BETAS
        for index, parameter in enumerate(self.others):
            if parameter.grad is None:
                continue
            self.updates[index] += 1
            mean, square, updates = self.mean[index], self.square[index], self.updates[index]
            mean.lerp_(parameter.grad, 1 - first)
            square.mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
            scale = (square / (1 - second**updates)).sqrt().add_(1e-8)
            own = rate if parameter.ndim > 1 else rate / 2
            parameter.addcdiv_(mean / (1 - first**updates), scale, value=-own)


def _orthogonalise_shared(stack: Tensor) -> Tensor:
    """`orthogonalise` of each matrix of `stack` [M, rows, columns], the matrices shared out among the processes."""
    if not dist.is_initialized():
        return orthogonalise(stack)
    world, rank = dist.get_world_size(), dist.get_rank()
    result = torch.zeros_like(stack)
    if rank < len(stack):
        result[rank::world] = orthogonalise(stack[rank::world])
    dist.all_reduce(result)
    return result


def balance(experts: list[Experts], amount: float) -> float:
    """Move each router bias by `amount` towards even loads and reset the loads.

    Returns:
        The highest load of any expert over the mean load of its layer.
    """
    worst = 0.0
    for layer in experts:
        if layer.load.sum() == 0:
            continue
        worst = max(worst, float(layer.load.max() / layer.load.mean()))
        layer.bias += amount * torch.sign(layer.load.mean() - layer.load)
        layer.load.zero_()
    return worst
