"""A policy server under load: 16 robots that ask 50 times a second, the server on one core.

    .venv/bin/python benchmarks/serving.py

The server is a process of its own, held to one core; the robots are 16 connections of another process. Each asks for
the chunk of one observation of the playroom (39 numbers) at its own phase of the 20 ms, and waits for it. What is told
is the time from the moment at which a request was due to its answer, so that a late answer makes the next one late.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from harness import Report
from websockets.asyncio.client import connect

from laminar.configs.compose import compose
from laminar.deploy.server import PolicyServer
from laminar.deploy.wire import pack, unpack
from laminar.envs.make import make_env
from laminar.envs.playroom.demonstrations import collect
from laminar.policies import GenerativePolicy
from laminar.policies.runtimes.accelerate import accelerate

ROBOTS, RATE_HZ, SECONDS = 16, 50.0, 20.0
RUNTIMES = ("eager", "onnx")


def serve(runtime: str, address: Connection) -> None:
    """Serve an untrained one-call MLP of the playroom on the first core, until told to stop."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = compose("train", ["policy=meanflow", "policy.chunk=8", "policy.execute=4"])
    episodes = collect(make_env("laminar/Playroom-v0?task=open_drawer"), 1, 0)
    policy = GenerativePolicy.build(config.policy, config.network, episodes).eval()
    with PolicyServer(accelerate(policy, runtime, [1, 2, 4, 8, 16]), port=0, batch=16) as server:
        address.send(server.url)
        address.recv()
        address.send(time.process_time())


async def robot(url: str, number: int, begin: float) -> list[float]:
    """Ask at a steady rate and return the milliseconds until each answer."""
    rng = np.random.default_rng(number)
    took: list[float] = []
    async with connect(url, compression=None, max_size=None) as connection:
        spec = unpack(await connection.recv())["spec"]["observation"]
        shapes = {key: tuple(feature["shape"]) for key, feature in spec.items()}
        due = begin + number / ROBOTS / RATE_HZ
        while due < begin + SECONDS:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            obs = {key: rng.standard_normal((1, *shape)).astype(np.float32) for key, shape in shapes.items()}
            await connection.send(pack({"op": "sample", "id": len(took), "obs": obs}))
            answer = unpack(await connection.recv())
            assert answer["id"] == len(took), answer
            took.append(1e3 * (time.perf_counter() - due))
            due += 1 / RATE_HZ
    return took


async def robots(url: str) -> np.ndarray:
    """Return the milliseconds of all requests after the first second."""
    begin = time.perf_counter() + 0.5
    found = await asyncio.gather(*(robot(url, number, begin) for number in range(ROBOTS)))
    return np.concatenate([times[int(RATE_HZ) :] for times in found])


def main() -> None:
    report = Report("serving")
    rows: list[dict[str, Any]] = []
    load = os.getloadavg()[0]
    for runtime in RUNTIMES:
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(runtime, there))
        process.start()
        took = asyncio.run(robots(here.recv()))
        here.send("stop")
        cpu = here.recv()
        process.join()
        p50, p99, most = np.percentile(took, [50, 99, 100]).tolist()
        rows.append({"name": runtime, "requests": len(took), "p50": p50, "p99": p99, "most": most, "cpu_s": cpu})
    text = [[r["name"], str(r["requests"]), *(f"{r[name]:.2f}" for name in ("p50", "p99", "most"))] for r in rows]
    title = f"{ROBOTS} robots at {RATE_HZ:g} Hz, ms from the request to the chunk"
    report.table(title, ["runtime", "requests", "p50", "p99", "largest"], text, rows, load, {"seconds": SECONDS})
    for row in rows:
        report.claim(f"{row['name']}: p99, ms", row["p99"], most=20)
    report.finish()


if __name__ == "__main__":
    main()
