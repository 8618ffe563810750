"""Count the bytes that operators read and write (memory traffic): what bounds everything but large matrix products.

    bytes = sum over operators of the bytes of their distinct input tensors + those of their distinct output tensors

so mm (m, k) @ (k, n) moves (mk + kn + mn) s bytes at s bytes per entry, relu 2 n s, and an in-place update reads and
writes. Views move nothing; an expanded dimension is stored once; an operator that only writes (`fill_`, `copy_`'s
target) reads nothing; a look-up reads at most as many entries of its table as it returns. Every operator is taken to
start from main memory, so this is an upper bound: caches keep small tensors, and fused or compiled kernels skip
intermediate ones. Scratch memory inside a kernel is not seen. The same on every device.
"""

from collections import Counter
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from paretorch.measurement.memory import stored_parts
from paretorch.measurement.operators import OperatorMode, name_of, plain_kernels

# These allocate and leave the memory as it is.
_UNTOUCHED = frozenset({"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided"})
# These overwrite what they are given.
_WRITE_ONLY = frozenset(
    {"copy_", "fill_", "zero_", "normal_", "uniform_", "random_", "bernoulli_", "exponential_", "_foreach_copy_"}
    | {"_foreach_zero_"}
)
# These read those entries of their first argument that they return.
_LOOK_UPS = frozenset({"embedding", "index_select", "index", "gather", "take"})


class TrafficCounter:
    """Context manager that adds up the bytes read and written by every operator inside it.

        with TrafficCounter() as traffic:
            loss(model(x), y).backward()
            optimizer.step()
        traffic.bytes_accessed

    bytes_accessed: all of them. by_operator: the same by operator. Compiled code runs eagerly inside.
    """

    def __init__(self) -> None:
        self.by_operator: Counter[str] = Counter()
        self._inside = ExitStack()

    @property
    def bytes_accessed(self) -> int:
        """Bytes read and written so far."""
        return self.by_operator.total()

    def __enter__(self) -> "TrafficCounter":
        with ExitStack() as stack:
            stack.enter_context(plain_kernels())
            stack.enter_context(_TrafficMode(self.by_operator))
            self._inside = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._inside.close()


class _TrafficMode(OperatorMode):
    def __init__(self, by_operator: Counter[str]) -> None:
        super().__init__()
        self.by_operator = by_operator

    def seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        namespace, name = name_of(func)
        if getattr(func, "is_view", False) or name in _UNTOUCHED:
            return
        inputs, outputs = _distinct((args, kwargs)), _distinct(output)
        written = _distinct(_written(func, args, kwargs))
        if not written and outputs and {key[0] for key in outputs} <= {key[0] for key in inputs}:
            return  # the same memory under another shape, such as _unsafe_view
        overwritten = name in _WRITE_ONLY or "out" in kwargs
        read = {key: size for key, size in inputs.items() if not (overwritten and key in written)}
        if name in _LOOK_UPS:
            table = next(iter(_distinct(args[0])))
            read[table] = min(read[table], sum(_distinct(output).values()))
        self.by_operator[f"{namespace}.{name}"] += sum(read.values()) + sum({**outputs, **written}.values())


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Arguments that the operator changes, by its schema."""
    schema = getattr(func, "_schema", None)
    if schema is None or not schema.is_mutable:
        return []
    named = {argument.name: value for argument, value in zip(schema.arguments, args, strict=False)} | kwargs
    return [
        named.get(argument.name)
        for argument in schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    ]


def _distinct(tree: Any) -> dict[tuple[Any, ...], int]:
    """Bytes of all different tensors in nested arguments, by what tells them apart: memory first, then the view."""
    found: dict[tuple[Any, ...], int] = {}
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor):
            values, indices = stored_parts(leaf)
            for part in (*values, *indices):
                key = (part.untyped_storage()._cdata, part.storage_offset(), part.shape, part.stride(), part.dtype)
                found[key] = _stored_entries(part) * part.element_size()
    return found


def _stored_entries(tensor: Tensor) -> int:
    """Entries without the repetitions of expanded dimensions."""
    return torch.Size(n for n, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride or not n).numel()
