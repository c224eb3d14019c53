"""Settings of learning a world model."""

# Hydra reads this class and needs real types: no postponed annotations here.
from dataclasses import dataclass, field

from ....settings import number, share
from ....world_models.config import WorldConfig


@dataclass
class Config:
    """Settings of `method=world_model`."""

    name: str = "world_model"
    model: WorldConfig = field(default_factory=WorldConfig)  # sizes and losses, which are saved with it
    batch_size: int = number(32, least=1)  # sequences in an update, per process
    length: int = number(50, least=3)  # observations of a sequence
    lr: float = number(1e-3, above=0)  # peak learning rate of AdamW
    warmup: int = number(500, least=0)  # updates of linear warm-up before the cosine decay
    final_lr: float = share(0.0)  # share of the peak that the cosine ends at
    beta2: float = number(0.999, least=0, below=1)  # of AdamW
    weight_decay: float = number(1e-6, least=0)  # of AdamW
    max_grad_norm: float = number(100.0, above=0, infinite=True)  # longer gradients are shortened to it
