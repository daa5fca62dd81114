"""Figures that a cell shows, taken as the PNG that the notebook's back end has rendered already."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

_FIGURES_LIMIT = 50


class FigureCollector:
    """Keeps the images that are displayed between ``start`` and ``stop``. Renders and imports nothing."""

    def __init__(self, fault: Callable[[str, BaseException], None]) -> None:
        self._fault = fault
        self._publisher: Any = None
        self.images: list[bytes] = []

    def start(self, shell: Any) -> None:
        """Listen to what ``shell`` displays, where it is a kernel's shell."""
        self.images = []
        publisher: Any = getattr(shell, "display_pub", None)
        if hasattr(publisher, "register_hook") and hasattr(publisher, "unregister_hook"):
            publisher.register_hook(self._receive)
            self._publisher = publisher

    def stop(self) -> list[bytes]:
        """Stop to listen; the images, in the order of their display."""
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.unregister_hook(self._receive)
        return self.images

    def _receive(self, message: Any) -> Any:
        try:
            if message["header"]["msg_type"] == "display_data" and len(self.images) < _FIGURES_LIMIT:
                image = message["content"]["data"].get("image/png")
                if isinstance(image, str):
                    self.images.append(base64.b64decode(image))
                elif isinstance(image, bytes):
                    self.images.append(image)
        except (KeyError, TypeError, AttributeError, binascii.Error) as error:
            self._fault("looking at a figure", error)
        return message
