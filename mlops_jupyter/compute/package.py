"""Our own package as an archive for a cluster that does not have it: sources and schemas, nothing compiled."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
_KINDS = frozenset({".py", ".json"})
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build_package() -> tuple[str, bytes]:
    """Name and bytes of the archive. The same sources give the same bytes, so a cluster gets them once."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(PACKAGE.rglob("*")):
            inside = path.relative_to(PACKAGE)
            if path.suffix not in _KINDS or inside.parts[0] == "labextension" or not path.is_file():
                continue
            entry = zipfile.ZipInfo((Path(PACKAGE.name) / inside).as_posix(), _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    content = buffer.getvalue()
    return f"_ray_pkg_mlops_{hashlib.sha256(content).hexdigest()[:16]}.zip", content


def source_folder() -> Path | None:
    """Folder to put on the module path where the package is used from a source tree; None where it is installed."""
    folder = PACKAGE.parent
    return None if folder.name in {"site-packages", "dist-packages"} else folder
