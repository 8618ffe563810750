"""What the integrations say where their extra is missing, and what they load where it is not."""

import subprocess
import sys

import pytest

BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
try:
    import paretorch.integrations.{module}
except ImportError as error:
    print(type(error).__name__, error)
"""


def printed(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("module", "blocked", "extra"), [("huggingface", "transformers", "hf"), ("lightning", "lightning", "lightning")]
)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(module, blocked, extra):
    message = printed(BLOCK.format(module=module, blocked=blocked))
    assert message == (
        f"ImportError paretorch.integrations.{module} needs {blocked}, which is not installed: "
        f'pip install "paretorch[{extra}]"'
    )


def test_a_module_that_is_missing_inside_the_extra_is_not_mistaken_for_the_extra():
    message = printed(BLOCK.format(module="huggingface", blocked="paretorch.artefacts.tree"))
    assert message == "ModuleNotFoundError No module named 'paretorch.artefacts.tree'"


def test_a_host_run_loads_neither_extra():
    code = "import sys, paretorch; paretorch.HostRun; print([m for m in {heavy} if m in sys.modules])"
    code = code.format(heavy=("transformers", "lightning", "scipy"))
    assert printed(code) == "[]"
