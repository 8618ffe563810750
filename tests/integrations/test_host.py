"""Methods in a raw loop through HostRun: order of hooks, equality with attach and with our trainer, state, refusals."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import paretorch as pt
from paretorch.errors import InputError, MaskViolationError
from paretorch.integrations.host import HostRun, checked_methods
from paretorch.training.sampler import ShuffledEpochs
from paretorch.training.seeding import stream_seed
from paretorch.training.settings import TrainSettings

from .training import (
    BATCH,
    CLIP_NORM,
    STEPS,
    MovingMasks,
    Recorder,
    SignGradients,
    assert_exact_zeros,
    assert_same_weights,
    examples,
    host_run,
    masks_for,
    network,
    optimizer_for,
    raw_loop,
    schedule_for,
)


def run_for(model: nn.Module, *methods: pt.Method, **options) -> HostRun:
    options = {"num_steps": 4, **options}
    return HostRun(model, optimizer_for("sgd", model), methods=methods, **options)


def step(run: HostRun, seed: int = 0) -> None:
    inputs, targets = examples()
    run.before_forward()
    F.cross_entropy(run.model(inputs[seed * 8 : seed * 8 + 8]), targets[seed * 8 : seed * 8 + 8]).backward()
    run.update()


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_masks_through_a_host_run_give_bitwise_the_weights_of_attached_masks(kind):
    raw = raw_loop(kind)
    model = host_run(kind, [pt.MaskEnforcement(masks_for(network()))])
    assert_same_weights(raw.model, model)
    assert_exact_zeros(model, raw.masks)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_our_trainer_gives_bitwise_the_weights_of_the_raw_loop(kind):
    inputs, targets = examples()
    seed = stream_seed(0, "retrain")  # the trainer draws its order from the phase's own stream
    sampler = ShuffledEpochs(len(inputs), batch_size=BATCH, seed=seed)
    order = torch.cat([sampler.batch(step) for step in range(STEPS)])
    place = order.argsort()  # so that the trainer's shuffled order is the order of the raw loop
    train, others = (inputs[place], targets[place]), (inputs, targets)
    task = pt.SupervisedTask(network, train=train, evaluation=others, test=others)
    settings = TrainSettings(
        batch_size=BATCH,
        optimizer=lambda parameters: optimizer_for(kind, nn.ParameterList(parameters)),
        clip_norm=CLIP_NORM,
        device="cpu",
    )
    model = network()
    masks = masks_for(model)
    pt.Trainer(task, settings).fit(
        model, phase="retrain", num_steps=STEPS, schedule=schedule_for(kind), methods=[pt.MaskEnforcement(masks)]
    )
    raw = raw_loop(kind)
    assert masks.hash() == raw.masks.hash()
    assert_same_weights(raw.model, model)
    assert_exact_zeros(model, masks)


def test_hooks_come_in_the_order_of_our_trainer_with_its_counters():
    recorder = Recorder()
    with run_for(network(), recorder, num_steps=5, steps_per_epoch=2) as run:
        for _ in range(5):
            step(run)
    assert recorder.seen == Recorder.expected(5, 2)
    assert recorder.totals == (5, 2)


def test_without_steps_per_epoch_the_run_is_one_epoch():
    recorder = Recorder()
    with run_for(network(), recorder, num_steps=3) as run:
        for _ in range(3):
            step(run)
    assert recorder.seen == Recorder.expected(3, 3)


def test_gradients_are_clipped_after_the_methods_changed_them():
    model = network()
    norms = []
    with run_for(model, SignGradients(), clip_norm=0.5) as run:
        run.optimizer.register_step_pre_hook(
            lambda *_: norms.append(float(nn.utils.get_total_norm([p.grad for p in model.parameters()])))
        )
        step(run)
    assert norms == pytest.approx([0.5], rel=1e-4)


def fail_in(run: HostRun) -> None:
    with run:
        step(run)
        run.update("head")


def test_after_an_error_nothing_is_finished_and_no_hook_is_left():
    model = network()
    recorder = Recorder()
    run = run_for(model, recorder)
    with pytest.raises(InputError, match="no optimizer 'head'"):
        fail_in(run)
    assert "finish" not in [hook for hook, _, _ in recorder.seen]
    count = len(recorder.seen)
    run.optimizer.step()
    assert len(recorder.seen) == count


def test_in_a_loop_that_clips_first_masked_gradients_never_enter_the_norm():
    model = network()
    masks = masks_for(model)
    enforcement = pt.MaskEnforcement(masks)
    run = run_for(model, enforcement, clips_before_update=True)
    run.start()
    inputs, targets = examples()
    for _ in range(2):  # micro-batches: the mask acts on what was accumulated
        F.cross_entropy(model(inputs[:8]), targets[:8]).backward()
        assert all(not model.get_parameter(name).grad[~mask].any() for name, mask in masks.items())
    other = pt.Masks({name: ~mask for name, mask in masks.items()})
    enforcement.update(run, other)
    model.zero_grad()
    F.cross_entropy(model(inputs[:8]), targets[:8]).backward()
    assert all(not model.get_parameter(name).grad[mask].any() for name, mask in masks.items())
    assert any(model.get_parameter(name).grad[~mask].any() for name, mask in masks.items())
    run.close()
    model.zero_grad()
    F.cross_entropy(model(inputs[:8]), targets[:8]).backward()
    assert any(model.get_parameter(name).grad[mask].any() for name, mask in masks.items())
    masks.attach(model, run.optimizer).remove()  # nothing is in its way


def test_finish_refuses_a_model_whose_zeros_were_written_over():
    model = network()
    run = run_for(model, pt.MaskEnforcement(masks_for(model)))
    run.start()
    step(run)
    with torch.no_grad():
        model[4].weight.add_(1)
    with pytest.raises(MaskViolationError, match="pruned weights are not zero"):
        run.finish()


def test_a_resumed_run_keeps_weights_that_only_the_saved_masks_keep():
    model = network()
    first = masks_for(model)
    then = pt.Masks({name: mask.roll(1, -1) for name, mask in first.items()})
    run = run_for(model, MovingMasks(first, then=then, at=1))
    run.start()
    for number in range(3):
        step(run, number)
    saved = run.state_dict()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    momenta = [state["momentum_buffer"].clone() for state in run.optimizer.state.values()]
    run.close()

    resumed = HostRun(
        model, run.optimizer, methods=[MovingMasks(first, then=then, at=1)], num_steps=4, steps_per_epoch=2
    )
    resumed.start(saved)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    after = [state["momentum_buffer"] for state in run.optimizer.state.values()]
    assert all(torch.equal(one, other) for one, other in zip(momenta, after, strict=True))
    assert (resumed.step, resumed.epoch) == (3, 1)
    assert resumed.methods[0].masks == then
    step(resumed, 3)
    then.check(model)


def test_a_state_of_other_methods_is_refused():
    run = run_for(network(), Recorder())
    with pytest.raises(InputError, match=r"with the methods \['masks'\]; this run has \['recorder'\]"):
        run.start({"step": 1, "methods": {"masks": {}}})


def test_replaced_parameters_stand_in_model_and_optimizer():
    model = network()
    run = run_for(model, Recorder())
    run.start()
    step(run)
    old, new = model[6].weight, nn.Parameter(torch.zeros(4, 20))
    run.replace_parameters({"6.weight": new}, {"6.weight": {"momentum_buffer": torch.ones(4, 20)}})
    assert model[6].weight is new
    assert any(p is new for group in run.optimizer.param_groups for p in group["params"])
    assert old not in run.optimizer.state
    assert bool((run.optimizer.state[new]["momentum_buffer"] == 1).all())
    with pytest.raises(InputError, match="no such parameter"):
        run.replace_parameters({"7.weight": new})


def test_parameters_of_a_wrapped_model_cannot_be_replaced():
    model = network()
    run = run_for(torch.optim.swa_utils.AveragedModel(model), Recorder())
    with pytest.raises(InputError, match="cannot be replaced: the loop has wrapped the model"):
        run.replace_parameters({"6.weight": nn.Parameter(torch.zeros(4, 20))})


def test_parameters_cannot_be_replaced_where_several_processes_train(monkeypatch):
    model = network()
    run = run_for(model, Recorder())
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(InputError, match=r"parameters \['6.weight'\] cannot be replaced"):
        run.replace_parameters({"6.weight": nn.Parameter(torch.zeros(4, 20))})


def needs(hook: str) -> pt.Method:
    def implementation(self, run, *arguments):
        return None

    return type("Needy", (pt.Method,), {"name": "needy", hook: implementation})()


@pytest.mark.parametrize("hook", ["data", "training_step", "weigh", "penalty", "evaluation_weights"])
def test_a_method_that_needs_more_is_refused_with_the_hook_named(hook):
    with pytest.raises(InputError, match=f"method 'needy' needs {hook}, which a host does not offer"):
        checked_methods([needs(hook)], host="a host")
    with pytest.raises(InputError, match=f"needs {hook}"):
        run_for(network(), needs(hook))


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ([], "got none"),
        ([masks_for(network())], r"MaskEnforcement\(masks\)\]; got \['Masks'\]"),
        (masks_for(network()), r"got \['str', 'str', 'str'\]"),
        (pt.MaskEnforcement(masks_for(network())), None),
        ([Recorder(), Recorder()], r"share a name: \['recorder', 'recorder'\]"),
    ],
)
def test_what_is_no_list_of_methods_is_refused_unless_it_is_one_method(methods, message):
    if message is None:
        assert checked_methods(methods, host="a host") == [methods]
    else:
        with pytest.raises(InputError, match=message):
            checked_methods(methods, host="a host")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "must be at least 1; got 0, None"),
        ({"steps_per_epoch": 0}, "must be at least 1; got 4, 0"),
        ({"clip_norm": 0.0}, "clip_norm must be positive or None; got 0.0"),
        ({"clip_norm": 1.0, "clips_before_update": True}, "clip_norm clips after the methods"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        run_for(network(), Recorder(), **options)


def test_one_optimizer_must_be_the_main_one_and_an_unknown_name_is_refused():
    model = network()
    with pytest.raises(InputError, match=r"must be named 'main'.*got \['body'\]"):
        HostRun(model, {"body": optimizer_for("sgd", model)}, methods=[Recorder()], num_steps=1)
    with pytest.raises(InputError, match="no optimizer 'head' in this run"):
        run_for(model, Recorder()).update("head")


def test_only_steps_of_the_main_optimizer_count():
    model = network()
    recorder = Recorder()
    body = torch.optim.SGD(model[:4].parameters(), lr=0.1)
    head = torch.optim.SGD(model[4:].parameters(), lr=0.1)
    run = HostRun(model, {"main": head, "body": body}, methods=[recorder], num_steps=2)
    run.start()
    run.update("body")
    assert (run.step, recorder.seen[-1][0]) == (0, "after_update")
    run.update()
    assert run.step == 1


def test_wrappers_of_accelerate_are_seen_through():
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = network()
    prepared, optimizer = accelerator.prepare(model, optimizer_for("sgd", model))
    masks = masks_for(model)
    run = HostRun(torch.nn.DataParallel(prepared), optimizer, methods=[pt.MaskEnforcement(masks)], num_steps=2)
    assert run.model is model
    assert run.optimizer is optimizer.optimizer
    run.start()
    step(run)
    model[4].weight.grad = torch.ones_like(model[4].weight)
    optimizer.step()  # the hook hangs on the optimizer inside, so the host's wrapper triggers it
    assert run.step == 2
    assert_exact_zeros(model, masks)
