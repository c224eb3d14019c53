"""The best schedule that a control period allows."""

from collections.abc import Callable

import pytest
import torch

from laminar.errors import LaminarError
from laminar.policies import GenerativePolicy
from laminar.policies.processes.solver_schedules import SolverSchedule, Steps
from laminar.policies.runtimes import pace
from laminar.policies.runtimes.accelerate import accelerate
from laminar.policies.runtimes.accelerated import Accelerated
from laminar.policies.runtimes.pace import keep_pace, resolve_steps

Make = Callable[..., GenerativePolicy]
THREE, SEVEN, TEN = (SolverSchedule.at(1 - k / calls for k in range(calls)) for calls in (3, 7, 10))


@pytest.fixture
def policy(make_policy: Make) -> GenerativePolicy:
    torch.manual_seed(0)
    policy = make_policy("flow", "mlp", {"steps": 10}).eval()
    policy.schedules = {"nfe3": THREE, "nfe7": SEVEN, "nfe10": TEN}
    return policy


def eager(policy: GenerativePolicy) -> Callable[[Steps], Accelerated]:
    return lambda steps: accelerate(policy, "eager", steps=steps)


@pytest.fixture(autouse=True)
def a_millisecond_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls cost what they say, whatever the machine is doing."""
    monkeypatch.setattr(pace, "_p99", lambda fast: 1e-3 * len(fast.loop(1).program.times))


@pytest.mark.parametrize(("rate", "steps"), [(90, TEN), (110, SEVEN), (140, SEVEN), (150, THREE), (330, THREE)])
def test_most_calls_that_are_in_time(policy: GenerativePolicy, rate: float, steps: SolverSchedule) -> None:
    fast = accelerate(policy, "eager", steps="auto", rate_hz=rate)
    assert fast.steps == steps
    assert f"of {rate} Hz" in fast.why[-1]
    torch.testing.assert_close(
        fast(torch.ones(1, 3), torch.ones(1, 1, 2)),
        policy.sample(torch.ones(1, 3), torch.ones(1, 1, 2), steps=steps).detach(),
    )


def test_the_configured_steps_are_a_choice(policy: GenerativePolicy) -> None:
    policy.schedules = {"nfe3": THREE}
    assert keep_pace(policy, eager(policy), 50).steps is None
    assert keep_pace(policy, eager(policy), 200).steps == THREE


def test_nothing_is_fast_enough(policy: GenerativePolicy) -> None:
    with pytest.raises(LaminarError, match=r"within the 1.67 ms of 600 Hz.*nfe3: 3 calls, 3.000 ms.*run at 300 Hz"):
        keep_pace(policy, eager(policy), 600)


def test_rates(policy: GenerativePolicy) -> None:
    with pytest.raises(LaminarError, match="needs a control rate"):
        keep_pace(policy, eager(policy))
    with pytest.raises(LaminarError, match="must be above 0"):
        keep_pace(policy, eager(policy), 0)
    with pytest.raises(LaminarError, match="rate_hz=50 has an effect with steps=auto only"):
        accelerate(policy, "eager", rate_hz=50)


def test_names(policy: GenerativePolicy) -> None:
    assert resolve_steps(policy, "nfe3") is THREE
    assert resolve_steps(policy, 4) == 4
    assert resolve_steps(policy, None) is None
    with pytest.raises(LaminarError, match=r"no schedule 'nfe33' \(known: nfe3, nfe7, nfe10\).*did you mean 'nfe3'"):
        resolve_steps(policy, "nfe33")
    with pytest.raises(LaminarError, match="steps must be a whole number of at least 1"):
        resolve_steps(policy, 0)


def test_p99_is_measured(policy: GenerativePolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(pace, "CALLS", 50)
    seen: list[float] = []
    fast = accelerate(policy, "eager")
    infer = Accelerated.infer
    monkeypatch.setattr(Accelerated, "infer", lambda self, obs: seen.append(1.0) or infer(self, obs))
    assert 0 < pace._p99(fast) < 10
    assert len(seen) == 70
