"""What cannot be improved on-policy: one line, with a remedy."""

from __future__ import annotations

from typing import Any

import pytest

from laminar.cli import main
from laminar.data.formats import d4rl
from laminar.errors import LaminarError
from laminar.policies.fine_tuned import FineTuned
from laminar.policies.load import load_policy
from laminar.train.methods.policy_gradient import Config, PolicyGradient


@pytest.fixture
def refused(toy: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs a command line and returns the one line of its error; nothing was begun."""

    def run(words: list[str]) -> str:
        capsys.readouterr()
        assert main(words) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("laminar: ")]
        lines = [line for line in lines if "warning" not in line]
        assert len(lines) == 1, lines
        assert not (toy.folder / "run").exists()
        return lines[0]

    return run


@pytest.mark.parametrize(
    ("method", "base", "told"),
    [
        ("dppo", {"process": "flow", "settings": {"solver": "heun", "steps": 3}}, "solver=euler"),
        ("dppo", {"process": "flow", "settings": {"solver": "unipc", "steps": 3}}, "solver=euler"),
        ("dppo", {"process": "diffusion", "settings": {"solver": "dpmpp_2s", "steps": 4}}, "solver=ddpm or ddim"),
        ("pmpo", {"process": "diffusion", "settings": {"solver": "dpmpp_2m", "steps": 4}}, "solver=ddpm or ddim"),
        ("reinflow", {"process": "diffusion", "settings": {"solver": "unipc", "steps": 4}}, "solver=ddpm or ddim"),
        ("reinflow", {"process": "diffusion", "settings": {"solver": "ddpm", "steps": 3}}, "take method=dppo, or"),
        ("fpo", {"process": "direct", "settings": {}}, "have, and this policy is of direct; take method=dppo"),
        ("fpo", {"process": "ctm", "settings": {}}, "diffusion have, and this policy is of ctm; take method=dppo"),
        (
            "dppo",
            {"process": "flow", "settings": {}, "ensemble": 0.1, "execute": 1},
            "(policy.ensemble=0.1), and method=dppo judges actions as they are executed; start from",
        ),
    ],
    ids=str,
)
def test_bases(toy: Any, refused: Any, method: str, base: dict[str, Any], told: str) -> None:
    assert told in refused(toy.words(method=method, base=toy.save(name="other", **base)))


def test_no_policy_to_improve(toy: Any, refused: Any) -> None:
    words = [word for word in toy.words() if not word.startswith("init=")]
    assert "init=POLICY" in refused(words)


def test_no_environment(toy: Any, refused: Any) -> None:
    words = [word for word in toy.words() if not word.startswith("env.id=")]
    assert "method=dppo acts while it learns: give env.id=ENVIRONMENT" in refused(words)


def test_recordings_are_nothing_to_act_on(toy: Any, refused: Any) -> None:
    d4rl.write(toy.folder / "demos.hdf5", toy.recorded())
    told = refused(toy.words(f"data.path={toy.folder / 'demos.hdf5'}"))
    assert "method=dppo learns from what it does, and not from recordings: leave data.path out" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("env.steps=39",), "env.steps=39 are less than one iteration, which takes 40: method.chunks=10 of 2"),
        (("method.minibatches=61",), "method.minibatches=61 divide the 60 entries of an iteration, which are fewer;"),
        (("steps=7",), "steps=7 and env.steps=80 are both set, and these control steps have 8 updates"),
        (("method.noise_head.low=0.3",), "method.noise_head.low=0.3 is not below method.noise_head.high=0.24"),
        (("method.clip_first=0.5",), "method.clip_first=0.5 is above method.clip=0.1"),
        (("method.objective=noise_head", "method.progressive=0.5"), "method.progressive takes denoising steps one by"),
        (
            ("method.objective=matching", "method.leash=1", "method.leash_direction=base"),
            "method.leash_direction=base needs the probability of a sample, and matching has none",
        ),
        (("method.objective=reward",), "method.objective must be denoising, noise_head, matching or pmpo, got reward"),
        (("method.tuned_steps=0",), "method.tuned_steps must be at least 1, or null, got 0"),
        (("init.normalizer=refit",), "init.normalizer=refit"),
    ],
    ids=str,
)
def test_settings(toy: Any, refused: Any, words: tuple[str, ...], told: str) -> None:
    given = toy.words(*words)
    if words == ("steps=7",):
        given.append("env.steps=80")
    assert told in refused(given)


def test_other_steps_than_those_that_were_tuned_before(toy: Any, refused: Any) -> None:
    base = load_policy(toy.save("flow", {"steps": 3}, name="base"))
    tuned = FineTuned(base, base.network, 2).save(toy.folder / "tuned")  # type: ignore[arg-type]
    told = "the policy's last 2 steps were tuned before, and now 1 were to be; give method.tuned_steps=2"
    assert told in refused(toy.words("method.tuned_steps=1", base=tuned))
    assert "steps were tuned before" in refused(toy.words(base=tuned, method="fpo"))


def test_updates_are_of_whole_iterations() -> None:
    config = Config(chunks=10, epochs=3, minibatches=2)
    assert PolicyGradient.updates(config, 400, 4, 5) == 2 * 6
    assert PolicyGradient.updates(config, 399, 4, 5) == 6
    assert PolicyGradient.updates(config, None, 4, 5) is None
    config.iterations = 7
    assert PolicyGradient.updates(config, None, 4, 5) == 42
    assert PolicyGradient.updates(config, 400, 4, 5) == 12, "control steps that are given count"
    with pytest.raises(LaminarError, match=r"env\.steps=199 are less than one iteration, which takes 200"):
        PolicyGradient.updates(config, 199, 4, 5)
