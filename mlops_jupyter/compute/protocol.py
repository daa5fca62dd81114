"""What the two sides of a job write to each other: the manifest, which goes, and the result, which comes back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops_jupyter.entities import Digest, JobState
from mlops_jupyter.errors import UsageError

VERSION = 1
RESULT = "result.json"
CANCEL = "cancel"
ID_VARIABLE = "MLOPS_JOB_ID"
MANIFEST_VARIABLE = "MLOPS_JOB_MANIFEST"
EXCHANGE_VARIABLE = "MLOPS_JOB_EXCHANGE"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_UID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentFile:
    """A file under its path in the workspace; its bytes are in the exchange."""

    path: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a job is."""

    job_id: str
    notebook: str
    files: tuple[SentFile, ...]
    parameters: str
    """YAML, typed already."""
    submitter: str
    environment: Mapping[str, str]
    """Settings of the workspace that the job shares."""
    output_limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a job."""

    job_id: str
    state: JobState
    exit_code: int
    reason: str
    run_id: str | None
    document: Mapping[str, Any] | None
    """The document of the run, as ``mlops run --json`` prints it."""
    records: Digest | None
    notebook: SentFile | None
    files: tuple[SentFile, ...]
    objects: tuple[Digest, ...]
    """Other bytes that the records name: artifacts, models."""
    log: Digest | None
    warnings: tuple[str, ...]


def encode(message: Manifest | Result) -> bytes:
    """As JSON."""
    document: dict[str, Any] = {"version": VERSION}
    for name in message.__slots__:
        document[name] = _plain(getattr(message, name))
    return json.dumps(document, ensure_ascii=False, sort_keys=True).encode("utf-8", "replace")


def decode_manifest(content: bytes) -> Manifest:
    """The manifest. Raises ``UsageError`` where it is none of this version."""
    document = _document(content)
    return Manifest(
        job_id=_uid(document, "job_id"), notebook=_text(document, "notebook"), files=_files(document, "files"),
        parameters=_text(document, "parameters"), submitter=_text(document, "submitter"),
        environment={str(k): str(v) for k, v in dict(_get(document, "environment", dict)).items()},
        output_limit=_get(document, "output_limit", int),
    )  # fmt: skip


def decode_result(content: bytes) -> Result:
    """The result. Raises ``UsageError`` where it is none of this version."""
    document = _document(content)
    state = _text(document, "state")
    if state not in {JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED}:
        raise _malformed("state")
    run_id, notebook = document.get("run_id"), document.get("notebook")
    return Result(
        job_id=_uid(document, "job_id"), state=JobState(state), exit_code=_get(document, "exit_code", int) & 255,
        reason=_text(document, "reason"), run_id=None if run_id is None else _uid(document, "run_id"),
        document=None if document.get("document") is None else _get(document, "document", dict),
        records=_digest(document.get("records")), notebook=None if notebook is None else _file(notebook),
        files=_files(document, "files"),
        objects=tuple(filter(None, map(_digest, _get(document, "objects", list)))), log=_digest(document.get("log")),
        warnings=tuple(map(str, _get(document, "warnings", list))),
    )  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, SentFile):
        return {"path": value.path, "digest": value.digest, "size": value.size}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UsageError("What came from the other side of the job is no JSON object.")
    if document.get("version") != VERSION:
        raise UsageError(
            f"The other side of the job speaks version {document.get('version')!r}, this one {VERSION}.",
            hint="Install the same release of mlops-jupyter on both sides.",
        )
    return document


def _malformed(key: str) -> UsageError:
    return UsageError(f"What came from the other side of the job is malformed: {key}.")


def _get(document: Mapping[str, Any], key: str, kind: type) -> Any:
    value = document.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _malformed(key)
    return value


def _text(document: Mapping[str, Any], key: str) -> str:
    return str(_get(document, key, str))


def _uid(document: Mapping[str, Any], key: str) -> str:
    text = _text(document, key)
    if not _UID.fullmatch(text):
        raise _malformed(key)
    return text


def _digest(value: Any) -> Digest | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise _malformed("digest")
    return Digest(value)


def _files(document: Mapping[str, Any], key: str) -> tuple[SentFile, ...]:
    return tuple(map(_file, _get(document, key, list)))


def _file(value: Any) -> SentFile:
    if not isinstance(value, dict):
        raise _malformed("file")
    digest = _digest(value.get("digest"))
    if digest is None:
        raise _malformed("file")
    return SentFile(path=_text(value, "path"), digest=digest, size=_get(value, "size", int))
