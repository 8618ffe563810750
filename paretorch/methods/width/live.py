"""Cuts the model of a training run between two steps, with the state of all its optimizers."""

from paretorch.methods.method import Run
from paretorch.methods.width.cutting import Cut


def cut_live_(run: Run, cut: Cut) -> None:
    """Make the cut in `run.model`, and slice every optimizer's state of the parameters that it changes.

    Raises:
        InputError: if the cut does not fit, or it is not known how to cut some state; nothing is then changed.
    """
    parts = cut.parameters(run.model)
    state = {
        name: part.slice_state(optimizer.state[part.old])
        for name, part in parts.items()
        for optimizer in run.optimizers.values()
        if part.old in optimizer.state
    }
    cut.resize_(run.model)  # first, because a distributed wrapper looks for buffers when parameters are replaced
    run.replace_parameters({name: part.new for name, part in parts.items()}, state)
