"""A converted model beside the network that it was made from, on the same pictures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from vision import registry
from vision.backends.cpu import CpuBackend, CpuConfig, interpreter_class
from vision.interfaces import TensorSpec
from vision.models.convert import agreement
from vision.origins import Origins
from vision.preprocess import Preprocessor
from vision.quantized import to_real

if TYPE_CHECKING:
    from pathlib import Path

    from vision.conversion.job import Job
    from vision.detection import Detections
    from vision.model_spec import ModelSpec
    from vision.models.convert.agreement import Agreement
    from vision.models.convert.original import Answer
    from vision.models.entries import Sidecar

_TIMED_RUNS = 50
_DETECT = "detect"


def reader(sidecar: Sidecar, written: Path | None) -> tuple[Any, Any]:
    """Return the plug-in that reads the model's outputs, and its checked options.

    Args:
        sidecar: What is said of the model.
        written: Where, for errors.

    Raises:
        ConfigError: If there is no such decoder, or it has no such options.
    """
    table = registry.DETECTORS if sidecar.task == _DETECT else registry.CLASSIFIERS
    return registry.section(
        "decoder", table, {"type": sidecar.decoder, **sidecar.options},
        Origins({(): str(written)}), ("options",),
    )  # fmt: skip


def compare(job: Job, spec: ModelSpec) -> tuple[Agreement, float]:
    """Run a variant on the pictures of the job.

    Args:
        job: With the original's answers.
        spec: The variant.

    Returns:
        How far it is from the original, and the median of a run on one thread in ms.
    """
    backend = CpuBackend(CpuConfig(threads=1), spec=spec)
    try:
        names = _names(spec.path)
        prepare = Preprocessor(spec.input, backend.inputs[0])
        actual, boxes = [], []
        for image in job.images:
            boxes.append((prepare(image, backend.input_view(0)), image.shape[1::-1]))
            actual.append(
                {
                    name: to_real(values, tensor).copy()
                    for name, values, tensor in zip(
                        names, backend.collect(0), backend.outputs, strict=True
                    )
                }
            )
        times = []
        for _ in range(_TIMED_RUNS):
            start = time.perf_counter()
            backend.collect(0)
            times.append(time.perf_counter() - start)
        alike = _alike(job, spec, backend.inputs, actual, boxes)
    finally:
        backend.close()
    errors = agreement.raw_errors(job.expected, actual)
    return agreement.Agreement(*errors, alike), float(np.median(times)) * 1e3


def _names(path: Path) -> list[str]:
    """Return the signature's names of the outputs, in the order of the file's own."""
    interpreter = interpreter_class()(model_path=str(path))
    interpreter.allocate_tensors()
    named = interpreter.get_signature_runner().get_output_details()
    by_index = {detail["index"]: name for name, detail in named.items()}
    return [by_index[detail["index"]] for detail in interpreter.get_output_details()]


def _alike(
    job: Job, spec: ModelSpec, inputs: Any, actual: list[Answer], boxes: list[Any]
) -> float | None:
    """Compare what the outputs mean, where the description says how to read them."""
    if job.sidecar is None:
        return None
    if job.sidecar.task != _DETECT:
        return agreement.same_class(job.expected, actual)
    sample = job.expected[0]
    outputs = [TensorSpec(name, v.shape, np.dtype(np.float32)) for name, v in sample.items()]
    plug_in, options = reader(job.sidecar, job.order.description)
    detector = plug_in(
        options, spec=spec, inputs=inputs, outputs=outputs, min_score=agreement.FLOOR
    )

    def decoded(answers: list[Answer]) -> list[Detections]:
        return [
            detector.decode([answer[tensor.name] for tensor in outputs], *where)
            for answer, where in zip(answers, boxes, strict=True)
        ]

    return agreement.same_boxes(decoded(job.expected), decoded(actual))
