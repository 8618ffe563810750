"""The commands that only print: methods, doctor, and what the command line says to unknown words."""

from pathlib import Path

from tests.test_cli import paretorch


def test_methods_lists_every_card_and_doctor_finds_what_is_required(tmp_path: Path) -> None:
    from paretorch.methods.catalogue import cards

    listed = paretorch("methods", cwd=tmp_path)
    assert listed.exit_code == 0, listed.output
    for name in cards():
        assert name in listed.stdout
    diagnosis = paretorch("doctor", cwd=tmp_path)
    assert diagnosis.exit_code == 0, diagnosis.output
    assert "Everything that is required is installed." in diagnosis.stdout


def test_unknown_commands_and_options_exit_2(tmp_path: Path) -> None:
    for arguments in (["fly"], ["run", "digits", "--fly"], ["run"], ["demo", "--quiet", "--verbose"]):
        result = paretorch(*arguments, cwd=tmp_path)
        assert result.exit_code == 2, arguments
        assert isinstance(result.exception, SystemExit)
