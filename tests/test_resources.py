"""What a model costs: measured once, remembered, shown."""

from __future__ import annotations

import json

import pytest

from vision.backends.cpu import CpuBackend, CpuConfig
from vision.building import build_backend
from vision.config import InferenceConfig
from vision.errors import ConfigError
from vision.models.catalogue import load_catalogue, resolve
from vision.resources import known, load_measured

CPU = InferenceConfig(backend="cpu", threads=1)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vision" / "resources"


def test_the_first_start_measures_and_the_next_only_loads(cache):
    spec = resolve("coco-ssd")
    assert known(spec.sha256) == {}
    backend = build_backend(spec, CPU)
    cost = known(spec.sha256)["cpu"]
    assert 0 < cost.load_ms < 60_000
    assert 0 <= cost.rss_mb < 500
    loads = []
    again = load_measured(spec.sha256, "cpu", lambda: loads.append(1) or backend)
    assert (again, loads) == (backend, [1])
    assert known(spec.sha256) == {"cpu": cost}
    backend.close()


def test_a_model_that_does_not_load_is_not_remembered(cache):
    def refuse():
        raise ConfigError("no runtime")

    with pytest.raises(ConfigError, match="no runtime"):
        load_measured("0" * 64, "cpu", refuse)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_or_read_costs_nothing(cache):
    spec = resolve("face-short")
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    backend = load_measured(spec.sha256, "cpu", lambda: CpuBackend(CpuConfig(threads=1), spec=spec))
    assert known(spec.sha256) == {}
    backend.close()
    cache.unlink()
    cache.mkdir()
    (cache / f"{spec.sha256}-cpu.json").write_text("{")
    assert known(spec.sha256) == {}


def test_models_list_shows_what_is_known(vision, shared_models, shared_data, tmp_path):
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    picture = next((shared_data / "coco128" / "images").glob("*.jpg"))
    vision("detect", picture, "--model", "coco-ssd", "--backend", "cpu", **environment)
    rows = json.loads(vision("models", "list", "--json", **environment).stdout)
    (row,) = [row for row in rows if row["name"] == "coco-ssd"]
    assert row["resources"]["cpu"]["load_ms"] > 0
    assert {row["name"] for row in rows} == set(load_catalogue().files())
    table = vision("models", "list", **environment).stdout.splitlines()
    (line,) = [line for line in table if line.startswith("coco-ssd ")]
    assert " MB (cpu)  " in line
    assert "LOADS IN" in table[0]
