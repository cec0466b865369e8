"""One instruction applied to arrays in memory, by a loop of real machine code: a million numbers take a fraction of a
second, so that formats can be tested on all their codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cdna_emulator import lab

Words = npt.NDArray[np.uint32]


def stream(
    instruction: str, arch: str, *sources: npt.NDArray[Any], results: int = 1, mode: int = lab.MODE_AS_COMPILED
) -> Words:
    """What `instruction` makes of its sources, element by element.

    Args:
        instruction: reads v1, v2, v3 (v[2:3], v[4:5] for sources of 8 bytes an element) and writes v10, v11.
        arch: "gfx942" or "gfx950".
        sources: arrays of one length; elements of 4 or 8 bytes.
        results: registers that it writes.
        mode: HW_REG_MODE.

    Returns:
        uint32 [results, n]
    """
    count = len(sources[0])
    padded = -(-count // 64) * 64
    loads, memory, sgprs, register = [], [], {}, 1
    for number, source in enumerate(sources):
        words = source.dtype.itemsize // 4
        data = np.zeros(padded, source.dtype)
        data[:count] = source
        memory.append(data)
        sgprs[2 * number] = lab.address(data)
        register = -(-register // words) * words  # pairs start at an even register
        span = f"v{register}" if words == 1 else f"v[{register}:{register + 1}]"
        loads.append(
            f"global_load_dword{'' if words == 1 else 'x2'} {span}, v{words + 19}, s[{2 * number}:{2 * number + 1}]"
        )
        register += words
    made = np.zeros((results, padded), np.uint32)
    memory.append(made)
    stores = []
    for number in range(results):
        sgprs[10 + 2 * number] = lab.address(made) + made.strides[0] * number
        stores.append(f"global_store_dword v20, v{10 + number}, s[{10 + 2 * number}:{11 + 2 * number}]")
    sgprs[20] = padded // 64
    text = "\n".join(
        [
            "again:",
            *loads,
            "s_waitcnt vmcnt(0)",
            instruction,
            *stores,
            "v_add_u32 v20, 0x100, v20",
            "v_add_u32 v21, 0x200, v21",
            "s_sub_u32 s20, s20, 1",
            "s_cmp_lg_u32 s20, 0",
            "s_cbranch_scc1 again",
        ]
    )
    lane = np.arange(64, dtype=np.uint32)
    lab.run(text, arch, vgprs={20: 4 * lane, 21: 8 * lane}, sgprs=sgprs, memory=memory, mode=mode)
    return made[:, :count]
