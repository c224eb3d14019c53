"""Settings of learning a planner."""

# Hydra reads this class and needs real types: no postponed annotations here.
from dataclasses import dataclass

from ....settings import number, share


@dataclass
class Config:
    """Settings of `method=planning`."""

    name: str = "planning"
    batch_size: int = number(64, least=1)  # windows in an update, per process
    pairs: int = number(4, least=1)  # of states of each window that the inverse model learns from
    draft_batch: int = number(16, least=1)  # of these, from how many a drafter learns: it takes five times as long
    lr: float = number(5e-4, above=0)  # peak learning rate of AdamW, of plans and drafts
    inverse_lr: float = number(1e-3, above=0)  # of the inverse model
    critic_lr: float = number(1e-3, above=0)  # of the critic
    warmup: int = number(500, least=0)  # updates of linear warm-up before the cosine decay
    final_lr: float = share(0.0)  # share of the peak that the cosine ends at
    beta2: float = number(0.999, least=0, below=1)  # of AdamW
    weight_decay: float = number(1e-5, least=0)  # of AdamW
    max_grad_norm: float = number(10.0, above=0, infinite=True)  # longer gradients are shortened to it
    ema_decay: float = share(0.999)  # largest decay of the averaged weights
    ema_power: float = number(0.75, above=0)  # warm-up: decay(step) = 1 - (1 + step)^-power
    # of a plan's actions that are executed beside its other numbers (Diffuser, which executes the first)
    action_weight: float = number(10.0, above=0)
