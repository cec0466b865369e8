"""FP8 against BF16, kernel against reference: four levels of parity, their gates, and a report that people read.

`ops` holds every kernel that could be chosen against the reference over M; `block` names the first op of a layer that
goes wrong; `model` sets a checkpoint's BF16 and FP8 selves side by side on the same text; `server` asks a running
server for what it thinks of the same text. Two comparisons are never mixed: against the reference on the same FP8 bits
(the kernel's error), and against BF16 (the format's error).
"""
