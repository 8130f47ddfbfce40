"""The error tree: what went wrong decides the exit code and who tries again.

::

    VisionError                  70  internal
    ├── UsageError                2  the command line
    ├── ConfigError              78  the configuration, before any device opens
    ├── ModelError               78  a model file: missing, damaged, of another task
    ├── SourceError              69  a camera or file: retried with back-off
    ├── BackendError             70  inference: falls back where there is a fallback
    ├── StageError               70  a stage of the line failed
    └── PublishError             70  events not delivered: kept and retried, never stops vision
    EndOfStream                   0  a file is finished (no error: a clean stop)

Every message is one line: what, where, and how to mend it.
"""

EXIT_OK = 0
EXIT_FOUND = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 69
EXIT_INTERNAL = 70
EXIT_CONFIG = 78


class VisionError(Exception):
    """Root of every error that a person is told about in one line."""

    exit_code = EXIT_INTERNAL


class UsageError(VisionError):
    """The command line asks for something that cannot be."""

    exit_code = EXIT_USAGE


class ConfigError(VisionError):
    """The configuration is wrong; systemd does not restart for it.

    Attributes:
        problems: One line each; the message is the first, and how many follow.
    """

    exit_code = EXIT_CONFIG

    def __init__(self, *problems: str) -> None:
        more = f" (and {len(problems) - 1} more; `config check` shows all)"
        super().__init__(problems[0] + more * (len(problems) > 1))
        self.problems = problems


class ModelError(VisionError):
    """A model is missing, damaged, or not what the configuration says."""

    exit_code = EXIT_CONFIG


class SourceError(VisionError):
    """A camera, file or folder gives no frames."""

    exit_code = EXIT_UNAVAILABLE


class BackendError(VisionError):
    """Inference failed."""


class StageError(VisionError):
    """A stage of the line failed."""


class PublishError(VisionError):
    """Events could not be delivered; they are kept and tried again."""


class EndOfStream(Exception):  # noqa: N818  (not an error: the normal end of a file)
    """The source has no more frames."""
