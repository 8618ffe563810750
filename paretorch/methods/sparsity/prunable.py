"""Which parameters may be pruned: the `weight` of convolutions and linear layers, each counted once.

An allow-list, since "every `weight` that is not batch normalisation" also takes LayerNorm, GroupNorm and embeddings.
Biases and normalisation are never pruned. What the list leaves out on purpose:

- Embedding: off by default; add it through `layer_types`. A linear layer tied to an embedding is left out with it.
- `transformers.pytorch_utils.Conv1D` (the linear layer of GPT-2, weight (in, out)): no subclass of Linear; pass it in
  `layer_types`, or a GPT-2 keeps all but its head dense.
- the packed `in_proj_weight` of nn.MultiheadAttention, and recurrent layers: their parameters are not called `weight`.

Source: the prunable set of Zimmer et al. 2023 (BIMP), "every weight but batch normalisation", made explicit.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from paretorch.errors import InputError
from paretorch.methods.sparsity.binding import bare_name, named_slots, unwrapped
from paretorch.methods.sparsity.zeroing import is_sharded

CONVOLUTIONS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED: tuple[type[nn.Module], ...] = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYER_TYPES: tuple[type[nn.Module], ...] = (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)

Patterns = str | Sequence[str] | None


@dataclass(frozen=True)
class Prunable:
    """One prunable parameter: `name` as in `named_parameters()`, the first module that owns it, its other names."""

    name: str
    weight: nn.Parameter
    module: nn.Module
    aliases: tuple[str, ...]

    @property
    def values(self) -> Tensor | Callable[[], Tensor]:
        """The weight outside autograd; for one sharded over processes, a function that gathers it."""
        if is_sharded(self.weight):
            return self.weight.detach().full_tensor  # type: ignore[attr-defined]  # a DTensor
        return self.weight.detach()


def prunable_parameters(
    model: nn.Module,
    *,
    include: Patterns = None,
    exclude: Patterns = None,
    layer_types: Sequence[type[nn.Module]] = LAYER_TYPES,
) -> dict[str, nn.Parameter]:
    """The prunable parameters by name, in the order of `model.named_parameters()`; tied ones appear once.

    Args:
        model: wrappers (DistributedDataParallel, torch.compile) are looked through; names are the bare module's.
        include: shell patterns (`fnmatch`: `*` also crosses dots); only what one of them matches is taken. A pattern
            is compared with the parameter's name and with every module path above it, so "layer1" and
            "layer1.0.conv1.weight" both work, and any name of a tied parameter counts.
        exclude: patterns of what is left out; wins over `include`.
        layer_types: the modules whose `weight` is taken, subclasses included.

    Returns:
        name -> parameter, never empty.

    Raises:
        InputError: if nothing is prunable, a pattern matches nothing, a weight is not initialised yet, or a layer's
            `weight` is computed from other parameters (pruned by torch.nn.utils.prune, parametrised, weight-normed).
    """
    found = find_prunable(model, include=include, exclude=exclude, layer_types=layer_types)
    return {item.name: item.weight for item in found}


def prunable_aliases(
    model: nn.Module,
    *,
    include: Patterns = None,
    exclude: Patterns = None,
    layer_types: Sequence[type[nn.Module]] = LAYER_TYPES,
) -> dict[str, tuple[str, ...]]:
    """The tied parameters among the prunable ones: name that is counted -> its other names. Arguments as above."""
    found = find_prunable(model, include=include, exclude=exclude, layer_types=layer_types)
    return {item.name: item.aliases for item in found if item.aliases}


def find_prunable(
    model: nn.Module,
    *,
    include: Patterns = None,
    exclude: Patterns = None,
    layer_types: Sequence[type[nn.Module]] = LAYER_TYPES,
) -> list[Prunable]:
    """`prunable_parameters` with the owning modules and the other names of tied parameters."""
    allowed = tuple(layer_types)
    owners: dict[int, list[tuple[str, nn.Module, str, nn.Parameter]]] = {}
    for slot in named_slots(model):
        owners.setdefault(id(slot[3]), []).append(slot)
    candidates = [
        Prunable(slots[0][0], slots[0][3], slots[0][1], tuple(dict.fromkeys(s[0] for s in slots[1:])))
        for slots in owners.values()
        if all(isinstance(owner, allowed) and attribute == "weight" for _, owner, attribute, _ in slots)
    ]
    included, excluded = _patterns(include), _patterns(exclude)
    everything = {path for slots in owners.values() for slot in slots for path in paths_above(slot[0])}
    candidate_paths = {path for item in candidates for name in (item.name, *item.aliases) for path in paths_above(name)}
    _check_weights(model, allowed, included, excluded)
    if not candidates:
        raise InputError(_nothing_prunable(model, allowed))
    check_patterns("include", included, candidate_paths)
    check_patterns("exclude", excluded, everything)
    chosen = [item for item in candidates if _chosen((item.name, *item.aliases), included, excluded)]
    if not chosen:
        raise InputError(
            f"include={included} and exclude={excluded} leave none of the {len(candidates)} prunable parameters; "
            f"they are {_some(item.name for item in candidates)}"
        )
    return chosen


def check_patterns(argument: str, patterns: Iterable[str], paths: Iterable[str]) -> None:
    """Refuse patterns that match none of the names and module paths, naming the nearest ones.

    Raises:
        InputError: naming every such pattern.
    """
    known = sorted(paths)
    problems = []
    for pattern in patterns:
        if not any(fnmatchcase(path, pattern) for path in known):
            close = get_close_matches(pattern, known, n=3, cutoff=0.4)
            problems.append(f"{pattern!r}" + (f" (nearest: {', '.join(close)})" if close else ""))
    if problems:
        raise InputError(
            f"{argument}: no prunable parameter or module matches {'; '.join(problems)}. Patterns are shell-style, "
            f"over names such as {_some(known)}"
        )


def matches(names: Iterable[str], patterns: Iterable[str]) -> bool:
    """Whether a pattern matches one of the names or a module path above it."""
    return any(fnmatchcase(path, pattern) for name in names for path in paths_above(name) for pattern in patterns)


def _patterns(patterns: Patterns) -> tuple[str, ...]:
    return (patterns,) if isinstance(patterns, str) else tuple(patterns or ())


def paths_above(name: str) -> list[str]:
    """The name and every module path above it: a.b.weight, a.b, a."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]


def _chosen(names: tuple[str, ...], included: tuple[str, ...], excluded: tuple[str, ...]) -> bool:
    return (not included or matches(names, included)) and not matches(names, excluded)


def _check_weights(
    model: nn.Module, allowed: tuple[type[nn.Module], ...], included: tuple[str, ...], excluded: tuple[str, ...]
) -> None:
    for path, module in unwrapped(model).named_modules():
        name = bare_name(f"{path}.weight" if path else "weight")
        if not isinstance(module, allowed) or not _chosen((name,), included, excluded):
            continue
        parameter = module._parameters.get("weight")
        if parameter is None and hasattr(module, "weight"):
            raise InputError(
                f"{name} is computed from other parameters (torch.nn.utils.prune, weight_norm or another "
                "parametrisation, or templates that layers share) and cannot be masked; make it plain first with "
                "torch.nn.utils.prune.remove, torch.nn.utils.parametrize.remove_parametrizations or paretorch.fold_, "
                f"or pass exclude={name!r}"
            )
        if parameter is not None and is_lazy(parameter):
            raise InputError(f"{name} has no shape yet; run one batch through the model before pruning it")


def _nothing_prunable(model: nn.Module, allowed: tuple[type[nn.Module], ...]) -> str:
    owners = (m for m in unwrapped(model).modules() if next(m.parameters(recurse=False), None) is not None)
    leaves = Counter(type(m).__name__ for m in owners)
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(leaves.items())) or "no parameters at all"
    hint = ""
    if "Conv1D" in leaves:
        hint = " For GPT-2 style models pass layer_types=(torch.nn.Linear, transformers.pytorch_utils.Conv1D)."
    return (
        f"{type(unwrapped(model)).__name__} has no prunable layer: its layers with parameters are {found}, and the "
        f"layer types allowed are {', '.join(kind.__name__ for kind in allowed)}. Pass your own in layer_types (their "
        f"`weight` is pruned); a weight shared with a layer of another type is left out.{hint}"
    )


def _some(names: Iterable[str], limit: int = 6) -> str:
    shown = list(names)
    return ", ".join(shown[:limit]) + (f" and {len(shown) - limit} more" if len(shown) > limit else "")
