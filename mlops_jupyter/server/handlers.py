"""The REST handlers: parse, call in a thread, write JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from mlops_jupyter.config import Settings
from mlops_jupyter.errors import MlopsError, TargetNotFoundError, TransientError, UnreachableError, UsageError

from . import documents
from .watcher import Watcher
from .workspaces import PathRefusedError, workspace_id

SETTING = "mlops_jupyter"
MAX_LIMIT = 1000
DELIVERY_SECONDS = 30.0
"""How often, at most, a looking client has delivery looked after."""

_STATUS: tuple[tuple[type[MlopsError], int], ...] = (
    (PathRefusedError, 403),
    (TargetNotFoundError, 404),
    (TransientError, 503),
    (UnreachableError, 503),
    (UsageError, 400),
)

_T = TypeVar("_T")


class Handler(APIHandler):
    """What all handlers share: the workspace of the request, threads, and errors as ``{"message", "hint"}``."""

    auth_resource = "mlops"

    @property
    def watcher(self) -> Watcher:
        """The extension's state in this server."""
        watcher: Watcher = self.settings[SETTING]
        return watcher

    async def in_thread(self, call: Callable[[], _T]) -> _T:
        """Run what blocks in one of our threads."""
        return await asyncio.get_running_loop().run_in_executor(self.watcher.executor, call)

    async def workspace_settings(self) -> Settings:
        """Settings of the workspace that the request is about (query argument ``path``, else ``notebook``)."""
        path = self.get_query_argument("path", None) or self.get_query_argument("notebook", "")
        return await self.in_thread(lambda: self.watcher.workspaces.settings(path))

    def integer(self, name: str, default: int, *, maximum: int) -> int:
        """The query argument ``name`` as an int in [0, maximum].

        Raises:
            UsageError: it is not one.
        """
        text = self.get_query_argument(name, str(default))
        if not (text.isascii() and text.isdigit() and int(text[:12]) <= maximum and len(text) <= 12):
            raise UsageError(f"{name} must be a whole number from 0 to {maximum}, got {text[:40]!r}.")
        return int(text)

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ARG002 - tornado's signature
        """Every failure as JSON: ours with its hint, tornado's with its reason, a bug without its details."""
        error = kwargs["exc_info"][1] if kwargs.get("exc_info") else None
        hint = ""
        if isinstance(error, MlopsError):
            self.set_status(next((code for kind, code in _STATUS if isinstance(error, kind)), 500))
            message, hint = error.message, error.hint
        elif isinstance(error, web.HTTPError):
            message = error.log_message or error.reason or "The request was refused."
            if error.status_code == 403 and not self.current_user:
                hint = "Log in to the Jupyter server again."
        else:
            message, hint = "mlops-jupyter failed.", "The server's log says more."
        self.finish({"message": message, "hint": hint})

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Expected errors are the client's to show; only bugs are worth a traceback in the server's log."""
        if isinstance(value, MlopsError):
            self.log.debug("mlops_jupyter: %s", value)
        else:
            super().log_exception(typ, value, tb)


class RunsHandler(Handler):
    """``GET runs``: a page of runs. Arguments: filter, order_by (repeatable), limit, offset, notebook, path."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        settings = await self.workspace_settings()
        limit = self.integer("limit", 100, maximum=MAX_LIMIT)
        offset = self.integer("offset", 0, maximum=10**9)
        order_by = [text for text in self.get_query_arguments("order_by") if text]
        filter_text = self.get_query_argument("filter", "")
        notebook = self.get_query_argument("notebook", None)
        workspaces = self.watcher.workspaces

        def call() -> dict[str, Any]:
            name = workspaces.notebook(settings, notebook) if notebook else None
            return documents.runs(
                workspaces.workspace(settings),
                filter_text=filter_text,
                notebook=name,
                order_by=order_by,
                limit=limit,
                offset=offset,
            )

        self.finish(await self.in_thread(call))


class RunHandler(Handler):
    """``GET runs/ID``: everything of one run; with ``watch=1`` events go on to come. ``DELETE``: mark it deleted."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        settings = await self.workspace_settings()
        workspaces = self.watcher.workspaces
        if self.get_query_argument("watch", None):
            self.watcher.interested(settings)
        self.finish(await self.in_thread(lambda: documents.run(workspaces.workspace(settings), run_id)))

    @web.authenticated
    @authorized
    async def delete(self, run_id: str) -> None:
        settings = await self.workspace_settings()
        workspaces = self.watcher.workspaces
        self.finish(await self.in_thread(lambda: documents.delete(workspaces.workspace(settings), run_id)))


class NoteHandler(Handler):
    """``POST runs/ID/note`` with ``{"note": TEXT}``: replace the note."""

    @web.authenticated
    @authorized
    async def post(self, run_id: str) -> None:
        body: Any = self.get_json_body()
        text = body.get("note") if isinstance(body, dict) else None
        if not isinstance(text, str):
            raise UsageError("The body must be a JSON object with a text under 'note'.")
        settings = await self.workspace_settings()
        workspaces = self.watcher.workspaces
        self.finish(await self.in_thread(lambda: documents.note(workspaces.workspace(settings), run_id, text)))


class ChangesHandler(Handler):
    """``GET changes?since=CURSOR``: what changed, and the cursor to ask with next. Keeps the events coming."""

    _track_activity = False  # a panel left open must not keep an idle server from being culled

    @web.authenticated
    @authorized
    async def get(self) -> None:
        settings = await self.workspace_settings()
        since = self.get_query_argument("since", "")
        workspaces = self.watcher.workspaces
        self.watcher.interested(settings)
        self.finish(
            await self.in_thread(
                lambda: {
                    "workspace": workspace_id(settings),
                    **documents.changes_since(workspaces.workspace(settings), since),
                }
            )
        )


class LineageHandler(Handler):
    """``GET lineage?target=TARGET&direction=both|up|down``: the lineage document."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        settings = await self.workspace_settings()
        target = self.get_query_argument("target", "")
        wanted = self.get_query_argument("direction", "both")
        if not target:
            raise UsageError("The argument 'target' is missing.", hint="For example target=run:ID")
        direction = next((known for known in documents.DIRECTIONS if known == wanted), None)
        if direction is None:
            raise UsageError(
                f"The direction {wanted[:40]!r} is not known.", hint=f"Known: {', '.join(documents.DIRECTIONS)}."
            )
        workspaces = self.watcher.workspaces
        self.finish(await self.in_thread(lambda: documents.lineage(workspaces.workspace(settings), target, direction)))


class StatusHandler(Handler):
    """``GET status``: the workspace, whether its store can be read, delivery, versions. Never fails for a bad store."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        settings = await self.workspace_settings()
        workspaces = self.watcher.workspaces
        document = await self.in_thread(lambda: documents.status(settings, lambda: workspaces.workspace(settings)))
        self.finish(document)
        delivery = document["delivery"]
        if settings.deliver and delivery is not None and delivery["pending"]:
            await self._deliver(settings)

    async def _deliver(self, settings: Settings) -> None:
        key, now = workspace_id(settings), time.monotonic()
        if now - self.watcher.delivery_checked.get(key, -DELIVERY_SECONDS) < DELIVERY_SECONDS:
            return
        self.watcher.delivery_checked[key] = now
        await self.in_thread(lambda: documents.deliver(settings))


class NotFoundHandler(Handler):
    """Anything else below ``mlops/api/``: 404 as JSON."""

    @web.authenticated
    @authorized
    def get(self) -> Awaitable[None] | None:
        raise web.HTTPError(404, "There is no such resource.")


HANDLERS: tuple[tuple[str, type[Handler]], ...] = (
    ("runs", RunsHandler),
    (r"runs/([^/]+)", RunHandler),
    (r"runs/([^/]+)/note", NoteHandler),
    ("changes", ChangesHandler),
    ("lineage", LineageHandler),
    ("status", StatusHandler),
    (".*", NotFoundHandler),
)
