"""Fetches a model from a mirror folder, file:// or https://: resumes what was cut off, verifies, then puts it in place."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, cast
from urllib.parse import quote, urlsplit

from percept_ros.errors import ArtefactRefused, InputError
from percept_ros.inference.manifest import FILE_NAME, Manifest, read_manifest, sha256_of

CHUNK_BYTES = 1 << 18
ATTEMPTS = 4
TIMEOUT_S = 30.0
SCHEMES = ("file", "http", "https")

Progress = Callable[[str, int, int], None]
"""Called with (file, bytes so far, bytes in all or 0)."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did: files fetched, and files that were there and right."""

    folder: Path
    manifest: Manifest
    fetched: tuple[str, ...]
    kept: tuple[str, ...]


def pull(source: str, into: Path, progress: Progress, mirror: str = "") -> Pulled:
    """Fetch the model at ``source`` (folder or URL of a model) into ``into/<name>``.

    mirror: where the artefacts are fetched from instead. Raises InputError (not reachable) or ArtefactRefused (hash).
    """
    base = as_url(source)
    into.mkdir(parents=True, exist_ok=True)
    staged = into / f".{Path(urlsplit(base).path).name or 'model'}.{FILE_NAME}"
    fetch(f"{base}/{FILE_NAME}", staged, progress, resume=False)
    try:
        manifest = read_manifest(staged, into)
        folder = into / manifest.name
        folder.mkdir(exist_ok=True)
        fetched, kept = _artefacts(manifest, folder, as_url(mirror) if mirror else base, progress)
        staged.replace(folder / FILE_NAME)
    finally:
        staged.unlink(missing_ok=True)
    return Pulled(folder, manifest, tuple(fetched), tuple(kept))


def _artefacts(manifest: Manifest, folder: Path, base: str, progress: Progress) -> tuple[list[str], list[str]]:
    fetched, kept = [], []
    wanted = [(a.file, a.sha256) for a in manifest.artefacts]
    wanted += [(n, h) for a in manifest.artefacts for n, _, h in (p.rpartition(":") for p in a.plugins)]
    wanted += [(n, h) for n, _, h in (item.rpartition(":") for item in manifest.attachments)]
    for name, sha256 in wanted:
        if (folder / name).is_file() and sha256_of(folder / name) == sha256:
            kept.append(name)
            continue
        fetch_verified(f"{base}/{quote(name)}", folder / name, sha256, progress)
        fetched.append(name)
    extras = [manifest.card, *(f"{a.file}.json" for a in manifest.artefacts if a.format == "tensorrt")]
    for name in filter(None, extras):
        with suppress(InputError):
            fetch(f"{base}/{quote(name)}", folder / name, progress, resume=False)
            fetched.append(name)
    return fetched, kept


def fetch_verified(url: str, target: Path, sha256: str, progress: Progress) -> None:
    """Fetch one file; it appears at ``target`` only when its hash is right. Raises InputError or ArtefactRefused."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    for resume in (True, False) if part.exists() else (True,):  # what was there before may be of another version
        fetch(url, part, progress, resume=resume)
        if (found := sha256_of(part)) == sha256:
            break
    else:
        part.unlink()
        raise ArtefactRefused(f"'{url}' has sha256 {found}, the manifest says {sha256}: it is not the model's file")
    part.replace(target)


def fetch(url: str, target: Path, progress: Progress, *, resume: bool) -> None:
    """Copy ``url`` to ``target``; with ``resume``, what is there already is not fetched again. Raises InputError."""
    if not resume:
        target.unlink(missing_ok=True)
    for attempt in range(ATTEMPTS):
        try:
            _fetch_rest(url, target, progress)
            return
        except urllib.error.HTTPError as exc:
            if exc.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # all of it is there already
                return
            if exc.code < HTTPStatus.INTERNAL_SERVER_ERROR or attempt == ATTEMPTS - 1:
                raise InputError(f"'{url}' cannot be fetched: {exc}") from exc
        except (OSError, ValueError) as exc:
            if (
                isinstance(exc, (FileNotFoundError, ValueError))
                or "No such file" in str(exc)
                or attempt == ATTEMPTS - 1
            ):
                raise InputError(f"'{url}' cannot be fetched: {exc}") from exc
        time.sleep(0.5 * 2**attempt)


def as_url(place: str) -> str:
    """A folder or URL as a URL without a slash at its end. Raises InputError."""
    if Path(place).expanduser().is_dir():
        return Path(place).expanduser().absolute().as_uri()
    if urlsplit(place).scheme not in SCHEMES:
        raise InputError(f"'{place}' is neither a folder nor a URL of {', '.join(SCHEMES)}")
    return place.rstrip("/").removesuffix(f"/{FILE_NAME}")


def _fetch_rest(url: str, target: Path, progress: Progress) -> None:
    have = target.stat().st_size if target.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with cast("IO[bytes]", urllib.request.urlopen(request, timeout=TIMEOUT_S)) as stream:
        have = _position(stream, url, have)
        length = int(stream.headers.get("Content-Length") or 0)  # type: ignore[attr-defined]
        whole = length + (have if getattr(stream, "status", None) == HTTPStatus.PARTIAL_CONTENT else 0)
        with target.open("ab" if have else "wb") as out:
            _copy(stream, out, target.name.removeprefix(".").removesuffix(".part"), have, whole, progress)


def _position(stream: IO[bytes], url: str, have: int) -> int:
    """Bytes of the file that need not be written again."""
    if getattr(stream, "status", None) == HTTPStatus.PARTIAL_CONTENT or not have:
        return have
    if urlsplit(url).scheme == "file":
        stream.seek(have)
        return have
    return 0  # the server sends the whole file again


def _copy(stream: IO[bytes], out: IO[bytes], name: str, have: int, whole: int, progress: Progress) -> None:
    done = have
    while chunk := stream.read(CHUNK_BYTES):
        out.write(chunk)
        done += len(chunk)
        progress(name, done, whole)
    if whole and done < whole:
        raise ConnectionError(f"the connection ended after {done} of {whole} bytes")
