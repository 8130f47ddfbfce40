"""The interpreter behind slots."""

from __future__ import annotations

import numpy as np
import pytest

from vision.backends.cpu import CpuBackend, CpuConfig, cores, interpreter_class
from vision.errors import BackendError, ModelError
from vision.models.catalogue import resolve


@pytest.fixture
def backend():
    backend = CpuBackend(CpuConfig(threads=1), spec=resolve("face-short"))
    yield backend
    backend.close()


def test_each_slot_gives_the_answer_to_its_own_input(backend):
    rng = np.random.default_rng(1)
    pictures = [rng.uniform(-1, 1, backend.inputs[0].shape).astype(np.float32) for _ in range(3)]
    reference = interpreter_class()(model_path=str(resolve("face-short").path), num_threads=1)
    reference.allocate_tensors()
    for slot, picture in enumerate(pictures):
        backend.input_view(slot)[...] = picture
        backend.submit(slot)
    for slot in (2, 0, 1):
        reference.set_tensor(reference.get_input_details()[0]["index"], pictures[slot])
        reference.invoke()
        for got, detail in zip(backend.collect(slot), reference.get_output_details(), strict=True):
            assert np.array_equal(got, reference.get_tensor(detail["index"]))


def test_it_never_takes_more_threads_than_there_are_cores():
    backend = CpuBackend(CpuConfig(threads=999), spec=resolve("face-short"))
    assert backend.info.threads == cores()
    backend.close()


def test_it_says_what_it_is(backend):
    assert (backend.info.name, backend.info.delegated_ops) == ("cpu", 0)
    assert backend.info.total_ops == 164
    assert backend.info.device
    assert backend.info.max_error == 0


def test_closed_it_refuses_and_closes_twice(backend):
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.collect(0)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "x.tflite"
    path.write_bytes(b"not a model" * 100)
    spec = resolve("face-short").model_copy(update={"path": path})
    with pytest.raises(ModelError, match="the interpreter refuses it"):
        CpuBackend(CpuConfig(), spec=spec)
