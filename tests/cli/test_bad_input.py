"""Every way to be wrong gets one `error:` line, a `hint:` and exit code 2, and starts nothing."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from glm_rocm.target import detect_target

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Copy = Callable[[], Path]

pytestmark = pytest.mark.usefixtures("nothing_left")


def rewrite(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize("command", ["serve", "plan"])
def test_path_that_is_not_there(refuses: Run, command: str) -> None:
    assert "`./nowhere`" in refuses(command, "./nowhere").stderr


def test_hub_id_that_is_unknown_without_a_network(refuses: Run) -> None:
    assert "`zai-org/GLM-9000`" in refuses("serve", "zai-org/GLM-9000").stderr


@pytest.mark.parametrize("kind", ["llama", "glm4_moe_lite", "deepseek_v3"])
def test_model_that_is_not_glm4_moe_is_named(refuses: Run, damaged: Copy, kind: str) -> None:
    folder = damaged()
    rewrite(folder, model_type=kind, architectures=["SomethingForCausalLM"])
    assert f"`{kind}`" in refuses("serve", str(folder)).stderr


def test_config_that_is_not_json(refuses: Run, damaged: Copy) -> None:
    folder = damaged()
    (folder / "config.json").write_text("{")
    assert "config.json" in refuses("serve", str(folder)).stderr


def test_shard_that_is_truncated(refuses: Run, damaged: Copy) -> None:
    folder = damaged()
    shard = folder / "model.safetensors"
    with shard.open("r+b") as file:
        file.truncate(shard.stat().st_size // 2)
    assert "model.safetensors" in refuses("serve", str(folder)).stderr


def test_shard_that_is_missing(refuses: Run, damaged: Copy) -> None:
    folder = damaged()
    shard = folder / "model.safetensors"
    header = json.loads(shard.read_bytes()[8 : 8 + struct.unpack("<Q", shard.read_bytes()[:8])[0]])
    where = {name: "model-00001-of-00002.safetensors" for name in header if name != "__metadata__"}
    where["lm_head.weight"] = "model-00002-of-00002.safetensors"
    shard.rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    assert "model-00002-of-00002.safetensors" in refuses("serve", str(folder)).stderr


def test_folder_without_any_weights(refuses: Run, damaged: Copy) -> None:
    folder = damaged()
    (folder / "model.safetensors").unlink()
    refuses("serve", str(folder))


@pytest.mark.parametrize("change", [{"num_attention_heads": 24}, {"n_routed_experts": 16}, {"vocab_size": 2048}])
def test_config_that_contradicts_the_tensors(refuses: Run, damaged: Copy, change: dict[str, int]) -> None:
    folder = damaged()
    rewrite(folder, **change)
    refuses("serve", str(folder))


def test_fp8_scheme_of_a_checkpoint_that_is_unknown(refuses: Run, damaged: Copy) -> None:
    folder = damaged()
    rewrite(folder, quantization_config={"quant_method": "awq", "bits": 4})
    assert "awq" in refuses("serve", str(folder)).stderr


def test_fp8_word_that_is_unknown(refuses: Run) -> None:
    assert "`--fp8 e5m2`" in refuses("plan", "GLM-4.6", "--gpus", "h200:8", "--fp8", "e5m2").stderr


def test_quantize_scheme_that_is_unknown(refuses: Run, damaged: Copy, tmp_path: Path) -> None:
    assert "`int3`" in refuses("quantize", str(damaged()), str(tmp_path / "out"), "--scheme", "int3").stderr
    assert not (tmp_path / "out").exists()


def test_quantize_source_that_is_not_there(refuses: Run, tmp_path: Path) -> None:
    refuses("quantize", "nowhere", str(tmp_path / "out"))


def test_tp_that_does_not_divide_the_heads(refuses: Run) -> None:
    done = refuses("plan", "GLM-4.6", "--gpus", "mi300x:8", "--tp", "5")
    assert "96 query heads" in done.stderr


def test_tp_of_more_devices_than_there_are(refuses: Run) -> None:
    refuses("plan", "GLM-4.6", "--gpus", "mi300x:2", "--tp", "8")


def test_memory_that_is_not_enough(refuses: Run) -> None:
    done = refuses("plan", "GLM-4.6", "--gpus", "h100:2")
    assert "GB" in done.stderr


def test_context_beyond_the_model(refuses: Run) -> None:
    assert "131072" in refuses("plan", "GLM-4.5", "--gpus", "mi300x:8", "--context", "200000").stderr


def test_mtp_beyond_reason(refuses: Run) -> None:
    refuses("plan", "GLM-4.5", "--gpus", "mi300x:8", "--mtp", "99")


@pytest.mark.parametrize("text", ["mi999:8", "mi300x:0", "mi300x:-1", "mi300x:many", ":8", "", "cpu:2", "mi300x:8:8"])
def test_target_that_means_nothing(refuses: Run, text: str) -> None:
    refuses("plan", "GLM-4.6", "--target", text)


@pytest.mark.parametrize("text", ["attention", "=cpu.attention", "attention=", "="])
def test_kernel_flag_that_is_malformed(refuses: Run, text: str) -> None:
    assert "OP=NAME" in refuses("plan", "pocket", "--kernel", text).stderr


def test_kernel_that_is_unknown(refuses: Run) -> None:
    done = refuses("plan", "pocket", "--target", "cpu", "--kernel", "attention=rocm.warp_drive")
    assert "`rocm.warp_drive`" in done.stderr
    assert "`cpu.attention`" in done.stderr


def test_op_that_is_unknown(refuses: Run) -> None:
    assert "teleport" in refuses("plan", "pocket", "--target", "cpu", "--kernel", "teleport=cpu.attention").stderr


def test_kernel_named_twice(refuses: Run) -> None:
    twice = ["--kernel", "attention=cpu.attention"] * 2
    assert "twice" in refuses("plan", "pocket", "--target", "cpu", *twice).stderr


def test_engine_that_is_unknown(refuses: Run) -> None:
    done = refuses("serve", "--engine", "tensorrt")
    assert "`tensorrt`" in done.stderr
    assert "`vllm`" in done.stderr


def test_port_that_is_taken(refuses: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        assert f"`{port}`" in refuses("serve", "--port", str(port)).stderr


@pytest.mark.parametrize("port", ["0", "70000", "-1", "http"])
def test_port_that_is_none(refuses: Run, port: str) -> None:
    refuses("serve", "--port", port)


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[]", b'{"glm_rocm_plan": 99}', b'{"glm_rocm_plan": 1}', b"\xff\xfe\x00"]
)
def test_plan_file_that_cannot_be_read(refuses: Run, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "plan.json"
    if content is not None:
        file.write_bytes(content)
    refuses("serve", "--plan", str(file))


def test_plan_file_whose_model_is_gone(refuses: Run, cli: Run, damaged: Copy, tmp_path: Path) -> None:
    folder = damaged()
    file = tmp_path / "plan.json"
    file.write_text(cli("plan", str(folder), "--target", "cpu", "--json").stdout)
    (folder / "model.safetensors").unlink()
    refuses("serve", "--plan", str(file))


def test_plan_file_and_a_flag_that_contradicts_it(refuses: Run, cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(cli("plan", "pocket", "--target", "cpu", "--json").stdout)
    assert "`--tp`" in refuses("serve", "--plan", str(file), "--tp", "2").stderr


def test_engine_that_does_not_serve(refuses: Run) -> None:
    assert "glm-rocm generate" in refuses("serve", "--engine", "transformers").stderr


def test_accelerator_that_this_machine_does_not_have(refuses: Run) -> None:
    other = "b200:8" if detect_target().vendor != "cuda" else "mi300x:8"
    assert "this machine has" in refuses("serve", "GLM-4.6", "--target", other).stderr


@pytest.mark.parametrize("flag", ["--port=9000", "--api-key", "--served-model-name"])
def test_flag_behind_the_dashes_that_the_supervisor_must_know(refuses: Run, flag: str) -> None:
    assert "before it" in refuses("serve", "pocket", "--", "--seed", "1", flag, "x").stderr


def test_state_folder_that_cannot_be(refuses: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refuses("serve", "--state", str(tmp_path / "file"), "--port", "18299")


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["serve", "--bogus"],
        ["serve", "one", "two"],
        ["plan", "--tp", "many"],
        ["plan", "--tp", "0"],
        ["plan", "--context"],
        ["quantize"],
        ["generate"],
        ["--bogus"],
        ["serve", "--drain", "inf"],
    ],
    ids=" ".join,
)
def test_usage_errors_look_like_all_others(refuses: Run, words: list[str]) -> None:
    assert "--help" in refuses(*words).stderr
