"""All methods that an `[[arm]]` can name, and its grid: lists in a table expand into one arm per combination."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from paretorch.errors import InputError
from paretorch.pipelines.arm import Arm
from paretorch.recipes.arm_table import ArmTable
from paretorch.recipes.bimp_table import BimpTable
from paretorch.recipes.cut_table import CutTable
from paretorch.recipes.elastic_table import DpodTable, ElasticTable
from paretorch.recipes.from_scratch_table import FromScratchTable
from paretorch.recipes.gradual_table import (
    ContinuousTable,
    DnwTable,
    DpfTable,
    DstTable,
    GmpTable,
    GsmTable,
    LcTable,
    RiglTable,
    SoftThresholdTable,
)
from paretorch.recipes.imp_table import ImpTable
from paretorch.recipes.reprune_table import ReprunedTable
from paretorch.recipes.shared_table import SharedTable
from paretorch.recipes.sms_table import SmsTable
from paretorch.recipes.strict import nearest, validated
from paretorch.recipes.structured_table import StructuredTable
from paretorch.recipes.ticket_table import TicketTable

METHODS: dict[str, type[ArmTable]] = {
    "imp": ImpTable,
    "cut": CutTable,
    "elastic": ElasticTable,
    "dpod": DpodTable,
    "structured-cs": StructuredTable,
    "bimp": BimpTable,
    "sms": SmsTable,
    "reprune": ReprunedTable,
    "gmp": GmpTable,
    "gsm": GsmTable,
    "lc": LcTable,
    "dpf": DpfTable,
    "dnw": DnwTable,
    "soft-threshold": SoftThresholdTable,
    "dst": DstTable,
    "rigl": RiglTable,
    "continuous-sparsification": ContinuousTable,
    "ticket-search": TicketTable,
    "train": FromScratchTable,
    "share": SharedTable,
}


def expand(tables: Sequence[Mapping[str, Any]]) -> list[Arm]:
    """The arms of all grid points of all `[[arm]]` tables, in order.

    Raises:
        InputError: for an invalid point, the same point twice, or two points that reports could not tell apart.
    """
    placed = [(arm_at(point, where), where) for point, where in grid(tables)]
    arms = [arm for arm, _ in placed]
    seen: dict[str, tuple[Arm, str]] = {}
    for arm, where in placed:
        other, before = seen.setdefault(arm.label, (arm, where))
        if other is arm:
            continue
        places = where if before == where else f"{before} and {where}"
        differ = "" if other.id == arm.id else ", with settings that its name does not tell apart"
        raise InputError(f"{places}: the arm {arm.label!r} appears twice in the recipe{differ}; remove one")
    folders: dict[str, Arm] = {}
    for arm in arms:
        if (other := folders.setdefault(arm.id, arm)) is not arm:
            raise InputError(
                f"the arms {other.label!r} and {arm.label!r} differ only in the order of a table's keys and would "
                "share a folder; give each its own `name`, or remove one"
            )
    compressions = [arm.compression for arm in arms]
    return [replace(arm, compression=arm.compression.among(compressions)) for arm in arms]


def grid(tables: Sequence[Mapping[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    """Every combination of the lists in each table, and where it stands; lists by nature are left alone.

    Raises:
        InputError: for an empty list, or a method that is not known.
    """
    found = []
    for number, table in enumerate(tables):
        where = f"[[arm]] number {number + 1}"
        lists = table_of(table, where).list_keys()
        if empty := [key for key, value in table.items() if value == [] and key not in lists]:
            raise InputError(f"{where}: {empty[0]} = [] leaves no arm; give at least one value, or remove the table")
        axes = [value if isinstance(value, list) and key not in lists else [value] for key, value in table.items()]
        found += [(dict(zip(table, values, strict=True)), where) for values in itertools.product(*axes)]
    return found


def arm_at(point: Mapping[str, Any], where: str) -> Arm:
    """The arm of one grid point.

    Raises:
        InputError: beginning with `where`.
    """
    table = validated(table_of(point, where), point, where=where)
    try:
        return table.arm()
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def table_of(point: Mapping[str, Any], where: str) -> type[ArmTable]:
    """The table of the method that an `[[arm]]` names; "imp" if it names none.

    Raises:
        InputError: for a method that is not known; beginning with `where`.
    """
    method = point.get("method", "imp")
    if not isinstance(method, str):
        raise InputError(f"{where}: method = {method!r} must be one name; give each method an [[arm]] of its own")
    if method not in METHODS:
        raise InputError(f"{where}: method = {method!r} is unknown; {nearest(method, list(METHODS), what='methods')}")
    return METHODS[method]
