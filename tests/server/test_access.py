"""Who may ask, and for what: tokens, XSRF, the authorizer, and paths that try to leave the server's root."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.auth.authorizer import Authorizer
from jupyter_server.auth.identity import User
from jupyter_server.serverapp import ServerApp
from tornado.httpclient import HTTPClientError

from mlops_jupyter.entities import RunUid

Api = Callable[..., Awaitable[Any]]
Fetch = Callable[..., Awaitable[Any]]
Refused = Callable[[Awaitable[Any]], Awaitable[tuple[int, dict[str, Any]]]]
Record = Callable[..., RunUid]

RESOURCES = [
    ("GET", ("runs",)),
    ("GET", ("runs", "0" * 32)),
    ("DELETE", ("runs", "0" * 32)),
    ("POST", ("runs", "0" * 32, "note")),
    ("GET", ("changes",)),
    ("GET", ("lineage",)),
    ("GET", ("status",)),
    ("GET", ("nonsense",)),
]


class NobodyMay(Authorizer):
    """Logged in is not enough."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        return False


@pytest.mark.parametrize(("method", "path"), RESOURCES)
async def test_without_a_token_nothing_is_told(api: Api, jp_fetch: Fetch, method: str, path: tuple[str, ...]) -> None:
    body = "{}" if method == "POST" else None
    with pytest.raises(HTTPClientError) as caught:
        await jp_fetch(
            "mlops", "api", *path, method=method, body=body, headers={"Authorization": ""}, follow_redirects=False
        )
    assert caught.value.code == 403
    assert caught.value.response is not None
    assert set(json.loads(caught.value.response.body)) == {"message", "hint"}


@pytest.mark.parametrize(("method", "path"), RESOURCES)
async def test_authorizer_is_asked(
    api: Api, jp_serverapp: ServerApp, refused: Refused, method: str, path: tuple[str, ...]
) -> None:
    jp_serverapp.web_app.settings["authorizer"] = NobodyMay()

    status, _ = await refused(api(*path, method=method, body={} if method == "POST" else None))

    assert status == 403


async def test_cookie_alone_cannot_write(
    api: Api, jp_serverapp: ServerApp, jp_fetch: Fetch, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of another site has the cookie of the browser, but not the token that the cookie must be paired with."""
    uid = record()
    provider = type(jp_serverapp.identity_provider)
    monkeypatch.setattr(provider, "get_user", lambda self, handler: User("someone"))
    monkeypatch.setattr(provider, "is_token_authenticated", lambda self, handler: False)

    assert json.loads((await jp_fetch("mlops", "api", "runs")).body)["total"] == 1
    for method, path in (("DELETE", ("runs", uid)), ("POST", ("runs", uid, "note"))):
        with pytest.raises(HTTPClientError) as caught:
            await jp_fetch("mlops", "api", *path, method=method, body='{"note": "x"}' if method == "POST" else None)
        assert caught.value.code == 403
        assert caught.value.response is not None
        assert "_xsrf" in json.loads(caught.value.response.body)["message"]


@pytest.mark.parametrize("name", ["path", "notebook"])
@pytest.mark.parametrize("path", ["../secret/a.ipynb", "a/../../secret", "..", "/../secret", "a\\..\\b"])
async def test_paths_out_of_the_root_are_refused(api: Api, refused: Refused, name: str, path: str) -> None:
    status, error = await refused(api("runs", **{name: path}))

    assert status == 403
    assert "path" in error["message"]


async def test_links_out_of_the_root_are_refused(api: Api, refused: Refused, jp_root_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (jp_root_dir / "link").symlink_to(tmp_path / "elsewhere")

    status, _ = await refused(api("status", path="link/a.ipynb"))

    assert status == 403


async def test_notebook_in_a_workspace_of_its_own(api: Api, record: Record, jp_root_dir: Path) -> None:
    record("outer")
    inner = jp_root_dir / "inner"
    inner.mkdir()
    (inner / "mlops.toml").touch()

    assert (await api("runs"))["total"] == 1
    assert (await api("runs", path="inner/a.ipynb"))["total"] == 0
    assert (await api("status", path="inner/a.ipynb"))["workspace"]["root"] == str(inner)


async def test_broken_settings_are_told(api: Api, refused: Refused, jp_root_dir: Path) -> None:
    (jp_root_dir / "mlops.toml").write_text("no toml at all")

    status, error = await refused(api("status"))

    assert status == 400
    assert "mlops.toml" in error["message"]
