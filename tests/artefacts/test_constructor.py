"""Names in a manifest are followed only where that cannot run somebody else's code unasked."""

import functools
import sys
from pathlib import Path

import pytest
from torch import nn

from paretorch.artefacts.constructor import find_constructor, reference_of
from paretorch.errors import ArtefactError, InputError
from paretorch.training.models.cnn import SmallCNN
from paretorch.training.models.mlp import mlp


class Outer:
    class Inner(nn.Module):
        pass


def test_a_class_or_function_is_named_by_module_and_qualname_and_found_by_it() -> None:
    assert reference_of(SmallCNN) == "paretorch.training.models.cnn:SmallCNN"
    assert reference_of(Outer.Inner) == f"{__name__}:Outer.Inner"
    assert reference_of("a.b:C.d") == "a.b:C.d"
    assert find_constructor(reference_of(SmallCNN), allow_import=False) is SmallCNN
    assert find_constructor(reference_of(mlp), allow_import=False) is mlp
    assert find_constructor(reference_of(Outer.Inner), allow_import=True) is Outer.Inner


@pytest.mark.parametrize(
    "constructor", [lambda: nn.Linear(1, 1), functools.partial(mlp, sizes=(1, 1)), nn.Linear(1, 1), 3]
)
def test_what_has_no_name_of_its_own_is_refused(constructor: object) -> None:
    with pytest.raises(InputError, match="cannot be named"):
        reference_of(constructor)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "a", "a.b", "a:", ":b", "a b:c", "a:b:c", "a/b:c", "a..b:c"])
def test_a_text_must_have_the_form_of_a_reference(text: str) -> None:
    with pytest.raises(InputError, match="not of the form"):
        reference_of(text)


def test_a_module_from_elsewhere_is_not_imported_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stranger.py").write_text("from torch.nn import Linear as build\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ArtefactError, match="built by stranger:build, which is not part of paretorch"):
        find_constructor("stranger:build", allow_import=False)
    assert "stranger" not in sys.modules
    assert find_constructor("stranger:build", allow_import=True) is nn.Linear
    monkeypatch.delitem(sys.modules, "stranger")


@pytest.mark.parametrize(
    "reference",
    [
        "paretorch.training.models.mlp:pairwise",  # defined elsewhere
        "paretorch.training.models.mlp:nn.Linear",  # leads out of the package
        "paretorch.measurement.inputs:as_inputs",  # makes no model
        "paretorch.measurement.inputs:ExampleInputs",
        "paretorch.errors:InputError",
    ],
)
def test_what_is_no_model_builder_of_the_package_is_not_called(reference: str) -> None:
    with pytest.raises(ArtefactError, match="it is not called"):
        find_constructor(reference, allow_import=False)


@pytest.mark.parametrize("reference", ["paretorch.artefacts.model:load_model", "paretorchx:y", "paretorch:load_model"])
def test_functions_that_read_files_and_lookalikes_are_not_trusted(reference: str) -> None:
    with pytest.raises(ArtefactError, match="nothing else is imported unasked"):
        find_constructor(reference, allow_import=False)


@pytest.mark.parametrize("reference", ["paretorch.nothing:x", "paretorch.training.models.mlp:nothing", "nowhere:x"])
def test_a_name_that_leads_nowhere_is_refused(reference: str) -> None:
    with pytest.raises(ArtefactError, match="cannot be found"):
        find_constructor(reference, allow_import=True)
