"""Ray's REST interface, as far as jobs need it. Ray itself is not imported: that takes seconds and ties versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from mlops_jupyter.errors import TransientError, UnreachableError, UsageError

from .options import is_loopback

_CONNECT = 2.0
_ANSWER = 20.0
_UPLOAD = 300.0
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One living machine of a cluster."""

    node_id: str
    total: Mapping[str, float]
    """``CPU``, ``GPU``, ``memory`` (bytes) …"""
    free: Mapping[str, float]
    """The same, less what is in use; equal to ``total`` where the cluster does not say."""


class RayClient:
    """A connection to the dashboard of one cluster.

    Every method raises ``UnreachableError`` where the cluster does not answer, ``UsageError`` where it wants another
    token or refuses the request, ``TransientError`` where it fails.
    """

    def __init__(self, address: str, token: str | None = None) -> None:
        self.address = address
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(
            base_url=address, headers=headers, timeout=httpx.Timeout(_ANSWER, connect=_CONNECT), follow_redirects=False,
            # A proxy of the environment's is not on the way to this machine.
            trust_env=not is_loopback(address),
        )  # fmt: skip

    def __enter__(self) -> RayClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def session(self) -> str:
        """Ray's name for this life of the cluster: another one after a restart."""
        document = self._json(self._ask("GET", "/api/version"))
        if "ray_version" not in document:
            raise UsageError(
                f"{self.address} is no dashboard of a Ray cluster.", hint="Give the dashboard's URL, http://HOST:8265."
            )
        # Releases before 2.7 do not name their session; then only an unknown job tells that the cluster is new.
        return str(document.get("session_name") or "")

    def submit(self, job_id: str, request: Mapping[str, Any]) -> None:
        """Submit under an id of ours; one that the cluster has already is left as it is."""
        try:
            response = self._ask("POST", "/api/jobs/", json={**request, "submission_id": job_id}, accept={400, 500})
        except UnreachableError:
            # The answer may have been lost, not the request.
            if self.info(job_id) is not None:
                return
            raise
        if response.status_code != 200 and "already exists" not in response.text:
            raise UsageError(f"The cluster {self.address} refused the job: {_last_line(response.text)}")

    def info(self, job_id: str) -> dict[str, Any] | None:
        """What the cluster says of a job, or None where it knows none of that id."""
        response = self._ask("GET", f"/api/jobs/{quote(job_id, safe='')}", accept={404})
        return None if response.status_code == 404 else self._json(response)

    def logs(self, job_id: str) -> str:
        """All that the job has printed; empty while it waits, or where the cluster cannot say now."""
        response = self._ask("GET", f"/api/jobs/{quote(job_id, safe='')}/logs", accept={404, 500})
        return str(self._json(response).get("logs") or "") if response.status_code == 200 else ""

    def stop(self, job_id: str) -> None:
        """Ask a job to stop. On one that waits this does nothing, whatever the cluster answers."""
        self._ask("POST", f"/api/jobs/{quote(job_id, safe='')}/stop", accept={404, 500})

    def nodes(self) -> list[Node]:
        """The living machines. A cluster that has just come up may know none yet."""
        document = self._json(self._ask("GET", "/api/v0/nodes", params={"detail": "true"}))
        rows = _dig(document, "data", "result", "result")
        usage = self._usage()
        return [
            Node(
                node_id=str(row.get("node_id")),
                total=_numbers(row.get("resources_total")),
                free=_free(_numbers(row.get("resources_total")), usage.get(str(row.get("node_id")), {})),
            )
            for row in (rows if isinstance(rows, list) else [])
            if isinstance(row, dict) and row.get("state") == "ALIVE"
        ]

    def _usage(self) -> dict[str, Any]:
        document = self._json(self._ask("GET", "/api/cluster_status"))
        usage = _dig(document, "data", "clusterStatus", "loadMetricsReport", "usageByNode")
        return usage if isinstance(usage, dict) else {}

    def has_package(self, name: str) -> bool:
        """Whether the cluster holds the package; it then keeps it for a while."""
        return self._ask("GET", f"/api/packages/gcs/{quote(name, safe='')}", accept={404}).status_code == 200

    def put_package(self, name: str, content: bytes) -> None:
        """Give the cluster a package, to be named as ``gcs://NAME`` in a job's runtime environment."""
        self._ask("PUT", f"/api/packages/gcs/{quote(name, safe='')}", content=content, timeout=_UPLOAD)

    def _ask(self, method: str, path: str, *, accept: set[int] | None = None, **arguments: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise UnreachableError(
                f"The cluster {self.address} does not answer: {type(error).__name__}.",
                hint="Check that it runs and that the address is that of its dashboard (http://HOST:8265).",
            ) from error
        if response.status_code in (401, 403):
            raise UsageError(
                f"The cluster {self.address} refused the token.",
                hint="Name the file with the right one in RAY_AUTH_TOKEN_PATH or ray.token_file.",
            )
        if response.status_code == 200 or response.status_code in (accept or ()):
            return response
        if response.status_code >= 500:
            raise TransientError(f"The cluster {self.address} failed: {_last_line(response.text)}", hint="Try again.")
        raise UsageError(f"{self.address} answered {response.status_code}; it is no Ray cluster, or not for us.")

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        try:
            document = response.json()
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise UsageError(
                f"{self.address} is no dashboard of a Ray cluster.", hint="Give the dashboard's URL, http://HOST:8265."
            )
        return document


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip() and line.strip() != "."]
    return (lines[-1] if lines else "no reason given")[:500]


def _dig(document: Any, *path: str) -> Any:
    for part in path:
        document = document.get(part) if isinstance(document, dict) else None
    return document


def _numbers(value: Any) -> dict[str, float]:
    return {k: float(v) for k, v in value.items() if isinstance(v, int | float)} if isinstance(value, dict) else {}


def _free(total: Mapping[str, float], usage: Any) -> dict[str, float]:
    free = dict(total)
    for name, pair in usage.items() if isinstance(usage, dict) else ():
        if name in free and isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], int | float):
            free[name] = max(0.0, free[name] - float(pair[0]))
    return free
