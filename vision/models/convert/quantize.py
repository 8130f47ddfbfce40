"""From a float32 `.tflite` to smaller ones, by LiteRT's own quantiser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from vision.errors import ModelError
from vision.models.convert.extras import first_line, need

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

Precision = Literal["none", "fp16", "dynamic", "int8"]

_EXTRA = "convert"


def quantize(
    model: bytes, precision: Precision, samples: Iterable[NDArray[np.float32]] = ()
) -> bytes:
    """Return the model in another precision.

    Args:
        model: A float32 `.tflite` with one signature.
        precision: `fp16` stores the weights in half the bytes and computes as before;
            `dynamic` stores them as int8 and quantises the rest anew at every frame;
            `int8` computes in integers throughout, input and outputs included.
        samples: Inputs as in use, for `int8`: they tell the range of every tensor.

    Raises:
        ModelError: If the quantiser is missing or cannot do it.
    """
    if precision == "none":
        return model
    quantizer = need("ai_edge_quantizer.quantizer", _EXTRA)
    recipes = need("ai_edge_quantizer.recipe", _EXTRA)
    makers = {
        "fp16": _half_weights,
        "dynamic": recipes.dynamic_wi8_afp32,
        "int8": recipes.static_wi8_ai8,
    }
    job = quantizer.Quantizer(bytearray(model), makers[precision]())
    try:
        ranges = job.calibrate(_named(model, samples)) if precision == "int8" else None
        return bytes(job.quantize(ranges).quantized_model)
    except (ValueError, RuntimeError, KeyError, NotImplementedError) as error:
        raise ModelError(f"{precision}: the quantiser cannot: {first_line(error)}") from error


def _half_weights() -> Any:
    types = need("ai_edge_quantizer.qtyping", _EXTRA)
    manager = need("ai_edge_quantizer.recipe_manager", _EXTRA).RecipeManager()
    manager.add_quantization_config(
        regex=".*",
        operation_name=types.TFLOperationName.ALL_SUPPORTED,
        op_config=types.OpQuantizationConfig(
            weight_tensor_config=types.TensorQuantizationConfig(
                num_bits=16, dtype=types.TensorDataType.FLOAT
            ),
            compute_precision=types.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_key=need(
            "ai_edge_quantizer.algorithm_manager", _EXTRA
        ).AlgorithmName.FLOAT_CASTING,
    )
    return manager.get_quantization_recipe()


def _named(
    model: bytes, samples: Iterable[NDArray[np.float32]]
) -> dict[str, list[dict[str, NDArray[np.float32]]]]:
    """Return the samples as the quantiser wants them: by signature and input."""
    interpreter = need("ai_edge_litert.interpreter", "litert").Interpreter(model_content=model)
    [(signature, names)] = interpreter.get_signature_list().items()
    [name] = names["inputs"]
    return {signature: [{name: sample} for sample in samples]}
