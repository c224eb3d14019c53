"""Settings of distillation."""

# Hydra reads this class and needs real types: no postponed annotations here.
from dataclasses import dataclass

from ....settings import choice, number, path, seed_number, share


@dataclass
class Config:
    """Settings of distillation; the defaults are reflow's."""

    name: str = "distillation"
    recipe: str = choice("reflow", "reflow", "ctm")  # name of these settings in tables: the file of configs/method/
    teacher: str | None = path()  # a run, a checkpoint or a saved policy
    # Student's first weights: the teacher's (of the same process and network), or its own.
    start: str = choice("teacher", "teacher", "own")
    pairs: int = number(250_000, least=1)  # reflow: samples of the teacher to learn from
    pairs_seed: int = seed_number()  # of the noise of these samples
    anneal: float = share(0.0)  # reflow: share of the run from fresh to paired noise (SlimFlow), for start=own
    denoising_weight: float = number(0.1, least=0)  # ctm: of the denoising loss beside the consistency loss
    batch_size: int = number(256, least=1)  # samples in an update, per process
    lr: float = number(1e-3, above=0)  # peak learning rate of Adam
    warmup: int = number(500, least=0)  # updates of linear warm-up before the cosine decay
    final_lr: float = share(0.0)  # share of the peak that the cosine ends at
    max_grad_norm: float = number(10.0, above=0, infinite=True)  # longer gradients are shortened to it
    ema_decay: float = share(0.999)  # largest decay of the averaged weights
    ema_power: float = number(0.75, above=0)  # warm-up: decay(step) = 1 - (1 + step)^-power
