"""Chains in known or unseen words: which sentence is said, that the policy hears it, and what the result tells."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.data.instructions import HELD_OUT, SENTENCES, TASKS, UNSEEN
from laminar.data.language import hashed_embedding
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError
from laminar.eval.reports.chain_report import write_chain_report
from laminar.eval.results.chain_result import Chain, ChainResult, load_chain_result
from laminar.eval.results.phrasings import by_kind, phrasings_of
from laminar.eval.results.scores import wilson
from laminar.eval.rollouts.captions import instruction_text
from laminar.eval.rollouts.chains import evaluate_chains
from laminar.eval.rollouts.wording import check_phrasings, wording

PLAYROOM = "laminar/Playroom-v0?scene=D"
HASHED = f"{PLAYROOM}&instruction=hashed"


def test_words_are_drawn_from_the_seed_of_the_chain() -> None:
    assert wording(TASKS, "one", 3) == list(HELD_OUT.values())
    for phrasings, kinds in (("known", SENTENCES), ("held_out", UNSEEN)):
        said = wording(TASKS, phrasings, 3)
        assert all(sentence in kinds[task] for task, sentence in zip(TASKS, said, strict=True))
        assert said == wording(TASKS, phrasings, 3)
        assert said != wording(TASKS, phrasings, 4)
        assert said[:5] == wording(TASKS[:5], phrasings, 3), "what comes later changes nothing"
    every = [sentence for seed in range(40) for sentence in wording(["open_drawer"], "held_out", seed)]
    assert set(every) == set(UNSEEN["open_drawer"])
    both = [sentence in UNSEEN[task] for seed in range(20) for task, sentence in said_with(seed)]
    assert 0.4 < np.mean(both) < 0.6


def said_with(seed: int) -> list[tuple[str, str]]:
    return list(zip(TASKS, wording(TASKS, "all", seed), strict=True))


def test_the_policy_hears_what_is_said(noise_policy: Any) -> None:
    policy = noise_policy(HASHED)
    heard: list[Any] = []
    sample = policy.sample

    def spy(obs: Any, noise: Any = None) -> Any:
        heard.append(obs["instruction"][:, 0].numpy().copy())
        return sample(obs, noise)

    policy.sample = spy
    result = evaluate_chains(policy, PLAYROOM, chains=3, seed=5, max_steps=2, phrasings="held_out")
    for chain in result.chains:
        assert chain.sentences == wording(chain.tasks, "held_out", 5 + chain.index)[: len(chain.steps)]
        np.testing.assert_array_equal(heard[0][chain.index], hashed_embedding(chain.sentences[0]))
    few = evaluate_chains(policy, PLAYROOM, chains=2, seed=5, max_steps=2, phrasings="held_out", num_envs=1)
    assert few.chains == result.chains[:2]
    plain = evaluate_chains(policy, PLAYROOM, chains=1, seed=5, max_steps=2)
    assert plain.chains[0].sentences == []
    assert "sentences" not in plain.chains[0].to_json()
    assert "phrasings" not in plain.to_json()


def spoken() -> ChainResult:
    """Two chains: opening in a known and in an unseen sentence, both done, then closing, which fails once."""
    known, unseen = SENTENCES["open_drawer"][0], UNSEEN["open_drawer"][1]
    tasks = ("open_drawer", "close_drawer")
    first = Chain(0, tasks, 2, [3, 4], sentences=[known, UNSEEN["close_drawer"][0]])
    second = Chain(1, tasks, 1, [3, 9], sentences=[unseen, UNSEEN["close_drawer"][0]])
    return ChainResult(PLAYROOM, "a room", [first, second], instruction="hashed")


def test_success_is_told_by_sentence(tmp_path: Path) -> None:
    result = spoken()
    found = phrasings_of(result.chains)
    assert [(one.task, one.kind, one.successes, one.attempts) for one in found] == [
        ("close_drawer", "held out", 1, 2),
        ("open_drawer", "known", 1, 1),
        ("open_drawer", "held out", 1, 1),
    ]
    assert found[0].success == wilson(1, 2)
    assert by_kind(found) == {"known": (1, 1), "held out": (2, 3)}
    assert "instructions in known words 1 (" in result.summary(), "of a single one, without an interval"
    assert "instructions in held out words 0.6667 [0.2077, 0.9385]" in result.summary()
    stored = json.loads(result.save(tmp_path).read_text())["phrasings"]
    assert stored["instructions"]["held out"] == {"success": 2, "total": 3} | wilson(2, 3).to_json()
    assert [row["sentence"] for row in stored["sentences"]][1] == SENTENCES["open_drawer"][0]
    assert load_chain_result(tmp_path).chains == result.chains
    text = re.sub(" +", " ", write_chain_report(tmp_path, result).with_suffix(".md").read_text())
    assert f"| close_drawer | {UNSEEN['close_drawer'][0]} " in text
    assert "Single instructions by the words in which they were said" in text


def test_films_say_the_words() -> None:
    spec = Spec({"instruction": Feature((384,), unit="hashed")}, Feature((7,)))
    assert instruction_text("open_drawer", spec, "yank it") == 'open drawer: "yank it"'
    assert instruction_text("open_drawer", spec) == f'open drawer: "{HELD_OUT["open_drawer"]}"'


@pytest.mark.parametrize(
    ("phrasings", "observation", "told"),
    [
        ("knowns", {}, r"no phrasings are called 'knowns' .*did you mean 'known'\?"),
        ("known", {"arm": Feature((3,))}, "the policy does not see instructions; train one with data.instruction=hash"),
        ("all", {"instruction": Feature((34,), unit="task")}, "the policy was trained with instructions 'task'"),
        ("held_out", {"instruction": Feature((384,), unit="lang_x")}, "with instructions 'lang_x'"),
    ],
)
def test_words_that_cannot_be_said(phrasings: str, observation: dict[str, Feature], told: str) -> None:
    with pytest.raises(LaminarError, match=told):
        check_phrasings(phrasings, Spec(observation, Feature((7,))))
    check_phrasings("one", Spec(observation, Feature((7,))))
