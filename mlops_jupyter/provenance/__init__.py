"""Lineage as pure values: closures and slices over recorded executions, the graph, and its renderings and
exports.

No input or output, no clock, no third-party module: records come through the ``LineageSource`` protocol.
"""

from __future__ import annotations

from .closure import downstream, in_order, upstream
from .graph import Edge, LineageGraph, Node
from .slices import Slice, SliceEdge, backward_slice, count_of, slice_of_many, without_magics
from .source import LineageSource, MemorySource, Records

__all__ = [
    "Edge",
    "LineageGraph",
    "LineageSource",
    "MemorySource",
    "Node",
    "Records",
    "Slice",
    "SliceEdge",
    "backward_slice",
    "count_of",
    "downstream",
    "in_order",
    "slice_of_many",
    "upstream",
    "without_magics",
]
