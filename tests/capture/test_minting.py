"""Ids are unique, also in forked children, and leave the user's generators alone."""

from __future__ import annotations

import os
import random
import uuid

from mlops_jupyter.capture.minting import new_uid, new_version_id


def test_ids_are_those_of_the_standard() -> None:
    for _ in range(200):
        text = new_uid()
        found = uuid.UUID(text)
        assert (found.hex, found.version, found.variant) == (text, 4, uuid.RFC_4122)
        assert 0 <= new_version_id() < 2**63


def test_neither_draws_from_nor_follows_the_users_generator() -> None:
    random.seed(5)
    state = random.getstate()
    first = (new_uid(), new_version_id())
    assert random.getstate() == state
    random.seed(5)
    assert (new_uid(), new_version_id()) != first


def test_a_forked_child_mints_other_ids() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, new_uid().encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 32).decode() != new_uid()
    os.close(reader)
    os.close(writer)
