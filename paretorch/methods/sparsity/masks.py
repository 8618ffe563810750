"""Masks: which weights are kept, and the guarantee that all others are exactly zero.

    w := w * m,    grad := grad * m,    m in {False, True}^shape, True = kept

A mask is a bool tensor beside the model, never inside it: no reparametrisation, no buffer, no hook in the forward pass.
So copying, compiling, distributing, averaging, saving and exporting the model see ordinary parameters, and removing the
masks means forgetting them. Zeros are not a property of a tensor: one optimizer step with old momentum or a merge fills
them again. `Masks.attach` keeps them in anybody's loop, `MaskEnforcement` in the trainer::

    masks = pt.magnitude_masks(model, sparsity=0.9)
    with masks.attach(model, optimizer):
        train(model, optimizer)          # an ordinary loop; pruned weights are +0.0 after every step

Saves nothing by itself: the dense kernels still multiply by zero. Costs one byte per weight, and two products per step.

Reference: the projected form of magnitude pruning with retraining, Han et al. 2015 ("Learning both weights and
connections", section 3); equal bitwise, on the kept weights, to training f(w * m).
"""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from paretorch.errors import ArtefactError, InputError, MaskViolationError
from paretorch.methods.sparsity.attachment import Attachment
from paretorch.methods.sparsity.binding import Binding, bare_name, bind, clear_state_, named_slots
from paretorch.methods.sparsity.packing import content_hash, pack, unpack
from paretorch.methods.sparsity.zeroing import is_sharded, sharded_like


class Masks(Mapping[str, Tensor]):
    """Bool masks by parameter name, True = kept. Names, shapes and contents are fixed; a change is a new `Masks`.

    Args:
        mapping: parameter name (as in `model.named_parameters()`) -> bool tensor with the parameter's shape. Copied.
            The segments that torch.compile puts into names are dropped.
        copy: False takes the tensors over without a copy; nobody else may change them afterwards.

    Raises:
        InputError: if the mapping is empty, a mask is not bool, or two names are the same parameter.
    """

    def __init__(self, mapping: Mapping[str, Tensor], *, copy: bool = True) -> None:
        if not mapping:
            raise InputError("no masks given; expected at least one bool tensor by parameter name")
        for name, mask in mapping.items():
            if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
                kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
                raise InputError(
                    f"the mask of {name!r} is {kind}; expected a torch.bool tensor, True = kept. For a 0/1 mask pass "
                    "`mask != 0`, for a score `score > threshold`."
                )
        self._masks = {
            bare_name(name): mask.detach().clone(memory_format=torch.contiguous_format) if copy else mask.contiguous()
            for name, mask in mapping.items()
        }
        if len(self._masks) != len(mapping):
            raise InputError(f"two names mean the same parameter: {list(mapping)}; keep one of them")

    @classmethod
    def dense(cls, model: nn.Module, names: Iterable[str] | None = None) -> "Masks":
        """Masks that keep everything, for the named parameters or for all floating-point ones.

        Raises:
            InputError: if a name is no parameter of the model.
        """
        return cls({name: torch.ones_like(p, dtype=torch.bool) for name, p in chosen(model, names).items()})

    @classmethod
    def from_nonzeros(cls, model: nn.Module, *, names: Iterable[str]) -> "Masks":
        """Masks that keep what is not zero now: takes over a model that somebody else pruned.

        The names are required, since biases and normalisation offsets start at zero without being pruned.

        Raises:
            InputError: if a name is no parameter of the model.
        """
        return cls({name: p.detach() != 0 for name, p in chosen(model, names).items()})

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> "Masks":
        """The masks that `state_dict` packed, on the CPU.

        Raises:
            ArtefactError: if an entry is missing, foreign, or does not fit its shape.
        """
        names = [key.removesuffix(".bits") for key in state if key.endswith(".bits")]
        expected = {f"{name}.{part}" for name in names for part in ("bits", "shape")}
        if not names or expected != set(state):
            raise ArtefactError(
                f"not a packed set of masks: expected a pair NAME.bits and NAME.shape for every parameter; unpaired or "
                f"foreign: {sorted(expected ^ set(state))}"
            )
        return cls({name: unpack(state[f"{name}.bits"], tuple(state[f"{name}.shape"].tolist())) for name in names})

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Masks):
            return NotImplemented
        return self._shapes() == other._shapes() and all(
            torch.equal(mask, other[name].to(mask.device)) for name, mask in self.items()
        )

    __hash__ = None  # type: ignore[assignment]  # equal by content; `hash()` gives the content hash

    def __repr__(self) -> str:
        return f"Masks({len(self)} tensors, {self.num_pruned} of {self.num_weights} weights pruned)"

    @property
    def num_weights(self) -> int:
        """Entries of all masks."""
        return sum(mask.numel() for mask in self.values())

    @property
    def num_kept(self) -> int:
        """Entries that are True."""
        return sum(kept for kept, _ in self.counts().values())

    @property
    def num_pruned(self) -> int:
        """Entries that are False."""
        return self.num_weights - self.num_kept

    @property
    def sparsity(self) -> float:
        """Fraction pruned of all masked weights, in [0, 1]; 0 if there are none."""
        return self.num_pruned / max(1, self.num_weights)

    @property
    def density(self) -> float:
        """Fraction kept: 1 - sparsity."""
        return 1 - self.sparsity

    def counts(self) -> dict[str, tuple[int, int]]:
        """Name -> (kept, total), exact."""
        return {name: (int(mask.count_nonzero()), mask.numel()) for name, mask in self.items()}

    def to(self, device: torch.device | str) -> "Masks":
        """The same masks on another device."""
        return Masks({name: mask.to(device) for name, mask in self.items()})

    def hash(self) -> str:
        """SHA-256 (hex) over names, shapes and packed bits: equal exactly if the masks are, on whatever device."""
        return content_hash(self)

    def state_dict(self) -> dict[str, Tensor]:
        """NAME.bits (uint8, eight entries a byte) and NAME.shape (int64) for every mask, on the CPU."""
        state: dict[str, Tensor] = {}
        for name, mask in self.items():
            state[f"{name}.bits"] = pack(mask)
            state[f"{name}.shape"] = torch.tensor(mask.shape, dtype=torch.int64)
        return state

    def is_subset_of(self, other: "Masks") -> bool:
        """Whether every weight kept here is kept in `other` too.

        Raises:
            InputError: if names or shapes differ.
        """
        self._require_same_shapes(other)
        return all(not bool((mask & ~other[name].to(mask.device)).any()) for name, mask in self.items())

    def intersection(self, other: "Masks") -> "Masks":
        """Keep what both keep.

        Raises:
            InputError: if names or shapes differ.
        """
        self._require_same_shapes(other)
        return Masks({name: mask & other[name].to(mask.device) for name, mask in self.items()})

    def apply_(self, model: nn.Module) -> None:
        """Set the pruned weights of the model to +0.0, in place; kept weights keep their bits.

        Raises:
            InputError: if a mask does not fit the model.
        """
        for binding in bind(model, self):
            binding.zero_(binding.parameter)

    def mask_gradients_(self, model: nn.Module) -> None:
        """Set the gradients of pruned weights to +0.0, in place, where there are gradients. Call before clipping.

        Raises:
            InputError: if a mask does not fit the model.
            RunError: if a gradient is sparse.
        """
        for binding in bind(model, self):
            binding.mask_gradient_()

    def clear_state_(self, optimizer: Optimizer, model: nn.Module) -> None:
        """Zero the pruned entries of every tensor in the optimizer's state that has its parameter's shape.

        Raises:
            InputError: if a mask does not fit the model.
        """
        clear_state_(bind(model, self), optimizer)

    def attach(self, model: nn.Module, *optimizers: Optimizer) -> "Attachment[Masks]":
        """Prune now, and keep the pruned weights at +0.0 after every step, until the attachment is removed.

        Nothing else is needed in the loop. Weights, existing gradients and optimizer state of pruned entries are zeroed
        at once. Attach after the model was moved, wrapped or sharded.

        Args:
            model: the model; DistributedDataParallel, fully_shard and torch.compile are seen through.
            optimizers: every optimizer that trains a masked parameter; usually one.

        Returns:
            A context manager with `.update(masks)` and `.remove()`.

        Raises:
            InputError: if no optimizer is given, a mask does not fit the model, no optimizer holds a masked parameter
                that requires a gradient, or other masks are still attached to a parameter.
        """
        if not optimizers:
            raise InputError("attach() needs the optimizer that trains the masked parameters: attach(model, optimizer)")
        return Attachment(model, optimizers, self)

    def violations(self, model: nn.Module) -> dict[str, int]:
        """Name -> how many pruned weights are not zero (NaN counts), for the parameters that have any.

        For sharded parameters the count is over all processes, and all of them must call.

        Raises:
            InputError: if a mask does not fit the model.
        """
        return {binding.name: count for binding in bind(model, self) if (count := revived(binding))}

    def check(self, model: nn.Module) -> None:
        """Raise unless every pruned weight is zero.

        Raises:
            InputError: if a mask does not fit the model.
            MaskViolationError: naming the parameters and how many of their pruned weights are not zero.
        """
        if found := self.violations(model):
            raise MaskViolationError(
                f"pruned weights are not zero: {found}. Something wrote to them outside an attached optimizer's step "
                "(load_state_dict, a merged adapter, an average with dense weights?). masks.apply_(model) zeroes them."
            )

    def _shapes(self) -> dict[str, torch.Size]:
        return {name: mask.shape for name, mask in self.items()}

    def _require_same_shapes(self, other: "Masks") -> None:
        if differing := dict(self._shapes().items() ^ other._shapes().items()):
            raise InputError(
                f"the two sets of masks differ in names or shapes at {sorted(differing)}; only masks of the same "
                "parameters can be compared"
            )


def chosen(model: nn.Module, names: Iterable[str] | None) -> dict[str, nn.Parameter]:
    """The named parameters, or all floating-point ones; a tied one under its first name only.

    Raises:
        InputError: if a name is no parameter of the model.
    """
    slots = {name: parameter for name, _, _, parameter in named_slots(model)}
    if names is None:
        first: dict[int, str] = {}
        for name, parameter in slots.items():
            first.setdefault(id(parameter), name)
        return {name: slots[name] for name in first.values() if slots[name].is_floating_point()}
    wanted = [bare_name(name) for name in names]
    if unknown := [name for name in wanted if name not in slots]:
        raise InputError(f"no parameters named {unknown}; the model has {list(slots)}")
    return {name: slots[name] for name in wanted}


def revived(binding: Binding) -> int:
    """How many pruned entries are not zero; for a sharded parameter, over all processes."""
    weight = binding.parameter.detach()
    mask = binding.mask.to(weight.device)
    if not is_sharded(weight):
        return int((weight.ne(0) & ~mask).sum())
    wrong = (weight.ne(0) & ~sharded_like(mask, weight)).sum()
    return int(wrong.full_tensor())  # type: ignore[attr-defined]  # a DTensor here
