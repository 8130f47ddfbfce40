"""The board: clock, temperature, power, governor, memory, as Linux tells them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from vision.doctor import child
from vision.doctor.report import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable

_SYS = Path("/sys")
_HOT_C = 80.0
_LOW_MEMORY_MB = 300  # the program with two models, and some air
_VCGENCMD_DEADLINE_S = 5.0
# Their "powersave" goes as fast as the load asks for.
_SELF_PACED = ("intel_pstate", "amd-pstate-epp")
# Bits of `vcgencmd get_throttled` (Raspberry Pi documentation, "vcgencmd").
_THROTTLED = {
    0: "under-voltage now",
    1: "the clock is capped now",
    2: "throttled now",
    3: "too hot now",
    16: "under-voltage since the start",
    17: "the clock was capped since the start",
    18: "throttled since the start",
    19: "too hot since the start",
}
_POWER_MEND = "a stronger power supply (Raspberry Pi 4: 5.1 V 3 A, 5: 5 A) and a short cable"


def clock(*, synced: bool | None) -> Finding:
    """Tell whether the events' times can be trusted.

    Args:
        synced: As `vision.event.clock_synced` returns it.
    """
    if synced is None:
        return Finding("clock", "skip", "the kernel does not say whether it is synchronised")
    if synced:
        return Finding("clock", "ok", "synchronised")
    return Finding("clock", "warn", "not synchronised", "sudo timedatectl set-ntp true")


def temperature(sys: Path = _SYS) -> Finding:
    """Tell the hottest thermal zone."""
    zones = []
    for file in sys.glob("class/thermal/*/temp"):
        millidegrees = _number(file)
        if millidegrees is not None:
            zones.append((millidegrees / 1000, _text(file.parent / "type") or file.parent.name))
    if not zones:
        return Finding("temperature", "skip", f"no thermal zone in {sys}/class/thermal")
    hottest_c, zone = max(zones)
    words = f"{zone} {hottest_c:.0f} °C"
    if hottest_c > _HOT_C:
        mend = "a heat sink, a fan or a cooler place: the board slows down when it is hot"
        return Finding("temperature", "warn", words, mend)
    return Finding("temperature", "ok", words)


def power(sys: Path = _SYS, vcgencmd: str | None = None) -> Finding:
    """Tell under-voltage, where the board measures it.

    Args:
        sys: Where sysfs is.
        vcgencmd: Raspberry Pi's own tool, which remembers; None looks for it.
    """
    tool = vcgencmd or shutil.which("vcgencmd")
    if tool is not None:
        answer = child.run(tool, "get_throttled", deadline_s=_VCGENCMD_DEADLINE_S)
        try:
            bits = int(answer.out.partition("=")[2], 16)
        except ValueError:
            pass  # it answers on a Raspberry Pi alone, and there only those who may
        else:
            return _power([words for bit, words in _THROTTLED.items() if bits >> bit & 1])
    alarms = [_number(file) for file in sys.glob("class/hwmon/*/in0_lcrit_alarm")]
    alarms += [_number(file) for file in sys.glob("devices/platform/soc/*/hwmon/*/in0_lcrit_alarm")]
    if not any(alarm is not None for alarm in alarms):
        return Finding("power", "skip", "this board does not tell under-voltage")
    return _power(["under-voltage"] if any(alarms) else [])


def _power(complaints: list[str]) -> Finding:
    if complaints:
        return Finding("power", "warn", ", ".join(complaints), _POWER_MEND)
    return Finding("power", "ok", "no under-voltage")


def governor(sys: Path = _SYS) -> Finding:
    """Tell whether the kernel keeps the processor slow."""
    folders = list(sys.glob("devices/system/cpu/cpu[0-9]*/cpufreq"))
    governors = {_text(folder / "scaling_governor") for folder in folders} - {""}
    if not governors:
        return Finding("cpu governor", "skip", "the kernel does not set this processor's clock")
    words = ", ".join(sorted(governors))
    drivers = {_text(folder / "scaling_driver") for folder in folders}
    if "powersave" in governors and drivers.isdisjoint(_SELF_PACED):
        files = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        return Finding(
            "cpu governor", "warn", f"{words}: always the lowest clock",
            f"echo performance | sudo tee {files}",
        )  # fmt: skip
    return Finding("cpu governor", "ok", words)


def memory(meminfo: Path = Path("/proc/meminfo")) -> Finding:
    """Tell how much memory the program could have."""
    sizes_mb = _sizes_mb(_text(meminfo).splitlines())
    if not {"MemTotal", "MemAvailable"} <= sizes_mb.keys():
        return Finding("memory", "skip", f"{meminfo} does not say")
    available_mb = sizes_mb["MemAvailable"]
    words = f"{available_mb} of {sizes_mb['MemTotal']} MB available"
    if available_mb < _LOW_MEMORY_MB:
        mend = f"stop other programs: about {_LOW_MEMORY_MB} MB are needed"
        return Finding("memory", "warn", words, mend)
    return Finding("memory", "ok", words)


def _sizes_mb(lines: Iterable[str]) -> dict[str, int]:
    fields = (line.replace(":", " ").split() for line in lines)
    return {
        name: int(size_kb) * 1024 // 1_000_000
        for name, size_kb, *_ in (field for field in fields if len(field) > 1)
        if size_kb.isdecimal()
    }


def _text(file: Path) -> str:
    """Return what a file of the kernel says, empty where it is missing or refuses."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    try:
        return int(_text(file))
    except ValueError:
        return None
