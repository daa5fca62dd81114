"""Identifiers with a type of their own, so that two strings which must not be swapped are not both ``str``."""

from __future__ import annotations

from typing import NewType

RunUid = NewType("RunUid", str)
"""uuid4 as 32 hexadecimal digits, minted by us before anything is sent anywhere."""

ExecutionId = NewType("ExecutionId", str)
"""uuid4 as 32 hexadecimal digits: one execution of one cell."""

SessionId = NewType("SessionId", str)
"""uuid4 as 32 hexadecimal digits: one kernel (or script) from load to end."""

VersionId = NewType("VersionId", int)
"""63 random bits: one version of one entity (variable, file, hidden state)."""

Digest = NewType("Digest", str)
"""Algorithm and hexadecimal digest, for example ``sha256:9f86…``, ``xxh3:…`` or ``etag:…``."""
