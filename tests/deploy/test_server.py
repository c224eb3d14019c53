"""A policy over a socket is the same policy; what a client does wrong is its own matter."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import torch
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import laminar
from laminar.data.load import load_episodes
from laminar.deploy.client import PolicyClient
from laminar.deploy.server import PolicyServer, metadata
from laminar.deploy.wire import pack, unpack
from laminar.errors import LaminarError
from laminar.policies import NETWORKS, PROCESSES, GenerativePolicy, PolicyConfig
from laminar.policies.runtimes.accelerate import accelerate


@pytest.fixture
def policy(make_policy: Callable[..., GenerativePolicy]) -> GenerativePolicy:
    return make_policy()


@pytest.fixture
def server(policy: GenerativePolicy) -> Iterator[PolicyServer]:
    with PolicyServer(policy, port=0, batch=8) as server:
        yield server


@pytest.fixture
def client(server: PolicyServer) -> Iterator[PolicyClient]:
    with PolicyClient(server.url) as client:
        yield client


def state(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))


def refused(url: str, frame: bytes | str, openpi: bool = False) -> str:
    """Send a frame and return the line that refuses it."""
    with connect(url, compression=None) as connection:
        connection.recv()
        connection.send(frame)
        answer = connection.recv(timeout=5)
    if openpi:
        assert isinstance(answer, str)
        return answer
    return unpack(answer)["error"]


def test_it_is_the_same_policy(policy: GenerativePolicy, client: PolicyClient) -> None:
    assert client.spec == policy.spec
    assert client.noise_shape == policy.noise_shape
    assert client.checkpoint_hash() == policy.checkpoint_hash()
    noise = torch.randn(5, *policy.noise_shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(client.sample(state(5), noise), policy.sample(state(5), noise))
    drawn = client.sample(state(5), generator=torch.Generator().manual_seed(1))
    assert torch.equal(drawn, policy.sample(state(5), noise))
    assert client.timing.keys() >= {"infer_ms", "queue_ms", "batch", "round_trip_ms"}


def test_the_server_draws_from_its_seed(policy: GenerativePolicy) -> None:
    found = []
    for seed in (3, 3, 4):
        with PolicyServer(policy, port=0, seed=seed) as server, PolicyClient(server.url) as client:
            found.append(torch.stack([client.sample(state(1)), client.sample(state(1))]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[0][0], found[0][1])


def test_pictures(make_policy: Callable[..., GenerativePolicy]) -> None:
    policy = make_policy(picture=True)
    front = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    noise = torch.randn(2, *policy.noise_shape)
    with PolicyServer(policy, port=0) as server, PolicyClient(server.url) as client:
        found = client.sample({"arm": state(2), "front": front}, noise)
    assert torch.equal(found, policy.sample({"arm": state(2), "front": front}, noise))


def test_policies_without_noise_and_those_that_draw_on_the_way(make_policy: Callable[..., GenerativePolicy]) -> None:
    scripted = Scripted(make_policy().spec)
    with PolicyServer(scripted, port=0) as server, PolicyClient(server.url) as client:
        assert client.noise_shape is None
        assert client.checkpoint_hash() is None
        assert torch.equal(client.sample(state(3)), scripted.sample({"arm": state(3)}))
        assert "takes no noise" in refused(
            server.url, pack({"op": "sample", "id": 1, "obs": {"arm": np.zeros((1, 3))}, "noise": np.zeros((1, 4, 2))})
        )
    policy = make_policy("diffusion")
    policy.process.config.solver = "ddpm"
    with PolicyServer(policy, port=0, seed=2) as server, PolicyClient(server.url) as client:
        first = client.sample(state(1))
    assert torch.isfinite(first).all()


def test_it_acts_with_its_own_history(make_policy: Callable[..., GenerativePolicy]) -> None:
    policy = make_policy(history=2)
    with PolicyServer(policy, port=0) as server, PolicyClient(server.url) as client:
        for episode in range(2):
            policy.reset()
            client.reset()
            for step in range(5):
                noise = torch.randn(1, *policy.noise_shape, generator=torch.Generator().manual_seed(step))
                seen = {"arm": state(1, 10 * episode + step)[0].numpy()}
                np.testing.assert_array_equal(client.act(seen, noise), policy.act(seen, noise))


def test_evaluated_from_afar(tmp_path: Path) -> None:
    """An evaluation cannot tell a policy elsewhere from one that is here."""
    demos = laminar.collect(task="pointmaze", episodes=1, out=tmp_path / "demos.hdf5")
    torch.manual_seed(0)
    config = PolicyConfig(process=PROCESSES.config_class("meanflow")(), chunk=4, execute=2)
    network = NETWORKS.config_class("mlp")(width=16, depth=1)
    policy = GenerativePolicy.build(config, network, load_episodes(demos)).eval()
    with PolicyServer(policy, port=0) as server, PolicyClient(server.url) as client:
        there = laminar.evaluate(client, "laminar/PointMaze-v0", seeds=range(2))
        assert client.timing["batch"] >= 1
    here = laminar.evaluate(policy, "laminar/PointMaze-v0", seeds=range(2))
    assert there.episodes == here.episodes


def test_clients_share_calls(policy: GenerativePolicy) -> None:
    """What waits while the policy runs is asked for at once, and everyone gets its own."""
    slow, entered, go_on = Slow(policy), threading.Event(), threading.Event()
    slow.before = lambda: (entered.set(), go_on.wait(10))
    noise = torch.randn(6, *policy.noise_shape, generator=torch.Generator().manual_seed(0))
    found: dict[int, torch.Tensor] = {}
    with PolicyServer(slow, port=0, batch=4) as server:

        def ask(number: int) -> None:
            with PolicyClient(server.url, timeout=20) as client:
                found[number] = client.sample(state(1, number), noise[number : number + 1])

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        threads[0].start()
        assert entered.wait(10)
        for thread in threads[1:]:
            thread.start()
        wait_until(lambda: server._batching._waiting.qsize() == 5)
        go_on.set()
        for thread in threads:
            thread.join()
    assert slow.sizes == [1, 4, 1]
    for number, chunk in found.items():
        alone = policy.sample(state(1, number), noise[number : number + 1])
        torch.testing.assert_close(chunk, alone, rtol=1e-5, atol=1e-6)


def test_accelerated(policy: GenerativePolicy) -> None:
    fast = accelerate(policy, "eager", [1, 2, 4])
    noise = torch.randn(3, *policy.noise_shape)
    with PolicyServer(fast, port=0, batch=4) as server, PolicyClient(server.url) as client:
        torch.testing.assert_close(client.sample(state(3), noise), policy.sample(state(3), noise))


ARM = np.zeros((1, 3), np.float32)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"op": "train"}, "no op is called 'train'"),
        ({"op": ["sample"]}, "no op is called"),
        ({"op": "sample"}, "needs an id"),
        ({"op": "sample", "id": True}, "needs an id"),
        ({"op": "sample", "id": 1}, "needs obs"),
        ({"op": "sample", "id": 1, "obs": {}}, "the observation is empty"),
        ({"op": "sample", "id": 1, "obs": {"amr": ARM}}, "'arm' is missing"),
        ({"op": "sample", "id": 1, "obs": {"arm": ARM, "more": ARM}}, "has no observation 'more'"),
        ({"op": "sample", "id": 1, "obs": {"arm": ARM, "more": np.zeros(3)}}, "has no observation 'more'"),
        ({"op": "sample", "id": 1, "obs": {"arm": np.zeros((1, 3), np.longdouble)}}, "dtype"),
        ({"op": "sample", "id": 1, "obs": {"arm": ARM}, "noise": np.zeros((1, 3), ">f4")}, "noise has shape"),
        ({"op": "sample", "id": 1, "obs": {"arm": np.zeros((1, 4))}}, "shape"),
        ({"op": "sample", "id": 1, "obs": {"arm": np.zeros((0, 3))}}, "no robot at all"),
        ({"op": "sample", "id": 1, "obs": {"arm": np.full((1, 3), np.nan)}}, "nan"),
        ({"op": "sample", "id": 1, "obs": {"arm": "text"}}, "'arm'"),
        ({"op": "sample", "id": 1, "obs": {"arm": {"a": 1}}}, "'arm'"),
        ({"op": "sample", "id": 1, "obs": {"arm": np.zeros((9, 3))}}, "9 observations in one request"),
        ({"op": "sample", "id": 1, "obs": {"arm": ARM}, "noise": np.zeros((1, 3))}, "noise has shape"),
        ({"op": "sample", "id": 1, "obs": {"arm": ARM}, "noise": [1.0]}, "noise must be an array"),
        ({"op": "sample", "id": 1, "obs": {"arm": ARM}, "noise": np.full((1, 4, 2), np.inf)}, "noise is not finite"),
    ],
)
def test_requests_that_are_refused(server: PolicyServer, message: dict[str, Any], told: str) -> None:
    line = refused(server.url, pack(message))
    assert told in line
    assert "\n" not in line


def test_a_refusal_reaches_the_caller(client: PolicyClient) -> None:
    with pytest.raises(LaminarError, match=r"ws://127.0.0.1:\d+: .*nan"):
        client.sample({"arm": torch.full((1, 3), torch.nan)})
    assert client.sample(state(1)).shape == (1, 4, 2), "and the next request is answered"


def test_failures_of_the_policy(policy: GenerativePolicy) -> None:
    slow = Slow(policy)

    def fail() -> None:
        raise ZeroDivisionError("oh")

    slow.before = fail
    with PolicyServer(slow, port=0) as server, PolicyClient(server.url) as client:
        with pytest.raises(LaminarError, match=r"the policy failed: ZeroDivisionError\('oh'\)"):
            client.sample(state(1))
        slow.before = lambda: None
        assert client.sample(state(1)).shape == (1, 4, 2)


def test_frames_that_are_too_large(server: PolicyServer, client: PolicyClient) -> None:
    with connect(server.url, compression=None) as connection:
        connection.recv()
        connection.send(bytes(2**20))
        with pytest.raises(ConnectionClosed, match="1009"):
            connection.recv(timeout=5)
    client.metadata["batch"] = 2**14
    with pytest.raises(LaminarError, match="are too many for one request"):
        client.sample(state(2**14))
    assert client.sample(state(1)).shape == (1, 4, 2)


def test_health(server: PolicyServer) -> None:
    with urllib.request.urlopen(server.url.replace("ws:", "http:") + "/healthz", timeout=5) as answer:
        assert (answer.status, answer.read()) == (200, b"OK\n")


def test_pages_in_a_browser_are_refused(server: PolicyServer) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        connect(server.url, additional_headers={"Origin": "http://elsewhere.example"})


def test_tokens(policy: GenerativePolicy) -> None:
    with pytest.raises(LaminarError, match=r"host=0\.0\.0\.0 can be reached by other machines: give token=SECRET"):
        PolicyServer(policy, host="0.0.0.0")
    with PolicyServer(policy, port=0, token="opens") as server:
        for token in (None, "", "open", "openss"):
            with pytest.raises(LaminarError, match=r"refuses with HTTP status 401; give its token="):
                PolicyClient(server.url, token)
        with PolicyClient(server.url, "opens") as client:
            assert client.sample(state(1)).shape == (1, 4, 2)
        with connect(server.url, additional_headers={"Authorization": "Api-Key opens"}) as connection:
            assert unpack(connection.recv())["server"] == "laminar"
        with urllib.request.urlopen(server.url.replace("ws:", "http:") + "/healthz", timeout=5) as answer:
            assert answer.status == 200, "whoever looks after machines needs no token"


def test_an_address_that_is_taken(server: PolicyServer, policy: GenerativePolicy) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(LaminarError, match=rf"cannot listen at 127\.0\.0\.1:{port}.*choose another port"):
        PolicyServer(policy, port=port).run()


def test_one_bad_request_spoils_no_other(policy: GenerativePolicy) -> None:
    """The policy refuses a row; who was asked for in the same call is answered."""
    slow, entered, go_on = Slow(policy), threading.Event(), threading.Event()
    slow.before = lambda: (entered.set(), go_on.wait(10))
    sample, found = slow.sample, {}

    def picky(obs: Any, noise: Any = None, generator: Any = None) -> torch.Tensor:
        chunks = sample(obs, noise, generator)
        if (obs["arm"] > 100).any():
            raise ValueError("too far")
        return chunks

    slow.sample = picky
    with PolicyServer(slow, port=0, batch=4) as server:

        def ask(number: int) -> None:
            with PolicyClient(server.url, timeout=20) as client:
                try:
                    found[number] = client.sample(torch.full((1, 3), 1000.0 if number == 2 else 0.0))
                except LaminarError as error:
                    found[number] = str(error)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        threads[0].start()
        assert entered.wait(10)
        for thread in threads[1:]:
            thread.start()
        wait_until(lambda: server._batching._waiting.qsize() == 3)
        go_on.set()
        for thread in threads:
            thread.join()
    assert "the policy failed: ValueError('too far')" in found.pop(2)
    assert all(isinstance(chunk, torch.Tensor) for chunk in found.values())


def test_a_server_begins_and_ends_more_than_once(policy: GenerativePolicy) -> None:
    server = PolicyServer(policy, port=0)
    for _ in range(2):
        with server, PolicyClient(server.url) as client:
            assert client.sample(state(1)).shape == (1, 4, 2)
            with pytest.raises(LaminarError, match="this server serves already"):
                server.run()
        server.close()


def test_closing_waits_for_nobody(policy: GenerativePolicy) -> None:
    with PolicyServer(policy, port=0) as server:
        host, port = server.url.removeprefix("ws://").split(":")
        silent = socket.create_connection((host, int(port)))  # never makes its handshake
        frozen = PolicyClient(server.url)
        begun = time.monotonic()
    assert time.monotonic() - begun < 7
    silent.close()
    frozen.close()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"host": ""}, "a server needs a host"),
        ({"port": 70000}, "a server needs a host and a port of 0 to 65535"),
        ({"batch": 0}, "batch=0 must be at least 1"),
        ({"token": " opens"}, "begins or ends with a blank"),
    ],
)
def test_settings_of_a_server(policy: GenerativePolicy, given: dict[str, Any], told: str) -> None:
    with pytest.raises(LaminarError, match=told):
        PolicyServer(policy, **given)


def test_more_robots_than_a_call_takes(policy: GenerativePolicy, client: PolicyClient) -> None:
    noise = torch.randn(20, *policy.noise_shape)
    torch.testing.assert_close(client.sample(state(20), noise), policy.sample(state(20), noise))


class TestClient:
    def test_a_server_that_reads_no_more_holds_nobody_up(self, policy: GenerativePolicy) -> None:
        """Its buffers fill up, and a send that waits for it would wait for ever."""
        from websockets.sync.server import serve

        leave = threading.Event()

        def stuck(connection: Any) -> None:
            connection.send(pack(metadata(policy, 16)))
            leave.wait(20)

        with serve(stuck, "127.0.0.1", 0, max_size=None) as stuck_server:
            threading.Thread(target=stuck_server.serve_forever, daemon=True).start()
            port = stuck_server.socket.getsockname()[1]
            client = PolicyClient(f"ws://127.0.0.1:{port}", timeout=0.4)
            client.metadata["batch"] = 2**19
            for _ in range(3):
                begun = time.monotonic()
                with pytest.raises(LaminarError, match="no answer of"):
                    client.sample(torch.zeros(2**19, 3))
                assert time.monotonic() - begun < 3
            leave.set()
            client.close()

    def test_what_does_not_tell_what_it_serves_leaves_nothing_open(self, server: PolicyServer) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for told in ({"protocol": 1}, {"protocol": 1, "spec": 3}, {"protocol": 1, "spec": {}, "hash": None}):
            server._metadata = pack({"server": "laminar", **told})
            with pytest.raises(LaminarError, match="does not tell what it serves"):
                PolicyClient(server.url)
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before + 1)

    @pytest.mark.parametrize("url", ["ws://127.0.0.1:99999", "ws://127.0.0.1:abc", "ws://[::1", "http://127.0.0.1:9"])
    def test_no_address(self, url: str) -> None:
        with pytest.raises(LaminarError, match="is no address"):
            PolicyClient(url, timeout=0.5)

    def test_nobody_there(self) -> None:
        with pytest.raises(LaminarError, match=r"no answer of ws://127\.0\.0\.1:9 within 0\.3 s"):
            PolicyClient("ws://127.0.0.1:9", timeout=0.3)
        with pytest.raises(LaminarError, match="is no address"):
            PolicyClient("127.0.0.1:9")
        with pytest.raises(LaminarError, match="must be above 0"):
            PolicyClient(timeout=0)

    def test_something_else_there(self, server: PolicyServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "_metadata", pack({"server": "laminar", "protocol": 99}))
        with pytest.raises(LaminarError, match="speaks protocol 99 of 'laminar'"):
            PolicyClient(server.url)
        monkeypatch.setattr(server, "_metadata", pack({"action_horizon": 5}))
        with pytest.raises(LaminarError, match="speaks protocol None"):
            PolicyClient(server.url)

    def test_late_answers_are_given_up_and_never_taken_for_later_ones(self, policy: GenerativePolicy) -> None:
        slow, go_on = Slow(policy), threading.Event()
        slow.before = lambda: go_on.wait(10)
        noise = torch.randn(2, 1, *policy.noise_shape, generator=torch.Generator().manual_seed(0))
        with PolicyServer(slow, port=0) as server, PolicyClient(server.url, timeout=0.2) as client:
            with pytest.raises(LaminarError, match=r"no answer of .* within 0\.2 s"):
                client.sample(state(1), noise[0])
            go_on.set()
            client.timeout = 5.0
            found = client.sample(state(1), noise[1])
            assert torch.equal(found, policy.sample(state(1), noise[1]))
            assert client.reconnects == 1, "the connection that waited was left"

    def test_an_answer_after_ctrl_c_is_not_that_of_the_next_request(
        self, policy: GenerativePolicy, client: PolicyClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        noise = torch.randn(2, 1, *policy.noise_shape)

        def interrupted(timeout: float) -> bytes:
            raise KeyboardInterrupt

        monkeypatch.setattr(client._connection, "recv", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.sample(state(1), noise[0])
        assert torch.equal(client.sample(state(1), noise[1]), policy.sample(state(1), noise[1]))

    def test_it_connects_again(self, policy: GenerativePolicy) -> None:
        noise = torch.randn(1, *policy.noise_shape)
        with PolicyServer(policy, port=0) as server:
            client = PolicyClient(server.url, timeout=5)
            port = int(server.url.rpartition(":")[2])
            wanted = client.sample(state(1), noise)
        later = PolicyServer(policy, port=port)
        starting = threading.Timer(0.5, later.__enter__)
        starting.start()
        try:
            assert torch.equal(client.sample(state(1), noise), wanted)
            assert client.reconnects == 1
        finally:
            starting.join()
            client.close()
            later.close()

    def test_not_to_another_policy(self, make_policy: Callable[..., GenerativePolicy]) -> None:
        with PolicyServer(make_policy(), port=0) as server:
            client = PolicyClient(server.url)
            port = int(server.url.rpartition(":")[2])
        with (
            PolicyServer(make_policy(seed=1), port=port),
            pytest.raises(LaminarError, match=r"serves another policy than before \(hash differs\)"),
        ):
            client.sample(state(1))


class TestOpenpi:
    """As openpi's own client speaks: the observation is the message, the metadata is whatever comes first."""

    def ask(self, connection: Any, obs: dict[str, Any]) -> dict[str, Any]:
        connection.send(pack(obs))
        answer = connection.recv(timeout=5)
        assert not isinstance(answer, str), answer
        return msgpack.unpackb(answer)

    def test_actions(self, policy: GenerativePolicy, server: PolicyServer) -> None:
        with connect(server.url, compression=None, max_size=None) as connection:
            connection.recv()
            first, second = (self.ask(connection, {"arm": state(1)[0].numpy()}) for _ in range(2))
        array = first["actions"]
        assert (array[b"__ndarray__"], array[b"shape"], array[b"dtype"]) == (True, [4, 2], "<f4")
        assert first["server_timing"].keys() == {"infer_ms", "queue_ms", "batch"}
        assert second["server_timing"].keys() == {"infer_ms", "queue_ms", "batch", "prev_total_ms"}
        assert np.abs(np.frombuffer(array[b"data"], "<f4")).max() <= 1

    def test_errors_are_texts(self, server: PolicyServer) -> None:
        assert "'arm' is missing" in refused(server.url, pack({"amr": np.zeros(3)}), openpi=True)
        assert "observation 'prompt'" in refused(server.url, pack({"prompt": "open the drawer"}), openpi=True)
        assert "history of 1" in refused(server.url, pack({"arm": np.zeros((2, 3))}), openpi=True)


def test_a_flood_of_nonsense(server: PolicyServer) -> None:
    """Each frame is refused, nothing grows, and others are served meanwhile."""
    flood(server, 3000)


@pytest.mark.slow
def test_a_long_flood_of_nonsense(server: PolicyServer) -> None:
    flood(server, 100_000)


def flood(server: PolicyServer, frames: int) -> None:
    rng = np.random.default_rng(0)
    good = pack({"op": "sample", "id": 1, "obs": {"arm": ARM}})

    def nonsense() -> bytes:
        frame = bytearray(good if rng.random() < 0.5 else rng.bytes(int(rng.integers(0, 300))))
        for _ in range(int(rng.integers(1, 8))) if frame else ():
            frame[int(rng.integers(len(frame)))] = int(rng.integers(256))
        return bytes(frame)

    refusals, before = 0, 0
    with connect(server.url, compression=None) as connection, PolicyClient(server.url) as other:
        connection.recv()
        for number in range(frames):
            connection.send(nonsense())
            answer = connection.recv(timeout=5)
            refusals += isinstance(answer, str) or "error" in unpack(answer)
            if number == frames // 10:
                gc.collect()
                before = resident()
            if number % (frames // 10) == 0:
                assert other.sample(state(1)).shape == (1, 4, 2)
    gc.collect()
    assert refusals > 0.9 * frames, "a changed byte of an observation may still be one"
    assert resident() - before < 20e6


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Slow:
    """A policy that does something before it answers, and notes how many rows it is asked for."""

    def __init__(self, policy: GenerativePolicy) -> None:
        self.policy, self.sizes = policy, []
        self.spec, self.noise_shape = policy.spec, policy.noise_shape
        self.before: Callable[[], object] = lambda: None

    def sample(self, obs: Any, noise: Any = None, generator: Any = None) -> torch.Tensor:
        self.sizes.append(len(next(iter(obs.values()))))
        self.before()
        return self.policy.sample(obs, noise, generator)


class Scripted:
    """A policy without noise: moves against what it sees."""

    noise_shape = None

    def __init__(self, spec: Any) -> None:
        self.spec = spec

    def sample(self, obs: Any, noise: Any = None) -> torch.Tensor:
        arm = torch.as_tensor(obs["arm"]).reshape(-1, 3)
        return -arm[:, None, :2].expand(-1, 4, -1).clamp(-1, 1).contiguous()


def wait_until(true: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)
