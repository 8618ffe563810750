"""`paretorch methods` and `paretorch doctor`: what ships, and what this machine has."""

from paretorch.errors import RunError


def methods() -> None:
    """List every method that ships, with what it changes and the condition under which it pays."""
    from rich.console import Console
    from rich.table import Table

    from paretorch.methods.catalogue import cards

    table = Table("id", "what it does", "changes", "becomes time or bytes when")
    for card in cards().values():
        table.add_row(card.id, card.summary, ", ".join(f"{c}: {a}" for c, a in card.cells), card.realised_by)
    Console().print(table)


def doctor() -> None:
    """Print versions, devices and which optional features are installed; exit 1 if something required is missing."""
    from rich.console import Console
    from rich.table import Table

    from paretorch.measurement.environment import environment
    from paretorch.measurement.installation import extras, required

    console = Console()
    table = Table("what", "found", title="This machine", title_justify="left")
    for name, value in environment().items():
        table.add_row(name, str(value))
    console.print(table)
    table = Table("package", "installed", "needed by", title="Packages", title_justify="left")
    for package in (*required(), *extras()):
        found = package.version or ("missing" if package.extra is None else "not installed")
        needed = "paretorch" if package.extra is None else f"extra {package.extra!r}"
        table.add_row(package.name, found, needed)
    console.print(table)
    if missing := [package.name for package in required() if package.version is None]:
        raise RunError(f"required packages are missing: {', '.join(missing)}; run: pip install --upgrade paretorch")
    console.print("Everything that is required is installed.")
