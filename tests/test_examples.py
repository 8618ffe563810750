"""Every example runs as a user would run it, from another folder, and what it prints at the end is true."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
MAX_LINES = 60


def output_of(name: str, folder: Path) -> str:
    """What the example prints; warnings of ours are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error:::paretorch", EXAMPLES / f"{name}.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(folder.iterdir()) == [], "an example leaves no file behind"
    return done.stdout


def require(extra: str, module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"needs the {extra} extra")


def test_own_model_is_pruned_saved_and_loaded_at_a_tenth_of_the_weights_without_much_loss(tmp_path):
    printed = output_of("01_own_model", tmp_path)
    rows = {name: [float(number) for number in numbers] for name, *numbers in map(str.split, printed.splitlines()[1:4])}
    dense, pruned, loaded = rows["dense"], rows["pruned"], rows["loaded"]
    assert pruned == loaded
    assert dense[:4] == [19716, 19716, 19456, 19456]
    assert pruned[1] <= dense[1] - round(0.9 * 19456)
    assert pruned[3] == 19456 - 17510
    assert pruned[4] > dense[4] - 0.05
    assert "17510 of 19456 prunable weights are exactly zero" in printed


def test_raw_loop_retrains_what_pruning_damaged_and_its_pruning_takes_ten_lines(tmp_path):
    printed = output_of("02_raw_loop", tmp_path)
    rows = [[float(word.rstrip("%")) for word in line.split()] for line in printed.splitlines()[2:5]]
    assert [row[0] for row in rows] == [60, 80, 90]
    assert all(0 < peak < 0.2 for _, peak, _, _ in rows)  # ALLR takes less than the dense peak
    assert all(retrained > pruned for _, _, pruned, retrained in rows)
    assert "17510 of 19456 weights are exactly zero" in printed
    marked = [line for line in (EXAMPLES / "02_raw_loop.py").read_text("utf-8").splitlines() if line.endswith("  #")]
    assert len(marked) <= 10


@pytest.mark.slow
def test_hugging_face_keeps_the_zeros_in_its_files_and_the_schedule_in_its_log(tmp_path):
    require("hf", "transformers")
    printed = output_of("03_huggingface", tmp_path)
    assert "13107 of 16384 encoder weights are exactly zero after save_model and from_pretrained" in printed
    assert "Learning rates of steps [8, 16, 24] are the schedule's own: True" in printed
    weights, nonzeros = map(int, re.search(r"(\d+) weights, (\d+) of them not zero", printed).groups())
    assert nonzeros <= weights - 13107


@pytest.mark.slow
def test_lightning_keeps_the_zeros_and_the_schedule(tmp_path):
    require("lightning", "lightning")
    printed = output_of("04_lightning", tmp_path)
    assert "17510 of 19456 weights are exactly zero" in printed
    assert "Learning rates: 192 steps, the schedule's own: True" in printed


def test_own_method_does_the_same_in_trainer_and_plain_loop(tmp_path):
    printed = output_of("05_own_method", tmp_path)
    rows = dict(line.split(": ") for line in printed.splitlines())
    assert list(rows) == ["our trainer", "plain loop"]
    for row in rows.values():
        assert "1382 of 1536 weights pruned" in row
        assert float(row.split()[-1]) > 0.75  # four classes


def test_masks_per_layer_spread_the_same_count_in_different_ways(tmp_path):
    lines = output_of("06_masks_per_layer", tmp_path).splitlines()
    kept = {line[:12].strip(): [float(word) for word in line[12:].split()] for line in lines[1:8]}
    total = [int(word) for word in lines[8][12:].split()]
    same = [kept[way] for way in ("global", "uniform", "erk", "lamp")]
    assert all(sum(row[:4]) == row[4] == total[4] - round(0.8 * total[4]) for row in same)
    assert len({tuple(row[:4]) for row in same}) == 4
    assert kept["own"][:4] == [288, 4608 - round(0.82 * 4608), 32768 - round(0.82 * 32768), 512 - round(0.2 * 512)]
    assert kept["2:4"][:4] == [count / 2 for count in total[:4]]
    assert kept["keep last"][3] == 512
    assert lines[-1].endswith("True")


def test_every_example_has_its_number_its_test_and_few_lines():
    names = sorted(path.stem for path in EXAMPLES.glob("*.py"))
    assert [name[:3] for name in names] == [f"{number:02}_" for number in range(1, len(names) + 1)]
    tests = Path(__file__).read_text("utf-8")
    assert [name for name in names if f'output_of("{name}"' not in tests] == []
    lengths = {name: len((EXAMPLES / f"{name}.py").read_text("utf-8").splitlines()) for name in names}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}
