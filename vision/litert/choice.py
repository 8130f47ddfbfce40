"""Which backend runs a model on this machine, by measurement, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from vision.errors import ConfigError
from vision.litert import probe
from vision.litert.verdict import Attempt

if TYPE_CHECKING:
    from vision.config import InferenceConfig
    from vision.litert.options import Precision
    from vision.litert.verdict import Verdict
    from vision.model_spec import ModelSpec

_PRECISIONS: tuple[Precision, ...] = ("fp16", "fp32")
_CLEARLY = 0.85  # of the time: less gain is not worth the larger error


@dataclass(frozen=True, slots=True)
class Decision:
    """What to run a model on.

    Attributes:
        backend: A name in the registry's table of backends.
        settings: For that backend's `Config`.
        why: In words, for the log and for people.
        verdicts: About every precision that was tried.
    """

    backend: Literal["cpu", "gpu", "delegate"]
    settings: dict[str, Any]
    why: str
    verdicts: dict[Precision, Verdict] = field(default_factory=dict)


def choose(spec: ModelSpec, config: InferenceConfig, *, redo: bool = False) -> Decision:
    """Decide by what was verified and timed, in a child process where it is the first time.

    `auto` takes the GPU where it is right and faster than the CPU; `gpu` and `delegate`
    are taken where they are right.

    Args:
        spec: The model.
        config: `inference` of the configuration.
        redo: Verify anew, whatever is remembered.

    Raises:
        ConfigError: If the configuration names or requires an accelerator that is not
            to be had; the message has the reason.
    """
    fixed = None if config.threads == "auto" else config.threads
    if config.backend == "cpu":
        return Decision("cpu", {"threads": fixed}, "the configuration says so")
    verdicts = {
        precision: probe.verify(spec, _attempt(config, precision), redo=redo)
        for precision in (_PRECISIONS if config.precision == "auto" else (config.precision,))
    }
    threads, cpu_ms = _fastest_cpu(verdicts, fixed)
    on_cpu = {"threads": threads}
    required = config.require_gpu or config.backend != "auto"
    usable = {p: v.p50_ms for p, v in verdicts.items() if v.ok and v.p50_ms is not None}
    if not usable:
        why = "; ".join(dict.fromkeys(verdict.why for verdict in verdicts.values()))
        if required:
            raise ConfigError(f"{spec.name}: {_asked(config)}, but: {why}")
        return Decision("cpu", on_cpu, f"no GPU: {why}", verdicts)
    best = _best(usable)
    times = f"{usable[best]:.2f} ms in {best}, the CPU {cpu_ms:.2f} ms on {threads} threads"
    if usable[best] >= cpu_ms and not required:
        return Decision("cpu", on_cpu, f"the GPU is no faster: {times}", verdicts)
    attempt, found = _attempt(config, best), verdicts[best]
    settings = attempt.model_dump(exclude={"accelerator"}, exclude_unset=True)
    why = f"{found.device}: {found.why}; {times}"
    return Decision(attempt.accelerator, settings, why, verdicts)


def _best(p50_ms: dict[Precision, float]) -> Precision:
    """Return the exact precision, unless the coarse one is clearly faster."""
    if "fp32" in p50_ms and "fp16" in p50_ms:
        return "fp16" if p50_ms["fp16"] < _CLEARLY * p50_ms["fp32"] else "fp32"
    return next(iter(p50_ms))


def _asked(config: InferenceConfig) -> str:
    if config.backend == "auto":
        return "the configuration requires a GPU"
    return f"the configuration asks for backend {config.backend!r}"


def _attempt(config: InferenceConfig, precision: Precision) -> Attempt:
    if config.backend != "delegate":
        return Attempt(precision=precision)
    return Attempt(
        accelerator="delegate",
        precision=precision,
        library=str(config.library),
        options=config.options,
    )


def _fastest_cpu(
    verdicts: dict[Precision, Verdict], threads: int | None
) -> tuple[int | None, float]:
    """Return threads and p50 in ms, of the fixed number where one is given."""
    times: dict[int, float] = {}
    for verdict in verdicts.values():
        for n, p50_ms in verdict.cpu_p50_ms.items():
            times[n] = min(p50_ms, times.get(n, p50_ms))
    if threads is not None or not times:
        return threads, times.get(threads or 0, float("inf"))
    fastest = min(times, key=lambda n: times[n])
    return fastest, times[fastest]
