"""Settings of `laminar serve`."""

# Hydra reads this class and needs real types: no postponed annotations here.
from dataclasses import dataclass, field

from ..eval.config import EvaluatedPolicy, Guidance
from ..settings import number, seed_number


@dataclass
class Served:
    """What is served, and where; in the order of the help, what guides comes after it."""

    policy: EvaluatedPolicy = field(default_factory=EvaluatedPolicy)
    host: str = "127.0.0.1"  # address to listen at; one that other machines can reach needs a token
    port: int = number(8000, least=0, most=65535)  # 0 takes one that is free, and prints it
    token: str | None = None  # what clients have to know; better in the variable LAMINAR_TOKEN, where nobody sees it
    batch: int = number(16, least=1)  # observations that the policy is asked for at once, at most
    # intra-op threads; more than one is slower for small networks and on shared machines
    threads: int = number(1, least=1)
    # chunks or particles that the critic chooses from; null: as saved
    candidates: int | None = number(None, least=1, null=True)


@dataclass
class ServeConfig(Guidance, Served):
    """A policy server."""

    seed: int = seed_number()  # of noise that clients do not give
