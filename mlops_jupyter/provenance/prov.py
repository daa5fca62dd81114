"""The graph as a W3C PROV-JSON document (member submission of 24 April 2013)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from .graph import Edge, LineageGraph, Node

_RELATIONS = {
    # relation: (section of the document, role of the edge's source, role of its target)
    "used": ("used", "prov:activity", "prov:entity"),
    "was_generated_by": ("wasGeneratedBy", "prov:entity", "prov:activity"),
    "was_derived_from": ("wasDerivedFrom", "prov:generatedEntity", "prov:usedEntity"),
    "was_informed_by": ("wasInformedBy", "prov:informed", "prov:informant"),
}
_ACTIVITIES = ("execution", "run")
_ATTRIBUTES = (
    "notebook",
    "cell_id",
    "execution_count",
    "source",
    "status",
    "error",
    "class",
    "summary",
    "digest",
    "size",
)


def to_prov(graph: LineageGraph) -> dict[str, Any]:
    """Executions and runs as activities, versions and models as entities, who ran them as agents."""
    document: dict[str, Any] = {
        "prefix": {
            "mlops": "https://pypi.org/project/mlops-jupyter/prov#",
            "xsd": "http://www.w3.org/2001/XMLSchema#",
        }
    }
    for node in graph.nodes:
        section = "activity" if node.type in _ACTIVITIES else "entity"
        document.setdefault(section, {})[_name(node.id)] = _attributes(node)
    for number, edge in enumerate(graph.edges):
        section, _, _ = _RELATIONS[edge.relation]
        document.setdefault(section, {})[f"_:r{number}"] = _relation(edge)
    users = {session.session_id: session.user for session in graph.sessions}
    for user in dict.fromkeys(users.values()):
        document.setdefault("agent", {})[_agent(user)] = {
            "prov:type": {"$": "prov:Person", "type": "prov:QUALIFIED_NAME"},
            "prov:label": user,
        }
    for number, execution in enumerate(graph.executions):
        if execution.session_id in users:
            document.setdefault("wasAssociatedWith", {})[f"_:a{number}"] = {
                "prov:activity": _name(f"execution:{execution.execution_id}"),
                "prov:agent": _agent(users[execution.session_id]),
            }
    return document


def _attributes(node: Node) -> dict[str, Any]:
    details = node.details
    found: dict[str, Any] = {"prov:label": node.label, "prov:type": f"mlops:{node.type}"}
    start = details.get("start_time")
    if start is not None:
        found["prov:startTime"] = _time(start / 1000)
        if details.get("duration") is not None:
            found["prov:endTime"] = _time(start / 1000 + details["duration"])
    for key in _ATTRIBUTES:
        if details.get(key) is not None:
            found[f"mlops:{key}"] = details[key]
    for section in ("params", "metrics"):
        for key, value in details.get(section, {}).items():
            found.setdefault(f"mlops:{section[:-1]}", []).append(f"{key}={value}")
    return found


def _relation(edge: Edge) -> dict[str, Any]:
    _, source, target = _RELATIONS[edge.relation]
    return {
        source: _name(edge.source),
        target: _name(edge.target),
        "mlops:grade": str(edge.grade),
        "mlops:reason": edge.reason,
    }


def _name(node_id: str) -> str:
    return f"mlops:{node_id.replace(':', '-')}"


def _agent(user: str) -> str:
    # Qualified names take few characters; the name as it is stands in the label.
    return "mlops:user-" + "".join(c if c.isascii() and c.isalnum() else f"-{ord(c):x}-" for c in user)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
