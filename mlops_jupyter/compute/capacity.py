"""Whether a cluster can do what a job asks, and if not now, why not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mlops_jupyter.entities import Job, JobState, Resources
from mlops_jupyter.errors import UsageError

from .client import Node

_GIB = 1024**3


def check_request(resources: Resources) -> None:
    """Refuse numbers that no cluster knows.

    Raises:
        UsageError: a negative number, none, or a fraction of more than one GPU.
    """
    for name, amount in (("CPUs", resources.cpus), ("GPUs", resources.gpus), ("bytes", resources.memory)):
        if not 0 <= amount < 1e15:
            raise UsageError(f"A job cannot ask for {amount:g} {name}.", hint="Give a number from 0 on.")
    if resources.gpus > 1 and resources.gpus != int(resources.gpus):
        raise UsageError(f"A job cannot ask for {resources.gpus:g} GPUs.", hint="Above one only whole GPUs are shared.")


def wanted(resources: Resources) -> dict[str, float]:
    """The request in Ray's words, without what is not asked for."""
    amounts = {"CPU": float(resources.cpus), "GPU": float(resources.gpus), "memory": float(resources.memory)}
    return {name: amount for name, amount in amounts.items() if amount > 0}


def refuse_impossible(resources: Resources, totals: Sequence[Mapping[str, float]], *, where: str) -> None:
    """Refuse what not even the largest node could serve when idle.

    Raises:
        UsageError: with what was asked for and what the largest node has.
    """
    request = wanted(resources)
    if not totals or any(_fits(request, total) for total in totals):
        return
    for name, amount in request.items():
        largest = max(total.get(name, 0.0) for total in totals)
        if amount > largest:
            raise UsageError(
                f"The job asks for {_amount(name, amount)}, and the largest node of {where} has "
                f"{_amount(name, largest)}.",
                hint="Ask for less, or name another cluster with --address.",
            )
    together = " and ".join(_amount(name, amount) for name, amount in request.items())
    raise UsageError(f"The job asks for {together}, and no single node of {where} has all of it.", hint="Ask for less.")


def waiting_reason(job: Job, nodes: Sequence[Node], others: Iterable[Job]) -> str:
    """Why a job of a cluster waits, in one phrase."""
    request = wanted(job.resources)
    able = [node for node in nodes if _fits(request, node.total)]
    if not nodes:
        return "waits for the cluster to come up"
    if not able:
        return f"waits for a node with {_all(request)}"
    if any(_fits(request, node.free) for node in able):
        return "about to start"
    short = next(
        (name for name, amount in request.items() if all(node.free.get(name, 0.0) < amount for node in able)),
        next(iter(request)),
    )
    free = max(node.free.get(short, 0.0) for node in able)
    total = max(node.total.get(short, 0.0) for node in able)
    reason = f"waits for {_amount(short, request[short])}: {_number(short, free)} of {_number(short, total)} free"
    ahead = [
        other.job_id[:8]
        for other in others
        if other.job_id != job.job_id and other.address == job.address and other.state is JobState.RUNNING
    ]
    return f"{reason}, queued behind {', '.join(ahead[:3])}" if ahead else reason


def _fits(request: Mapping[str, float], offer: Mapping[str, float]) -> bool:
    return all(offer.get(name, 0.0) >= amount for name, amount in request.items())


def _all(request: Mapping[str, float]) -> str:
    return " and ".join(_amount(name, amount) for name, amount in request.items())


def _amount(name: str, amount: float) -> str:
    if name == "memory":
        return f"{_number(name, amount)} of memory"
    return f"{amount:g} {name}{'' if amount == 1 else 's'}"


def _number(name: str, amount: float) -> str:
    return f"{amount / _GIB:.3g} GiB" if name == "memory" else f"{amount:g}"
