"""How to read a model that nobody has described: where it is certain, and a draft where not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from vision.model_spec import InputSpec
from vision.models.entries import Sidecar

if TYPE_CHECKING:
    from vision.models.graph import Tensor
    from vision.models.metadata import Metadata

_SSD_OPERATOR = "TFLite_Detection_PostProcess"
_SSD_OUTPUTS = 4
# Input side and anchors of the two BlazeFaces: no other model has these shapes.
_BLAZEFACES = {(128, 896): "short", (192, 2304): "full"}
_IMAGENET = 1001  # its classes, and the background before them
_PROBABILITIES = {"SOFTMAX", "LOGISTIC"}
_AFTERWARDS = {"RESHAPE", "SQUEEZE", "QUANTIZE", "DEQUANTIZE"}  # change no value
_ROWS = 3  # dimensions of (1, N, values)
_BOX, _BOX_AND_OBJECT = 4, 5
_YOLOX_STRIDES = (8, 16, 32)


def recognise(metadata: Metadata) -> Sidecar | None:
    """Return what is certain of a model by its shapes and metadata, None where nothing is."""
    return _ssd(metadata) or _blazeface(metadata) or _classifier(metadata)


def draft(metadata: Metadata) -> str:
    """Return a sidecar to start from: YAML, with what is to be checked marked `?`."""
    lines = _guess(metadata)
    if metadata.input_mean and metadata.input_std:
        mean, std = metadata.input_mean[0], metadata.input_std[0]
        lines["input"] = f"{{fit: stretch, color: rgb, mean: {mean:g}, std: {std:g}}}  # ? fit"
    if not metadata.labels:
        lines["labels"] = "[]  # ? the names of the classes in their order"
    return "".join(f"{key}: {value}\n" for key, value in lines.items())


def _ssd(metadata: Metadata) -> Sidecar | None:
    if metadata.operators[-1:] != (_SSD_OPERATOR,) or len(metadata.outputs) != _SSD_OUTPUTS:
        return None
    if not metadata.input_mean and not metadata.input_std:
        return Sidecar(decoder="ssd-postprocess")
    normalisation = _described(metadata)
    return Sidecar(decoder="ssd-postprocess", input=normalisation) if normalisation else None


def _blazeface(metadata: Metadata) -> Sidecar | None:
    shape = metadata.input_shape
    for (side, anchors), name in _BLAZEFACES.items():
        heads = {(1, anchors, 16), (1, anchors, 1)}
        if shape == (1, side, side, 3) and {t.shape for t in metadata.outputs} == heads:
            letterbox = InputSpec(fit="letterbox")
            return Sidecar(
                decoder="blazeface", input=letterbox, labels=("face",), options={"range": name}
            )
    return None


def _classifier(metadata: Metadata) -> Sidecar | None:
    classes = _class_count(metadata)
    last = [name for name in metadata.operators if name not in _AFTERWARDS][-1:]
    if not classes or not _PROBABILITIES.intersection(last):
        return None
    if len(metadata.labels) != classes and classes != _IMAGENET:
        return None  # one number a class, or the values of anything else
    normalisation = _described(metadata) or _quantised(metadata.inputs[0])
    if normalisation is None:
        return None
    return Sidecar(task="classify", decoder="classes", input=normalisation)


def _class_count(metadata: Metadata) -> int:
    """Return C where the only output is (1, C) or (1, 1, 1, C), else 0."""
    shapes = [tensor.shape for tensor in metadata.outputs]
    if len(shapes) != 1 or not shapes[0] or math.prod(shapes[0]) != shapes[0][-1]:
        return 0
    return shapes[0][-1] if len(shapes[0]) > 1 and shapes[0][-1] > 1 else 0


def _described(metadata: Metadata) -> InputSpec | None:
    """Return the normalisation of the metadata, if it is one for all channels."""
    try:
        [mean], [std] = set(metadata.input_mean), set(metadata.input_std)
        return InputSpec(mean=mean, std=std)
    except ValueError:
        return None


def _quantised(tensor: Tensor) -> InputSpec | None:
    """Return the normalisation in which the stored values are the pixels themselves."""
    if tensor.dtype not in ("uint8", "int8") or not tensor.scale:
        return None
    return InputSpec(mean=tensor.zero_point - int(np.iinfo(tensor.dtype).min), std=1 / tensor.scale)


def _guess(metadata: Metadata) -> dict[str, str]:
    """Return what comes nearest to the outputs, as lines of YAML."""
    shapes = [tensor.shape for tensor in metadata.outputs]
    plain = {"input": "{fit: stretch, color: rgb, mean: 127.5, std: 127.5}  # ?"}
    if _class_count(metadata):
        options = "{activation: none}  # ? or softmax, sigmoid"
        return {"task": "classify", "decoder": "classes", **plain, "options": options}
    if len(shapes) == 2 and any(shape[-1:] == (_BOX,) for shape in shapes):  # noqa: PLR2004
        options = "{anchors: {kind: ssd}, activation: none}  # ?"
        return {"task": "detect", "decoder": "ssd-anchors", **plain, "options": options}
    if len(shapes) == 1 and len(shapes[0]) == _ROWS:
        return {"task": "detect", **_guess_rows(metadata.input_shape, shapes[0])}
    decoder = (
        "ssd-postprocess" if len(shapes) == _SSD_OUTPUTS else "NAME  # ? none fits for certain"
    )
    return {"task": "detect", "decoder": decoder, **plain}


def _guess_rows(picture: tuple[int, ...], rows: tuple[int, ...]) -> dict[str, str]:
    height, width = sorted(picture)[-2:]
    cells = sum((height // stride) * (width // stride) for stride in _YOLOX_STRIDES)
    if rows[1] == cells and rows[2] > _BOX_AND_OBJECT:
        trained = "{fit: letterbox, pad: corner, pad_value: 114, color: bgr, mean: 0, std: 1}  # ?"
        return {"decoder": "yolox", "input": trained}
    layout = "v5" if rows[1] > rows[2] else "v8"
    return {
        "decoder": "yolo-rows",
        "input": "{fit: letterbox, pad_value: 114, color: rgb, mean: 0, std: 255}  # ?",
        "options": f"{{layout: {layout}, coordinates: normalized}}  # ? or pixels",
    }
