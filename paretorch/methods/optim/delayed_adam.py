"""Delayed Adam: the rate of each weight comes from yesterday's second moment, so it does not depend on the gradient.

    m_t = beta1 m_(t-1) + (1 - beta1) g_t
    w  := w - lr * m_t / (sqrt(v_(t-1)) + eps)
    v_t = beta2 v_(t-1) + (1 - beta2) g_t^2

Adam divides g_t by a root that holds g_t itself: a rare large gradient is scaled down more than the frequent small ones
that it should outweigh, so that for constant beta2 Adam need not converge even on convex problems (Reddi, Kale and
Kumar, ICLR 2018). Here the rate of g_t is fixed before g_t is drawn.

Source: Savarese, McAllester, Babu and Maire, CVPR 2021 (arXiv 1912.01823), algorithm 1, which is
`bias_correction=False`. Ours: the bias corrections (of m by 1 - beta1^t, of v_(t-1) by 1 - beta2^(t-1), as in the
authors' AvaGrad), decay, and `skip_first`, as there. Before the first step v is zero: that step is lr / eps times the
gradient, and `skip_first` leaves it out.
"""

from paretorch.methods.optim.base import DelayedOptimizer


class DelayedAdam(DelayedOptimizer):
    """Adam with the second moment of the step before; arguments as `DelayedOptimizer`."""
