"""A server takes instructions in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from websockets.sync.client import connect

from laminar.data.language import hashed_embedding
from laminar.data.spec import Feature, Spec
from laminar.deploy.server import PolicyServer
from laminar.deploy.server.words import in_words
from laminar.deploy.wire import pack, unpack


class Listener:
    """A policy without noise whose actions are the first numbers of its instruction."""

    noise_shape = None

    def __init__(self, unit: str = "hashed", width: int = 384, history: int = 1) -> None:
        features = {"arm": Feature((3,)), "instruction": Feature((width,), unit=unit)}
        self.spec = Spec(features, Feature((2,)), (-1.0,) * 2, (1.0,) * 2, history=history, chunk=4, execute=2)

    def sample(self, obs: Any, noise: Any = None) -> torch.Tensor:
        return obs["instruction"][:, -1:, :2].expand(-1, 4, -1).contiguous()


def asked(url: str, message: dict[str, Any]) -> dict[str, Any] | str:
    with connect(url, compression=None) as connection:
        connection.recv()
        connection.send(pack(message))
        answer = connection.recv(timeout=5)
    return answer if isinstance(answer, str) else unpack(answer)


def test_sentences_become_the_policys_vectors() -> None:
    said = ["open the drawer", "shut it"]
    vectors = np.stack([hashed_embedding(one) for one in said])
    with PolicyServer(Listener(), port=0) as server:
        request = {"op": "sample", "id": 1, "obs": {"arm": np.zeros((2, 3), "f"), "instruction": said}}
        answer = asked(server.url, request)
        assert isinstance(answer, dict)
        np.testing.assert_array_equal(answer["chunk"][:, 0], vectors[:, :2])
        for key in ("instruction", "prompt"):  # openpi's clients say prompt
            found = asked(server.url, {"arm": np.zeros(3, "f"), key: said[1]})
            assert isinstance(found, dict)
            np.testing.assert_array_equal(found["actions"][0], vectors[1, :2])
        found = asked(server.url, {"arm": np.zeros(3, "f"), "instruction": vectors[0]})
        assert isinstance(found, dict)
        np.testing.assert_array_equal(found["actions"][0], vectors[0, :2])


def test_a_history_says_the_same_all_along() -> None:
    spec = Listener(history=3).spec
    found = in_words(spec, {"arm": np.zeros((1, 3, 3)), "instruction": ["open the drawer"]})
    np.testing.assert_array_equal(found["instruction"], np.tile(hashed_embedding("open the drawer"), (1, 3, 1)))


@pytest.mark.parametrize(("unit", "said"), [("task", "open it"), ("learned-00000000", "open it"), ("hashed", "?")])
def test_what_cannot_be_said_is_refused_in_one_line(unit: str, said: str) -> None:
    with PolicyServer(Listener(unit), port=0) as server:
        line = asked(server.url, {"arm": np.zeros(3, "f"), "instruction": said})
    assert isinstance(line, str)
    assert "\n" not in line
    assert said in line or unit in line


def test_names_of_tasks_are_words_too() -> None:
    found = in_words(Listener("task", 34).spec, {"instruction": ["open_drawer"]})
    assert found["instruction"].shape == (1, 1, 34)
    assert found["instruction"].sum() == 1


@pytest.mark.parametrize("obs", [{"arm": [0.0]}, {"arm": [0.0], "instruction": [[0.5]]}, {"instruction": ["a", 1]}])
def test_everything_else_is_left_as_it_is(obs: dict[str, Any]) -> None:
    assert in_words(Listener().spec, obs) is obs
    assert in_words(Spec({"arm": Feature((3,))}, Feature((2,))), {"prompt": ["x"]}) == {"prompt": ["x"]}
