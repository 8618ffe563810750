"""The elementwise work of one step in two ways, over lists of tensors and in blocks, the same up to rounding.

    eta = c / (sqrt(v) + eps c)                 the rates, of v before the step
    m := beta1 m + (1 - beta1) g
    w := w - lr / (1 - beta1^t) * gamma eta * m
    v := beta2 v + (1 - beta2) g^2

Lists go through torch's foreach operations, which on a GPU take one launch for many tensors. On a CPU time is memory
traffic: a block of all four tensors stays in the cores' own caches from the first operation to the last, so that each
number is read and written once, and the sum for gamma reads v once more. Of long float32 lists on a CPU torch's norm,
and with it gamma, is exact to about 1e-3 only.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from paretorch.methods.optim.factors import Factors, Numbers, exact

CPU_BLOCK = 1 << 17  # entries per thread: 512 KiB of each of five float32 tensors
FULL = (torch.float32, torch.float64)


class Bucket(NamedTuple):
    """Tensors of one group, device and type. shares: 1 over the number of processes that hold the same entries."""

    params: list[Tensor]
    grads: list[Tensor]
    firsts: list[Tensor]
    seconds: list[Tensor]
    shares: list[float]


class ListPass:
    """One step over lists of tensors.

    Args:
        bucket: what is read and changed.
        factors: of this step.
        group: a group of parameters of `DelayedOptimizer`.
    """

    def __init__(self, bucket: Bucket, factors: Factors, group: Mapping[str, Any]) -> None:
        self.bucket, self.factors, self.group = bucket, factors, group
        self.active = group.get("norm_over") == "active"
        self._kept: list[Tensor] | None = None
        self._signs: list[Tensor] = []

    def sums(self) -> Tensor:
        """Sum of the squared rates and number of entries, as two numbers in one tensor; of v > 0 alone if asked for."""
        bucket, factors = self.bucket, self.factors
        rates = self._reciprocals(factors.sum_shift)
        count: Tensor | float = float(
            sum(p.numel() * part for p, part in zip(bucket.params, bucket.shares, strict=True))
        )
        if self.active:
            self._signs = list(torch._foreach_sign(self._wide()))
            torch._foreach_mul_(rates, self._signs)
            counts = list(torch._foreach_norm(self._signs, 1))
            torch._foreach_mul_(counts, bucket.shares)
            count = torch.stack(counts).sum()
        norms = list(torch._foreach_norm(rates))
        torch._foreach_mul_(norms, factors.sum_correction)
        squares = list(torch._foreach_mul(norms, norms))
        torch._foreach_mul_(squares, bucket.shares)
        total = torch.stack(squares)
        total = total.to(exact(total.device)).sum()
        if self.group["gamma_mode"] == "fresh":  # the same rates move the weights
            self._kept = rates
        return torch.stack([total, torch.as_tensor(count, dtype=total.dtype, device=total.device)])

    def update(self, gamma: Tensor | None) -> None:
        """Move the weights by rates times `gamma`, None standing for 1, and renew the moments."""
        (params, grads, firsts, seconds, _), factors, group = self.bucket, self.factors, self.group
        (beta1, beta2), decay = group["betas"], group["weight_decay"]
        rates = self._reciprocals(factors.shift) if self._kept is None else self._kept
        if decay and group["decoupled"]:
            torch._foreach_mul_(params, factors.keep)
        elif decay:
            grads = list(torch._foreach_add(grads, params, alpha=decay))
        torch._foreach_lerp_(firsts, grads, 1 - beta1)
        if gamma is not None:
            torch._foreach_mul_(rates, gamma.to(rates[0]))  # of their type: one launch on a GPU
        if self.active or group["capturable"]:
            torch._foreach_mul_(rates, factors.correction)
        if self.active:  # rates of v = 0 are 0 here and become 1
            torch._foreach_sub_(self._signs, 1.0)
            torch._foreach_sub_(rates, self._signs)
        self._move(params, firsts, rates)
        torch._foreach_mul_(seconds, beta2)
        torch._foreach_addcmul_(seconds, grads, grads, 1 - beta2)

    def _move(self, params: list[Tensor], firsts: list[Tensor], rates: list[Tensor]) -> None:
        move, correction = self.factors.move, self.factors.correction
        if self.group["capturable"]:
            torch._foreach_mul_(rates, move)
            torch._foreach_addcmul_(params, firsts, rates)
            return
        numbers = move if self.active else [one * other for one, other in zip(move, correction, strict=True)]
        torch._foreach_addcmul_(params, firsts, rates, numbers)

    def _reciprocals(self, shift: Numbers) -> list[Tensor]:
        """1 / (sqrt(v) + shift)."""
        roots = list(torch._foreach_sqrt(self._wide()))
        torch._foreach_add_(roots, shift)
        torch._foreach_reciprocal_(roots)
        return roots

    def _wide(self) -> list[Tensor]:
        """v, in float32 where the tensors are narrower: float16 can neither hold the rates nor count to 70 000."""
        seconds = self.bucket.seconds
        return seconds if seconds[0].dtype in FULL else [v.float() for v in seconds]


class BlockPass:
    """The same in blocks, for tensors whose layouts allow it (`blockable`); arguments as for `ListPass`."""

    def __init__(self, bucket: Bucket, factors: Factors, group: Mapping[str, Any]) -> None:
        self.bucket, self.factors, self.group = bucket, factors, group
        self.active = group.get("norm_over") == "active"
        like = bucket.params[0]
        longest = max(p.numel() for p in bucket.params)
        self.size = CPU_BLOCK * torch.get_num_threads() if like.device.type == "cpu" else max(1, longest)
        dtype = like.dtype if like.dtype in FULL else torch.float32
        self._scratch = torch.empty(min(self.size, longest), dtype=dtype, device=like.device)

    def sums(self) -> Tensor:
        """As `ListPass.sums`."""
        bucket, factors, place = self.bucket, self.factors, self._scratch.device
        total, count = 0.0, 0.0
        for p, second, share, c, shift in zip(
            bucket.params, bucket.seconds, bucket.shares, factors.sum_correction, factors.sum_shift, strict=True
        ):
            for (v,) in self._blocks(p, second):
                rates = self._root(v).add_(shift).reciprocal_()
                if self.active:
                    rates.masked_fill_(v == 0, 0.0)
                    count += share * float(torch.count_nonzero(v))
                total += share * c * c * float(torch.dot(rates, rates))
            count += 0.0 if self.active else share * p.numel()
        return torch.tensor([total, count], dtype=exact(place), device=place)

    def update(self, gamma: Tensor | None) -> None:
        """As `ListPass.update`."""
        scale = 1.0 if gamma is None else float(gamma)
        lists = (*self.bucket[:4], self.factors.keep, self.factors.move, self.factors.correction, self.factors.shift)
        for p, g, m, v, keep, move, c, shift in zip(*lists, strict=True):
            for block in self._blocks(p, p, g, m, v):
                self._update_block(*block, keep=keep, move=move, rate=scale * c, shift=shift)

    def _update_block(
        self, w: Tensor, g: Tensor, m: Tensor, v: Tensor, *, keep: float, move: float, rate: float, shift: float
    ) -> None:
        (beta1, beta2), decay = self.group["betas"], self.group["weight_decay"]
        if decay and self.group["decoupled"]:
            w.mul_(keep)
        elif decay:
            g = torch.add(g, w, alpha=decay)
        m.lerp_(g, 1 - beta1)
        roots = self._root(v).add_(shift)
        if self.active:
            rates = roots.reciprocal_().mul_(rate).masked_fill_(v == 0, 1.0)
            w.addcmul_(m, rates, value=move)
        else:
            w.addcdiv_(m, roots, value=move * rate)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)

    def _root(self, v: Tensor) -> Tensor:
        """sqrt(v) in the scratch memory."""
        scratch = self._scratch[: v.numel()]
        return torch.sqrt(v, out=scratch) if v.dtype == scratch.dtype else scratch.copy_(v).sqrt_()

    def _blocks(self, like: Tensor, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """The same entries of all tensors, block after block, in the order in which `like` lies in memory."""
        return zip(*(_flat(tensor, like).split(self.size) for tensor in tensors), strict=True)


def blockable(param: Tensor, first: Tensor, second: Tensor) -> bool:
    """Whether the entries of all three lie in memory in the same order and without gaps."""
    if param.stride() != first.stride() or param.stride() != second.stride():
        return False
    return param.is_contiguous() or param.permute(_order(param)).is_contiguous()


def _order(tensor: Tensor) -> list[int]:
    """Its axes from the slowest to the fastest in memory."""
    return sorted(range(tensor.dim()), key=tensor.stride, reverse=True)


def _flat(tensor: Tensor, like: Tensor) -> Tensor:
    """One axis; a view for what is laid out as `like`, which for gradients need not be so."""
    return tensor.reshape(-1) if like.is_contiguous() else tensor.permute(_order(like)).reshape(-1)
