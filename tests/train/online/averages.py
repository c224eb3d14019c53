"""A method whose product is no policy: it learns the mean observation of its data, in a way of its own."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from laminar.policies import storage
from laminar.train.improver import Improver, need


@dataclass
class Config:
    name: str = "averages"


class Averages(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))

    def write(self, folder: Path) -> None:
        storage.write_tensors(folder / "model.safetensors", self.state_dict())
        storage.write_json(folder / "config.json", {"kind": "averages", "width": len(self.mean)})


class Averaging(Improver):
    def __init__(self, policy, recorded, config, context):
        rows = need(recorded, "averages").observation["observation"]
        self.rows, self.generator = torch.from_numpy(rows), context.generator
        self.averages = Averages(rows.shape[1])

    def update(self, step):
        seen = self.rows[torch.randint(len(self.rows), (32,), generator=self.generator)].mean(dim=0)
        self.averages.mean.lerp_(seen, 1 / (step + 1))
        return {"loss": (seen - self.averages.mean).square().mean()}

    def product(self):
        return self.averages

    def state(self):
        return {"generator": self.generator.get_state()}

    def load_state(self, state):
        self.generator.set_state(state["generator"])
