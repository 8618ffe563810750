"""Validation shared by all tables of a recipe: nothing is converted, and an unknown key names the nearest known one."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from paretorch.errors import InputError

Table = TypeVar("Table", bound=BaseModel)

LARGEST = 1e30  # float32 ends at 3e38, and an optimizer divides its rate by the bias of its moments


def _in_float32(value: float) -> float:
    if value > LARGEST:
        raise ValueError(f"numbers above {LARGEST:g} do not fit float32")
    return value


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), AfterValidator(_in_float32)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_in_float32)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Sparsity = Annotated[float, Field(ge=0, lt=1)]


def _legible(name: str) -> str:
    if not name.strip():
        raise ValueError("a name needs a letter or a digit")
    if not name.isprintable():
        raise ValueError("a name holds a character that cannot be printed")
    return name


Name = Annotated[str, AfterValidator(_legible)]


class Strict(BaseModel):
    """A table that takes the keys it knows, with values of their own type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def validated(kind: type[Table], values: Mapping[str, Any], *, where: str) -> Table:
    """`values` as a table.

    Raises:
        InputError: beginning with `where`, one clause per problem.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        problems = [_problem(kind, detail) for detail in error.errors()]
        raise InputError(f"{where}: {'; '.join(problems)}") from error


def _problem(kind: type[BaseModel], detail: Mapping[str, Any]) -> str:
    location = [str(part) for part in detail["loc"]]
    name = ".".join(location)
    if detail["type"] == "extra_forbidden":
        table = kind
        for part in location[:-1]:
            annotation = table.model_fields[part].annotation
            kinds = [one for one in (annotation, *get_args(annotation)) if isinstance(one, type)]  # X, or X | None
            table = next((one for one in kinds if issubclass(one, BaseModel)), table)
        return f"unknown key {name!r}; {nearest(location[-1], list(table.model_fields), what='known keys')}"
    if detail["type"] == "missing":
        return f"{name} is missing"
    if detail["type"] == "model_type":
        return f"{name} must be one table, written as [{name}]"
    if name in ("arm", "dense_arm") and detail["type"] == "list_type":
        return f"arms are a list of tables, each written as [[{name}]] with double brackets"
    return f"{name} = {detail.get('input')!r}: {detail['msg'].removeprefix('Value error, ')}"


def nearest(name: str, known: Sequence[str], *, what: str = "known names") -> str:
    """A clause that helps someone who mistyped a name."""
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"{what} are {', '.join(known)}"
