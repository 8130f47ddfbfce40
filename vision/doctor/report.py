"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "bad", "skip"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        check: What was looked at.
        status: `bad` is broken and needed by the configuration, `warn` is broken or about
            to be and can be done without, `skip` is not there or cannot be known.
        detail: What was found.
        mend: A command or an instruction, empty where nothing is to be mended.
    """

    check: str
    status: Status
    detail: str
    mend: str = ""


def broken(check: str, message: str, otherwise: str) -> Finding:
    """Return an error for people as a finding.

    Args:
        check: What was looked at.
        message: The error's; behind its semicolon is how to mend it.
        otherwise: How to mend it where it does not say.
    """
    detail, _, mend = message.removeprefix(f"{check}: ").partition("; ")
    return Finding(check, "bad", detail, mend or otherwise)
