"""Settings of a world model, which are saved with it."""

# Hydra reads this class and needs real types: no postponed annotations here.
from dataclasses import dataclass, replace

from ..settings import choice, number, share

SIZES: dict[str, dict[str, int]] = {
    "small": {"deter": 256, "groups": 16, "classes": 16, "hidden": 256},  # states, on a CPU
    "medium": {"deter": 512, "groups": 32, "classes": 32, "hidden": 512},
    "paper": {"deter": 1024, "groups": 32, "classes": 32, "hidden": 1000},  # DiWA (Chandra et al. 2025)
}


@dataclass
class WorldConfig:
    """A recurrent state-space model and its losses; those of DiWA but for `blind`."""

    size: str = choice("small", *SIZES)  # what the four numbers below are where they are null
    deter: int | None = number(None, least=1, null=True)  # width of the memory
    groups: int | None = number(None, least=1, null=True)  # categorical variables of a code
    classes: int | None = number(None, least=2, null=True)  # values of each
    hidden: int | None = number(None, least=1, null=True)  # width of all other layers
    unimix: float = number(0.01, least=0, below=1)  # share of the uniform distribution in every categorical one
    deviation: float = number(
        0.1, above=0
    )  # of numbers about their prediction, as a share of how far they go in 25 steps
    kl_weight: float = number(0.3, least=0)  # of the divergence between what is seen and what was expected
    balance: float = share(0.8)  # share of its gradient that teaches the expectation, the rest what is seen
    free_bits: float = number(0.0, least=0)  # nats of divergence that cost nothing
    # Share of sequences of which only the beginning is seen; from there on all is imagined, and held against what was
    # recorded. That is how the model is used, and what errors that add up are learned from.
    blind: float = share(0.5)
    context: int = number(5, least=1)  # steps of these that are seen at least; and before a dream begins

    @property
    def sized(self) -> "WorldConfig":
        """The same with numbers in place of nulls."""
        given = {name: getattr(self, name) for name in SIZES[self.size]}
        return replace(
            self, **{name: SIZES[self.size][name] if value is None else value for name, value in given.items()}
        )
