"""Policies to serve."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig

pytest.importorskip("websockets", reason="needs the extra 'deploy'")
pytest.importorskip("msgpack", reason="needs the extra 'deploy'")
pytest.importorskip("cbor2", reason="needs the extra 'deploy'")
pytest.importorskip("rosbags", reason="needs the extra 'deploy'")

from .ros_master import RosMaster, missing


@pytest.fixture
def make_policy() -> Callable[..., GenerativePolicy]:
    """Return a function that builds an untrained policy of a vector of 3 and a picture: 2 actions, chunks of 4."""

    def make(
        process: str = "meanflow", seed: int = 0, picture: bool = False, prefix: int = 0, **policy: object
    ) -> GenerativePolicy:
        rng, rows = np.random.default_rng(0), 40
        shown = {"arm": rng.normal(size=(rows, 3)).astype(np.float32)}
        features = {"arm": Feature((3,))}
        if picture:
            shown["front"] = rng.integers(0, 256, (rows, 32, 32, 3), np.uint8)
            features["front"] = Feature((32, 32, 3), "uint8")
        zeros = np.zeros(rows, bool)
        episodes = Episodes(
            observation=shown,
            final_observation={key: value[:1] for key, value in shown.items()},
            action=rng.uniform(-1, 1, (rows, 2)).astype(np.float32),
            reward=np.zeros(rows, np.float32),
            terminated=zeros,
            truncated=zeros,
            ends=np.array([rows]),
            spec=Spec(features, Feature((2,)), (-1.0,) * 2, (1.0,) * 2, rate_hz=20.0),
        )
        settings = {"chunk": 4, "execute": 2} | policy
        config = PolicyConfig(process=PROCESSES.config_class(process)(), **settings)  # type: ignore[arg-type]
        torch.manual_seed(seed)
        network = NETWORKS.config_class("mlp")(width=16, depth=1)
        return GenerativePolicy.build(config, network, episodes, prefix).eval()

    return make


@pytest.fixture(scope="session")
def ros_master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RosMaster]:
    """Return a master of ROS 1; a process has one node, so all tests of one process share it."""
    if missing():
        pytest.skip(missing())
    master = RosMaster(tmp_path_factory.mktemp("ros"))
    master.start()
    yield master
    master.stop()
