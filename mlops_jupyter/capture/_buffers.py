"""Feed numpy, pandas, Arrow and torch data to a hash. Libraries are found in ``sys.modules``, never
imported.
"""

from __future__ import annotations

from math import frexp, isfinite, ldexp
from typing import TYPE_CHECKING, Any

from ._inspect import class_dict, instance_dict, loaded, loaded_type, mro_of

if TYPE_CHECKING:
    from .fingerprint import Hasher

CHUNK = 64 * 1024
CHUNKS = 64
_MOST_OBJECTS = 50_000


def feed_ndarray(hasher: Hasher, array: Any, depth: int) -> None:
    """dtype, shape and bytes of an array; subclasses are seen as plain arrays."""
    base = loaded_type("numpy", "ndarray")
    if base is None:  # pragma: no cover - an array without numpy
        hasher.opaque(array)
        return
    if type(array) is not base:
        array = base.view(array, base)  # type: ignore[attr-defined]
    kind = array.dtype
    hasher.text(f"nd{array.shape}{kind.str if kind.kind != 'T' else 'T'}{kind.names or ''}")
    if kind.hasobject or kind.kind == "T":
        _feed_objects(hasher, array, depth)
        return
    if hasher.portable and kind.names:  # field by field: the bytes between the fields hold anything
        for name in kind.names:
            feed_ndarray(hasher, array[name], depth + 1)
        return
    if array.size == 0:
        return
    if hasher.portable and kind.kind in "fc":
        hasher.floats = True
        if hasher.rounded and array.nbytes <= hasher.bytes_left:
            feed_bytes(hasher, _rounded(array).view("u1"))
            return
    flags = array.flags
    if flags.c_contiguous:
        feed_bytes(hasher, array.reshape(-1).view("u1"))
    elif flags.f_contiguous:
        feed_bytes(hasher, array.T.reshape(-1).view("u1"))
    elif array.nbytes <= hasher.bytes_left:
        feed_bytes(hasher, array.copy(order="C").reshape(-1).view("u1"))
    else:
        _sample_rows(hasher, array)


def _rounded(array: Any) -> Any:
    """Floats rounded to about a ten-millionth of the largest finite one."""
    numpy = loaded("numpy")
    wide = array.astype("c16" if array.dtype.kind == "c" else "f8", order="C").reshape(-1).view("f8")
    largest = max(float(wide.max()), -float(wide.min()))
    if not isfinite(largest):
        finite = wide[numpy["isfinite"](wide)]
        largest = max(float(finite.max()), -float(finite.min())) if finite.size else 0.0
    if not 0.0 < largest < 1e290:
        return wide + 0.0
    # What is added pushes the digits below a 2^-23 of the largest out of the number.
    shift = ldexp(1.5, frexp(largest)[1] + 29)
    wide += shift
    wide -= shift
    wide += 0.0  # no negative zero
    return wide


def feed_bytes(hasher: Hasher, data: Any) -> None:
    """All bytes of a buffer, or 64 samples of 64 KiB beyond the budget."""
    size = len(data)
    if size <= hasher.bytes_left or size <= CHUNK:
        hasher.bytes_left -= size
        hasher.raw(data)
        return
    if hasher.strict:
        raise OverflowError("larger than the budget")
    hasher.sampled = True
    step = hasher.chunk_size()
    hasher.text(f"sampled{size}")
    last = max(size - step, 0)
    for index in range(CHUNKS):
        start = last * index // (CHUNKS - 1)
        hasher.raw(data[start : start + step])


def _sample_rows(hasher: Hasher, array: Any) -> None:
    hasher.sampled = True
    rows = len(array)
    per_row = max(1, array.nbytes // max(rows, 1))
    count = max(1, hasher.chunk_size() // per_row)
    last = max(rows - count, 0)
    starts = sorted({last * index // (CHUNKS - 1) for index in range(CHUNKS)})
    for start in starts:
        part = array[start : start + count]
        if part.nbytes > 16 * CHUNK:  # very wide rows
            part = part[..., :: max(1, part.shape[-1] // 1_000)]
        hasher.raw(part.copy(order="C").reshape(-1).view("u1"))


def _feed_objects(hasher: Hasher, array: Any, depth: int) -> None:
    if array.dtype.names:
        hasher.opaque(array)
        return
    flat = array.reshape(-1)
    if len(flat) > _MOST_OBJECTS:
        hasher.sampled = True
        flat = flat[:: len(flat) // 2_048]
    hasher.feed_made(flat.tolist(), depth)


def feed_frame(hasher: Hasher, frame: Any, depth: int) -> None:
    """A DataFrame or Series column by column, so that pandas may consolidate its blocks without a change."""
    state = instance_dict(frame) or {}
    manager = state.get("_mgr")
    if manager is None:
        hasher.opaque(frame)
        return
    hasher.text(f"frame{len(manager.axes)}")
    columns: list[tuple[int, Any]] = []
    for block in manager.blocks:
        values = block.values
        if len(manager.axes) == 1:  # a Series: its one block's places are its rows
            columns.append((0, values))
            continue
        for row, position in enumerate(block.mgr_locs.as_array.tolist()):
            two_dimensional = getattr(values, "ndim", 1) == 2
            columns.append((position, values[row] if two_dimensional else values))
    columns.sort(key=lambda item: item[0])
    hasher.share(len(columns))
    for _, values in columns:
        hasher.feed(values, depth + 1)
    hasher.share(1)
    for axis in manager.axes:
        feed_index(hasher, axis, depth + 1)
    if "_name" in state:
        hasher.feed(state["_name"], depth + 1)
    if state.get("_attrs"):
        hasher.feed(state["_attrs"], depth + 1)


def feed_index(hasher: Hasher, index: Any, depth: int) -> None:
    """An Index without its caches."""
    state = instance_dict(index)
    if state is None:
        hasher.opaque(index)
        return
    for name in ("_range", "_data", "_levels", "_codes"):
        if name in state:
            hasher.feed(state[name], depth + 1)
    for name in ("_name", "_names"):
        if name in state:
            hasher.feed(state[name], depth + 1)


def feed_extension_array(hasher: Hasher, array: Any, depth: int) -> None:
    """Arrow-backed, numpy-backed and masked arrays of pandas itself."""
    state = instance_dict(array) or {}
    if "_pa_array" in state:
        feed_arrow(hasher, state["_pa_array"], depth)
        return
    if any("_ndarray" in class_dict(base) for base in mro_of(type(array))) or "_ndarray" in state:
        hasher.text(type(array).__name__)
        hasher.feed(array._ndarray, depth + 1)
        categories = getattr(array._dtype, "categories", None)
        if categories is not None:
            feed_index(hasher, categories, depth + 1)
        return
    hasher.instance(array, depth)


def feed_arrow(hasher: Hasher, data: Any, depth: int) -> None:
    """pyarrow's Array, ChunkedArray, Table and RecordBatch: immutable buffers."""
    name = type(data).__name__
    hasher.text(name)
    if name in ("Table", "RecordBatch"):
        hasher.text(str(data.schema))
        for column in data.columns:
            feed_arrow(hasher, column, depth + 1)
        return
    hasher.text(f"{data.type}{len(data)}")
    for chunk in data.chunks if name == "ChunkedArray" else (data,):
        hasher.text(f"{len(chunk)}@{chunk.offset}")
        for buffer in chunk.buffers():
            if buffer is not None and buffer.size:
                feed_bytes(hasher, memoryview(buffer).cast("B"))


def feed_polars(hasher: Hasher, frame: Any, depth: int) -> None:
    """polars' DataFrame and Series through their zero-copy Arrow form."""
    name = type(frame).__name__
    hasher.text(name)
    if name == "DataFrame":
        for column in frame.get_columns():
            feed_polars(hasher, column, depth + 1)
        return
    hasher.text(f"{frame.name}{frame.dtype}{len(frame)}")
    feed_arrow(hasher, frame.to_arrow(), depth + 1)


def feed_tensor(hasher: Hasher, tensor: Any, depth: int) -> None:
    """A dense torch tensor in the machine's memory."""
    hasher.text(f"tensor{tuple(tensor.shape)}{tensor.dtype}")
    if str(tensor.layout) != "torch.strided" or tensor.device.type != "cpu":
        hasher.opaque(tensor)
        return
    plain = tensor.detach()
    try:
        feed_ndarray(hasher, plain.numpy(), depth)
    except TypeError:  # bfloat16 and the like have no numpy form
        feed_ndarray(hasher, plain.contiguous().view(-1).view(loaded("torch")["uint8"]).numpy(), depth)


def ndarray_owner(array: Any) -> Any:
    """The object that owns an array's memory: an array, or what it was made from without copying."""
    base = loaded_type("numpy", "ndarray")
    for _ in range(64):
        inner = array.base
        if inner is None:
            break
        array = inner
        if base is None or not isinstance(array, base):
            break
    return array
