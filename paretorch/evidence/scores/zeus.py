"""Zeus' cost of reaching a target: energy and time in one number, in joules.

    cost = eta * E + (1 - eta) * P_max * T

E and T are energy and time to the target; P_max * T is what the device would have used at its power limit, so that both
terms are joules. eta = 1 counts energy only, eta = 0 time only; the user declares it.

Source: You, Chung, Chowdhury, "Zeus: understanding and optimizing GPU energy consumption of DNN training" (NSDI 2023).
"""

import math

from paretorch.errors import InputError


def zeus_cost(energy_j: float, seconds: float, *, eta: float, max_power_w: float) -> float:
    """Cost in joules; infinite if the target was missed.

    Args:
        energy_j: energy to the target, of the same devices as `max_power_w`; infinite for a miss.
        seconds: time to the target; infinite for a miss.
        eta: weight of energy in [0, 1].
        max_power_w: power limit of the devices in watts, summed over them.

    Raises:
        InputError: eta outside [0, 1], a power that is not positive and finite, an energy or time that is negative or
            NaN, or only one of the two infinite.
    """
    if not 0 <= eta <= 1:
        raise InputError(f"eta weighs energy against time and lies in [0, 1], got {eta}")
    if not 0 < max_power_w < math.inf:
        raise InputError(f"max_power_w must be the power limit in watts, positive and finite, got {max_power_w}")
    if not (energy_j >= 0 and seconds >= 0) or math.isinf(energy_j) != math.isinf(seconds):
        raise InputError(
            f"energy and time to the target must be at least 0, both infinite for a miss, got {energy_j} J, {seconds} s"
        )
    if math.isinf(seconds):
        return math.inf
    return eta * energy_j + (1 - eta) * max_power_w * seconds
