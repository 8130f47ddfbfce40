"""What an accelerator finds is held against what the CPU finds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from gpu_support import SWIFTSHADER, WHY_NOT

from vision import agreement
from vision.backends.cpu import CpuBackend, CpuConfig
from vision.building import load_engine
from vision.config import DetectorConfig, InferenceConfig
from vision.errors import BackendError
from vision.models.catalogue import resolve

ON_CPU = InferenceConfig(backend="cpu", threads=1)


class SkewedBackend(CpuBackend):
    """An accelerator whose outputs are changed by a function."""

    def __init__(self, name, change):
        super().__init__(CpuConfig(threads=1), spec=resolve(name))
        self.info = dataclasses.replace(self.info, name="gpu")
        self._change = change

    def collect(self, slot):
        return [self._change(output.copy()) for output in super().collect(slot)]


@pytest.fixture
def engines():
    made = []

    def make(name, change=None):
        own = DetectorConfig(model=name)
        engine = load_engine(own, ON_CPU)
        if change is not None:
            engine.backend.close()
            engine = dataclasses.replace(engine, backend=SkewedBackend(name, change))
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.backend.close()


@pytest.mark.parametrize("name", ["face-short", "face-full"])
def test_the_scenes_show_something_to_agree_on(engines, name):
    engine = engines(name)
    found = [len(agreement._find(engine, scene)) for scene in agreement.scenes()]
    assert found == [0, 2, 1]


def test_the_same_answers_agree(engines):
    agreement.check(engines("face-short", lambda out: out), engines("face-short"), 0.5)
    agreement.check(engines("face-short", lambda out: out + 1e-3), engines("face-short"), 0.5)


@pytest.mark.parametrize(
    "change",
    [
        lambda out: out - 5 if out.shape[-1] == 1 else out,  # faces that it does not see
        lambda out: out + 5 if out.shape[-1] == 1 else out,  # faces where there are none
        lambda out: np.roll(out, 10, axis=1),  # faces elsewhere
        lambda out: out * 1.3 if out.shape[-1] > 1 else out,  # faces of another size
    ],
)
def test_other_answers_do_not(engines, change):
    with pytest.raises(BackendError, match=r"in a drawn scene only the (gpu|cpu) finds a face"):
        agreement.check(engines("face-short", change), engines("face-short"), 0.5)


@pytest.mark.gpu
@pytest.mark.skipif(bool(WHY_NOT), reason=str(WHY_NOT))
@pytest.mark.parametrize("name", ["face-short", "face-full"])
def test_a_gpu_finds_what_the_cpu_finds(vision, picture, name):
    done = vision(
        "detect", picture, "--model", name, "--backend", "gpu", "--json",
        VK_DRIVER_FILES=str(SWIFTSHADER),
    )  # fmt: skip
    assert '"name": "gpu"' in done.stdout
