"""The steps of a conversion, in order."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from vision.conversion.compare import compare, reader
from vision.conversion.job import Job, Order, Variant
from vision.errors import UsageError
from vision.interfaces import TensorSpec
from vision.litert.pictures import pixels
from vision.litert.probe import verify
from vision.litert.verdict import Attempt
from vision.model_spec import ModelSpec
from vision.models.catalogue import sha256_of
from vision.models.convert import pictures
from vision.models.convert.extras import versions
from vision.models.convert.files import write_together
from vision.models.convert.original import Original, open_original
from vision.models.convert.quantize import quantize
from vision.models.convert.quiet import quiet
from vision.models.entries import Sidecar, load
from vision.picture import read_picture
from vision.preprocess import Preprocessor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from vision.models.convert.agreement import Agreement
    from vision.models.convert.quantize import Precision

    Say = Callable[[str], None]

_TOOLS = ("ai-edge-quantizer", "ai-edge-litert")
_MOST_CHECKED = 60


def convert(order: Order, say: Say) -> list[Variant]:
    """Make, check and write the variants.

    Args:
        order: What to convert.
        say: Told what is being done, before each step.

    Returns:
        All variants; those with a `problem` were not written.

    Raises:
        UsageError: If the order contradicts itself.
        ModelError: If the network, the description or a folder is not usable.
        ConfigError: If the description names a decoder or option that is not known.
    """
    if "int8" in order.precisions and order.calibration is None:
        raise UsageError("--quantize int8 needs --calibrate FOLDER, pictures like those in use")
    sidecar = load(order.description, Sidecar) if order.description else None
    if sidecar:
        reader(sidecar, order.description)  # its errors come before the minutes of work
    samples = pictures.find_pictures(order.calibration) if order.calibration else []
    checked = pictures.find_pictures(order.check) if order.check else samples
    say(f"opening {order.source}")
    with quiet():
        original = open_original(order.source, order.cut)
    job = Job(order, sidecar, original, _images(checked, original), samples=samples)
    say(f"running the {original.kind} on {len(job.images)} pictures")
    with quiet():
        job.expected = [original.run(image) for image in _prepared(job)]
    say(f"converting the {original.kind}")
    with quiet():
        model = original.convert()
    with tempfile.TemporaryDirectory(prefix="vision-convert-") as folder:
        return [_variant(job, model, name, Path(folder), say) for name in order.precisions]


def _images(paths: Sequence[Path], original: Original) -> list[NDArray[np.uint8]]:
    if paths:
        return [read_picture(path) for path in paths[:: -(-len(paths) // _MOST_CHECKED)]]
    height, width = TensorSpec("", original.input_shape, np.dtype(np.float32)).picture_wh[::-1]
    return [drawn[0].astype(np.uint8) for drawn in pixels((1, height, width, 3))]


def _prepared(job: Job) -> Iterator[NDArray[np.float32]]:
    shape = job.original.input_shape
    prepare = Preprocessor(job.spec.input, TensorSpec("image", shape, np.dtype(np.float32)))
    for image in job.images:
        ready = np.empty(shape, np.float32)
        prepare(image, ready)
        yield ready


def _variant(job: Job, model: bytes, precision: Precision, folder: Path, say: Say) -> Variant:
    original, order = job.original, job.order
    say(f"{precision}: making it" + f" from {len(job.samples)} pictures" * (precision == "int8"))
    with quiet():
        samples = pictures.inputs(job.samples, job.spec.input, original.input_shape)
        made = quantize(model, precision, samples)
    path = folder / f"{precision}.tflite"
    write_together({path: made})
    say(f"{precision}: comparing it with the original")
    spec = ModelSpec(
        name=precision, path=path, sha256=sha256_of(path), decoder=job.spec.decoder,
        input=job.spec.input, labels=job.spec.labels, options=job.spec.options,
    )  # fmt: skip
    with quiet():
        found, cpu_ms = compare(job, spec)
    problem = found.problem(precision)
    say(f"{precision}: trying it on the GPU")
    verdict = verify(spec, Attempt(precision="fp16"))
    target = _target(order, precision)
    if not problem:
        files = {target: made}
        if job.sidecar:
            files[target.with_suffix(".yaml")] = _sidecar(job, spec, precision, found)
        write_together(files)
    return Variant(
        precision, target, len(made), cpu_ms, verdict.p50_ms if verdict.ok else None,
        found, problem,
    )  # fmt: skip


def _target(order: Order, precision: Precision) -> Path:
    if len(order.precisions) == 1:
        return order.target
    return order.target.with_stem(f"{order.target.stem}_{precision}")


def _sidecar(job: Job, spec: ModelSpec, precision: Precision, found: Agreement) -> bytes:
    assert job.sidecar  # noqa: S101  (only called where there is one)
    order = job.order
    how: dict[str, Any] = {
        "source": order.source.name,
        "source_sha256": sha256_of(order.source) if order.source.is_file() else None,
        "kind": job.original.kind,
        "outputs": list(job.original.outputs),
        "precision": precision,
        "tools": versions((*job.original.tools, *_TOOLS)),
        "max_error": round(found.max_error, 6),
        "mean_error": round(found.mean_error, 6),
        "alike": found.alike,
    }
    if precision == "int8":
        how["calibration"] = {"pictures": len(job.samples), "sha256": _sha256_of_all(job.samples)}
    told = job.sidecar.model_copy(
        update={"sha256": spec.sha256, "provenance": {**job.sidecar.provenance, **how}}
    )
    content = {key: value for key, value in told.model_dump(mode="json").items() if value}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100).encode()


def _sha256_of_all(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()
