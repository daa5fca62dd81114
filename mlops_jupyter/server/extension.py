"""Hooks the handlers and the event schema into a Jupyter Server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_server.utils import url_path_join

from .handlers import HANDLERS, SETTING
from .watcher import EVENT_SCHEMA, Watcher
from .workspaces import Workspaces

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp


def load_extension(server_app: ServerApp) -> None:
    """Register everything with ``server_app``. Opens no database and starts no task: the first request does.

    A fault here is logged and leaves the server without the extension, never without a server.
    """
    try:
        web_app = server_app.web_app
        events = server_app.event_logger
        assert events is not None
        events.register_event_schema(EVENT_SCHEMA)
        web_app.settings[SETTING] = Watcher(Workspaces(Path(server_app.root_dir)), events)
        base = web_app.settings["base_url"]
        web_app.add_handlers(  # type: ignore[no-untyped-call]
            ".*$", [(url_path_join(base, "mlops", "api", path), handler) for path, handler in HANDLERS]
        )
    except Exception:  # the server must start whatever is wrong with us
        server_app.log.exception("mlops_jupyter could not be loaded; the server goes on without it.")
