"""Bad input to the small kernels: an error that names argument, found and required, before anything is launched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from glm_rocm_kernels import launch, linear, norm_rope, quant
from glm_rocm_kernels.checks import check_block_table
from glm_rocm_kernels.errors import KernelArgumentError, LaunchRefusedError

FP8 = torch.float8_e4m3fn


@pytest.fixture(autouse=True)
def nothing_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch that gets through after all is an error of the test."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("launched in spite of its arguments")

    for module in (linear, norm_rope, quant):
        monkeypatch.setattr(module, "launch", refuse)
    assert launch.launch is not refuse


def unaligned(dtype: torch.dtype, *shape: int) -> Tensor:
    """A tensor whose address its element's size does not divide."""
    count = torch.Size(shape).numel()
    x = torch.frombuffer(bytearray(count * dtype.itemsize + 16), dtype=dtype, count=count, offset=1).view(shape)
    if x.data_ptr() % dtype.itemsize == 0:
        pytest.skip("the allocator gave an odd address")
    return x


def calls(function: Callable[..., Any], *arguments: Any, **options: Any) -> Callable[..., Any]:
    """The call with some arguments replaced, by position or name."""

    def call(**changes: Any) -> Any:
        given = [changes.pop(f"at{i}", argument) for i, argument in enumerate(arguments)]
        return function(*given, **options | changes)

    return call


QUANTIZE = calls(quant.quantize_token_groups, torch.ones(2, 8), 4, FP8)
CONVERT = calls(quant.fnuz_from_fn, torch.zeros(2, 8, dtype=torch.uint8).view(FP8), torch.ones(2, 1))
LINEAR = calls(linear.linear, torch.ones(2, 8), torch.ones(3, 8))
FP8_LINEAR = calls(
    linear.linear,
    torch.ones(2, 8),
    torch.zeros(3, 8, dtype=torch.uint8).view(FP8),
    w_scale=torch.ones(3, 1),
    quant="channel_token",
)
ROPE = calls(
    norm_rope.norm_rope, torch.ones(2, 4, 8), torch.ones(2, 1, 8), torch.tensor([0, 1]), torch.ones(5, 4), eps=1e-5
)
STORE = calls(
    norm_rope.bias_norm_rope_store,
    *(torch.ones(2, 4, 8), torch.ones(2, 1, 8), torch.ones(2, 1, 8), torch.tensor([0, 1]), torch.ones(5, 4)),
    *(torch.tensor([0, 7]), torch.ones(2, 4, 1, 8), torch.ones(2, 4, 1, 8)),
    eps=1e-5,
)
RMS = calls(norm_rope.rms_norm, torch.ones(2, 8), torch.ones(8), 1e-5)

BAD: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (QUANTIZE, {"at0": torch.ones(8)}, r"`x` is of shape \[8\]; required: shape \[any, any\]"),
    (QUANTIZE, {"at0": torch.ones(2, 8).double()}, "`x` is float64; required: bfloat16 or float16 or float32"),
    (QUANTIZE, {"at0": [1.0]}, "`x` is a `list`; required: a tensor"),
    (QUANTIZE, {"at1": 0}, "`group` is 0; required: 1 to 65536"),
    (QUANTIZE, {"at2": torch.int8}, "`dtype` is `torch.int8`; required: `torch.float8_e4m3fn` or"),
    (CONVERT, {"at0": torch.ones(2, 8)}, "`codes` is float32; required: float8_e4m3fn"),
    (CONVERT, {"at0": torch.zeros(8, 8, dtype=torch.uint8).view(FP8).t()}, r"`codes` is of strides \[1, 8\]; required"),
    (CONVERT, {"at1": torch.ones(2, 1).half()}, "`scale` is float16; required: float32"),
    (LINEAR, {"at0": torch.ones(2, 1, 8)}, r"`x` is of shape \[2, 1, 8\]; required: shape \[any, any\]"),
    (LINEAR, {"at1": torch.ones(3, 9)}, r"`w` is of shape \[3, 9\]; required: shape \[any, 8\]"),
    (LINEAR, {"at1": torch.ones(3, 8).half()}, "`w` is float16; required: float32"),
    (LINEAR, {"at1": torch.ones(3, 8, device="meta")}, "`w` is on `meta`; required: `cpu`"),
    (LINEAR, {"quant": "int4"}, "`quant` is `int4`; required: `none` or `channel_token` or `block`"),
    (LINEAR, {"w_scale": torch.ones(3, 1)}, "`w_scale` is given; required: None without quantisation"),
    (LINEAR, {"bias": torch.ones(4)}, r"`bias` is of shape \[4\]; required: shape \[3\]"),
    (LINEAR, {"bias": torch.ones(6)[::2]}, r"`bias` is of strides \[2\]; required: stride 1"),
    (LINEAR, {"out_dtype": torch.int32}, "`out_dtype` is `torch.int32`; required"),
    (FP8_LINEAR, {"w_scale": None}, "`w_scale` is None; required"),
    (FP8_LINEAR, {"w_scale": torch.ones(3, 2)}, r"`w_scale` is of shape \[3, 2\]; required: shape \[3, 1\]"),
    (FP8_LINEAR, {"quant": "block"}, r"`w_scale` is of shape \[3, 1\]; required: shape \[1, 1\]"),
    (FP8_LINEAR, {"at1": torch.ones(3, 8)}, "`w` is float32; required: float8_e4m3fn or float8_e4m3fnuz"),
    (ROPE, {"at0": torch.ones(2, 8, 4).transpose(1, 2)}, r"`q` is of strides \[32, 1, 4\]; required: stride 1 in dim"),
    (ROPE, {"at1": torch.ones(3, 1, 8)}, r"`k` is of shape \[3, 1, 8\]; required: shape \[2, any, 8\]"),
    (ROPE, {"at1": torch.ones(2, 1, 8).half()}, "`k` is float16; required: float32"),
    (ROPE, {"at2": torch.ones(2)}, "`positions` is float32; required: int32 or int64"),
    (ROPE, {"at2": torch.tensor([0, 5])}, r"`positions\[1\]` is 5; required: 0 to 4"),
    (ROPE, {"at2": torch.tensor([-1, 0])}, r"`positions\[0\]` is -1; required: 0 to 4"),
    (ROPE, {"at3": torch.ones(5, 3)}, "`cos_sin` is of 3 columns; required: an even number of at most 8"),
    (ROPE, {"at3": torch.ones(5, 10)}, "`cos_sin` is of 10 columns; required"),
    (ROPE, {"q_weight": torch.ones(4)}, r"`q_weight` is of shape \[4\]; required: shape \[8\]"),
    (ROPE, {"eps": -1.0}, "`eps` is -1; required: 0 or more"),
    (STORE, {"at2": torch.ones(2, 2, 8)}, r"`v` is of shape \[2, 2, 8\]; required: shape \[2, 1, 8\]"),
    (STORE, {"at5": torch.tensor([0, 8])}, r"`slots\[1\]` is 8; required: any below 0, or 0 to 7"),
    (STORE, {"at5": torch.tensor([0])}, r"`slots` is of shape \[1\]; required: shape \[2\]"),
    (
        STORE,
        {"at6": torch.ones(2, 4, 2, 8)},
        r"`k_cache` is of shape \[2, 4, 2, 8\]; required: shape \[any, any, 1, 8\]",
    ),
    (STORE, {"at6": torch.ones(2, 4, 1, 8).half()}, "`k_cache` is float16; required: float32 or float8"),
    (STORE, {"at7": torch.ones(2, 4, 1, 8).half()}, "`v_cache` is float16; required: float32"),
    (STORE, {"q_bias": torch.ones(4, 8)}, r"`q_bias` is of shape \[4, 8\]; required: shape \[32\]"),
    (STORE, {"v_scale": 0.0}, "`v_scale` is 0; required: a number above 0"),
    (STORE, {"k_scale": float("nan")}, "`k_scale` is nan; required: a number above 0"),
    (RMS, {"at0": torch.ones(2, 0)}, r"`x.shape\[1\]` is 0; required: 1 to 65536"),
    (RMS, {"at0": torch.ones(8, 2).t()}, r"`x` is of strides \[1, 2\]; required: stride 1"),
    (RMS, {"residual": torch.ones(2, 8).half()}, "`residual` is float16; required: float32"),
    (RMS, {"quant_dtype": torch.int8}, "`quant_dtype` is `torch.int8`; required"),
]


@pytest.mark.parametrize(("call", "changes", "message"), BAD, ids=[message for _, _, message in BAD])
def test_bad_argument(device: torch.device, call: Callable[..., Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(KernelArgumentError, match=message):
        call(**changes)


@pytest.mark.parametrize("call", [QUANTIZE, LINEAR, FP8_LINEAR, RMS])
def test_unaligned_pointer(call: Callable[..., Any]) -> None:
    with pytest.raises(KernelArgumentError, match=r"`x` is at address 0x[0-9a-f]+; required: one that 4"):
        call(at0=unaligned(torch.float32, 2, 8))


def test_fp8_that_the_card_does_not_multiply(target: Any, device: torch.device) -> None:
    """Not a silent upcast: the reason, and the cure where there is one."""
    if target.name == "interpret":
        pytest.skip("the interpreter multiplies every format")
    other = {torch.float8_e4m3fn: torch.float8_e4m3fnuz, torch.float8_e4m3fnuz: FP8}[target.fp8]
    w = torch.zeros(3, 8, dtype=torch.uint8).view(other)
    with pytest.raises(LaunchRefusedError, match=f"`linear` is not launched on {target.arch}: its matrix instructions"):
        FP8_LINEAR(at0=torch.ones(2, 8, device=device), at1=w.to(device), w_scale=torch.ones(3, 1, device=device))


class TestBlockTable:
    """Pages of 4 tokens, a cache of 6."""

    @pytest.mark.parametrize("page", [6, -1, 2**30])
    def test_a_page_outside_the_cache(self, page: int) -> None:
        table = torch.tensor([[0, 1], [2, page]], dtype=torch.int32)
        with pytest.raises(KernelArgumentError, match=rf"`block_table\[1, 1\]` is {page}; required: 0 to 5"):
            check_block_table(table, torch.tensor([0, 1, 2]), torch.tensor([8, 5]), 6, 4)

    def test_a_context_longer_than_its_row(self) -> None:
        table = torch.zeros(2, 2, dtype=torch.int32)
        with pytest.raises(KernelArgumentError, match=r"`context_len\[1\]` is 9; required: at most 8, the row's pages"):
            check_block_table(table, torch.tensor([0, 1, 2]), torch.tensor([8, 9]), 6, 4)

    def test_what_no_sequence_owns_may_be_anything(self) -> None:
        """Entries past the last page, and the context of a sequence without queries."""
        table = torch.tensor([[0, 2**30], [2**30, 2**30]], dtype=torch.int32)
        check_block_table(table, torch.tensor([0, 1, 1]), torch.tensor([4, 2**30], dtype=torch.int32), 6, 4)

    def test_no_sequence(self) -> None:
        check_block_table(torch.zeros(0, 3, dtype=torch.int32), torch.tensor([0]), torch.zeros(0), 6, 4)
