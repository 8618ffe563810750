"""The benchmark of continuous sparsification runs at toy size: equal costs are equal, and zeros are exact."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from paretorch.methods.schedules import DenseSchedule


@pytest.mark.slow
def test_all_arms_cost_the_same_and_the_page_shows_them(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, problem = load("_cs_words"), load("_cs_problem").DIGITS
    monkeypatch.setattr(load("_harness"), "RESULTS", tmp_path)
    arguments = ["--data", str(tmp_path), "--work", str(tmp_path / "work"), "--quick"]
    monkeypatch.setattr(sys, "argv", ["continuous_sparsification.py", *arguments])
    load("continuous_sparsification").main()
    result = load("_result").load_all(tmp_path)["continuous_sparsification.cpu"]
    own, whole = result.figures["digits"], int(problem.epochs) * 23 * problem.batch_size
    for arm in (*words.ARMS, *words.TICKET_ARMS):
        times = {words.SEARCH_SHORT: 0.5, words.EQUAL_TIME: 1.5}.get(arm, 1)
        assert own[f"{arm}, training samples"] == times * whole, arm
        assert own[f"{arm}, 0.8"]["n"] == 3, arm
    assert own["0.8, zeros"] == round(0.8 * own["weights"]) == round(0.8 * 1184)
    assert own["CS, fixed temperature, 0.8, undecided"]["mean"] > own["CS, 0.8, undecided"]["mean"]
    page = load("_page").page(load("_result").load_all(tmp_path))
    assert "| digits | 80 % |" in page
    assert "| digits | search, 3 rounds | 4,600 |" in page
    monkeypatch.setattr(sys, "argv", ["continuous_sparsification.py", *arguments, "--write-only"])
    load("continuous_sparsification").main()
    assert load("_page").page(load("_result").load_all(tmp_path)) == page


def test_imp_with_rewinding_trains_its_ticket_from_the_weights_of_the_rewind_point(load: Any, tmp_path: Path) -> None:
    """One pruning, by hand: train, take the smallest away, go back, train with the zeros in force."""
    tickets, problem = load("_cs_tickets"), load("_cs_problem").DIGITS
    ticket = tickets.Ticket(rounds=1, searched=False)
    trainer = problem.trainer(tmp_path, tmp_path, 0)
    done = tickets.ticket_arm(problem, trainer, ticket, 0.8, {})
    masks = done.edits[0].masks
    schedule = problem.schedule(trainer)
    rates = DenseSchedule.of(schedule).trace
    half = len(rates) // 2
    early, late = trainer.model(), trainer.model()
    for model, steps in ((early, trainer.num_steps(0.05 * problem.epochs)), (late, half)):
        if steps:
            trainer.fit(model, phase="train-0", num_steps=steps, schedule=lambda step: rates[2 * step])
    magnitudes = torch.cat([late.get_parameter(name).detach().abs().flatten() for name in masks])
    threshold = magnitudes.sort().values[round(0.8 * len(magnitudes)) - 1]
    with torch.no_grad():
        for name in masks:
            kept = late.get_parameter(name).abs() > threshold
            assert torch.equal(kept, masks[name]), name
            early.get_parameter(name).mul_(kept)
    tickets.train_phase(
        trainer,
        early,
        tickets.Phase(
            name="train-1",
            num_steps=half,
            schedule=lambda step: rates[2 * step],
            methods=[tickets.MaskEnforcement(masks)],
        ),
        details={},
    )
    for name, value in done.model.state_dict().items():
        assert torch.equal(value, early.state_dict()[name]), name
