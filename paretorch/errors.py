"""The exceptions of Paretorch: one paragraph each, saying what was wrong, where, what was expected and what to do.

The command line prints the message without a traceback: exit code 2 for `InputError`, 1 for `RunError`.
"""


class ParetorchError(Exception):
    """Base of every error that Paretorch raises on purpose."""


class InputError(ParetorchError, ValueError):
    """What the user gave cannot be worked with; raised before work starts."""


class RunError(ParetorchError, RuntimeError):
    """Work had begun and could not go on; what was written before is intact."""


class MaskViolationError(RunError):
    """A weight that a mask prunes is not zero."""


class NotFiniteError(RunError):
    """A loss, a penalty or a weight became NaN or infinite."""


class ArtefactError(InputError):
    """A stored file is foreign, damaged, or was changed after it was written."""


class NotComparableError(InputError):
    """Two results differ in more than the thing that is compared."""


class NoEffectWarning(UserWarning):
    """A method was asked for and changed nothing."""
