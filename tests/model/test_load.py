"""What MODEL may be: a folder, a hub id, a known name, and what is neither."""

from __future__ import annotations

import json

import pytest

from glm_rocm.errors import CheckpointError
from glm_rocm.model import KNOWN, load_spec
from glm_rocm.model.checkpoint import check_checkpoint


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path) -> None:
    """The hub client's own switch, read at its import, and an empty cache."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def test_published_models_are_known_without_a_download() -> None:
    assert set(KNOWN) == {
        "zai-org/" + name
        for name in (
            "GLM-4.5",
            "GLM-4.5-Base",
            "GLM-4.5-FP8",
            "GLM-4.5-Air",
            "GLM-4.5-Air-Base",
            "GLM-4.5-Air-FP8",
            "GLM-4.6",
            "GLM-4.6-FP8",
            "GLM-4.7",
            "GLM-4.7-FP8",
        )
    }


@pytest.mark.parametrize("name", ["zai-org/GLM-4.6", "GLM-4.6", "glm-4.6", "ZAI-ORG/glm-4.6"])
def test_known_name_with_or_without_owner_in_any_case(name) -> None:
    assert load_spec(name) == KNOWN["zai-org/GLM-4.6"]


def test_what_tells_the_known_models_apart() -> None:
    assert (KNOWN["zai-org/GLM-4.5"].max_context, KNOWN["zai-org/GLM-4.6"].max_context) == (131072, 202752)
    assert (KNOWN["zai-org/GLM-4.5-Air"].qk_norm, KNOWN["zai-org/GLM-4.5"].qk_norm) == (False, True)
    assert (KNOWN["zai-org/GLM-4.5-Air"].routed_scale, KNOWN["zai-org/GLM-4.5"].routed_scale) == (1.0, 2.5)
    assert {name for name, spec in KNOWN.items() if spec.tool_parser == "glm47"} == {
        "zai-org/GLM-4.7",
        "zai-org/GLM-4.7-FP8",
    }
    fp8 = KNOWN["zai-org/GLM-4.5-FP8"]
    assert "public evidence" in fp8.source
    assert not fp8.quantization.covers("model.layers.92.eh_proj")
    assert fp8.quantization.covers("model.layers.92.mlp.experts.7.down_proj")


def test_folder_is_named_after_itself(write_folder) -> None:
    folder = write_folder("my-tune")
    spec = load_spec(str(folder))
    assert (spec.name, spec.path) == ("my-tune", str(folder))


def test_downloaded_config_goes_before_what_is_known_by_heart(tmp_path, config) -> None:
    repository = tmp_path / "cache" / "models--zai-org--GLM-4.6"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (snapshot / "config.json").write_text(json.dumps(config))
    assert load_spec("zai-org/GLM-4.6").hidden == 96


@pytest.mark.parametrize(
    "model", ["./no/such/folder", "/no/such/folder", "no-such-name", "", "a/b/c", "~no-such-user/x"]
)
def test_path_or_name_that_is_nothing_is_refused(model) -> None:
    with pytest.raises(CheckpointError, match="no model of that name") as caught:
        load_spec(model)
    assert "pocket" in caught.value.hint


def test_file_in_place_of_a_folder_is_refused(tmp_path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(CheckpointError, match="is a file"):
        load_spec(str(file))


def test_unknown_hub_id_is_refused_when_the_hub_cannot_be_asked() -> None:
    with pytest.raises(CheckpointError, match="zai-org/GLM-9") as caught:
        load_spec("zai-org/GLM-9")
    assert "\n" not in caught.value.found


def test_folder_without_a_config_is_refused(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"no `config\.json`"):
        load_spec(str(tmp_path))


def test_pocket_is_the_shipped_model_and_whole() -> None:
    spec = load_spec("pocket")
    assert (spec.name, spec.heads, spec.kv_heads, spec.moe_intermediate) == ("pocket-glm", 12, 1, 192)
    assert spec.quantization.scheme == "none"
    assert spec.path is not None
    assert check_checkpoint(spec.path, spec, mtp=True).bytes < 24 << 20
