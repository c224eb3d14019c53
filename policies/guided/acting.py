"""How a policy decides: the settings of all ways to act by a critic."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ...errors import LaminarError
from ...settings import check, choice, number, share

SELECTIONS = ("softmax", "argmax")
GUIDANCES = ("best_of_n", "gradient", "fk", "tree")
JACOBIANS = ("identity", "exact")
POTENTIALS = ("diff", "max", "sum")
RESAMPLINGS = ("systematic", "multinomial")
OF_GUIDANCE = {
    "zscore": ("best_of_n", "gradient"),
    "jacobian": ("gradient",),
    "strength": ("gradient",),
    "eta": ("fk", "tree"),
    "potential": ("fk",),
    "resampling": ("fk",),
    "ess": ("fk",),
    "resample_below": ("fk",),
    "widening": ("tree",),
    "exploration": ("tree",),
}
"""Settings that not every guidance has, and those that have them."""


@dataclass(frozen=True)
class Acting:
    """How a policy decides: by a single sample, or guided by its critic; and with how much noise.

    All that is guided aims at p(a|s) exp(Q(s, a) / temperature), where p is the policy: 1 / temperature is the papers'
    lambda. Q is the least of the critic's heads.

    Attributes:
        candidates: chunks drawn for each decision, and what a decision costs, in plain samples; 1 is a single sample.
            Particles with "fk"; with "tree" the budget is so many times the network calls of a sample.
        selection: "softmax" takes a candidate with probability proportional to exp(Q / temperature), "argmax" the best.
            Particles and leaves are drawn by their weights, or the best taken; a tree is searched for it too (DTS*).
        temperature: in units of Q; returns of other sizes need another one. Its limit 0 is "argmax".
        noise_scale: factor of the noise of a sample; 0 starts from its mean, which is deterministic.
        guidance: "best_of_n" chooses among finished samples; "gradient" moves each on its way, see `processes.guides`;
            "fk" resamples particles on their way; "tree" searches a tree of denoising steps.
        zscore: temperature in units of Q's standard deviation among the candidates of an observation.
        jacobian: of a gradient: "identity" applies it at the clean data as it is (QGF), "exact" goes back through the
            network, at about three times the cost.
        strength: factor of the gradient of Q / temperature.
        eta: noise of the steps of "fk" and "tree", see `solvers.stochastic_step`; without any, copies stay identical.
        potential: of a particle: the gain of Q / temperature at the extrapolated chunk, its maximum so far, or its sum.
        resampling: how particles are drawn: from evenly spaced points, or independently.
        ess: share of the particles below which the effective sample size triggers resampling; 0 only weighs them.
        resample_below: time, from 1 (noise) to 0, above which particles are not yet judged: there the extrapolated
            chunk is a mean over modes.
        widening: a node of a tree may have as many children as its visits to this power; 1 shares nothing.
        exploration: of a tree: with "softmax" the share of steps down that go anywhere; 0 is DTS, which underrates what
            began badly until a large budget has come back to it. With "argmax" the weight of the upper confidence
            bound.
    """

    candidates: int = number(1, least=1)
    selection: str = choice("softmax", *SELECTIONS)
    temperature: float = number(1.0, above=0)
    noise_scale: float = number(1.0, least=0)
    guidance: str = choice("best_of_n", *GUIDANCES)
    zscore: bool = False
    jacobian: str = choice("identity", *JACOBIANS)
    strength: float = number(1.0, above=0)
    eta: float = number(1.0, above=0, most=1)
    potential: str = choice("diff", *POTENTIALS)
    resampling: str = choice("systematic", *RESAMPLINGS)
    ess: float = share(0.5)
    resample_below: float = number(0.8, above=0, most=1)
    widening: float = share(0.8)
    exploration: float = number(1.0, least=0)

    def __post_init__(self) -> None:
        """Refuse settings that make no sense, alone or together.

        Raises:
            LaminarError: names the setting.
        """
        check(self)
        if self.noise_scale == 0 and self.candidates > 1:
            raise LaminarError(
                f"noise_scale=0 makes all {self.candidates} candidates the same; give candidates=1, or more noise"
            )
        if self.branches and self.candidates == 1:
            raise LaminarError(
                f"guidance={self.guidance} with candidates=1 has nothing to choose from; give candidates=N above 1"
            )
        if self.zscore and (self.candidates == 1 or self.branches):
            raise LaminarError(
                f"zscore=true has no effect with guidance={self.guidance} candidates={self.candidates}: it scales Q "
                "among finished candidates; leave it out, or give candidates=N above 1 and another guidance"
            )

    @property
    def plain(self) -> bool:
        """Whether this is a single sample from all the noise, as the base gives it."""
        return self.candidates == 1 and self.noise_scale == 1 and self.guidance == "best_of_n"

    @property
    def judges(self) -> bool:
        """Whether a critic is asked."""
        return self.candidates > 1 or self.guidance != "best_of_n"

    @property
    def branches(self) -> bool:
        """Whether decisions are made between the steps of a sample, which then draw noise of their own."""
        return self.guidance in ("fk", "tree")

    def to_json(self) -> dict[str, Any]:
        """Return ``{"candidates", "selection", "temperature", "noise_scale"}``, None for what has no effect.

        Beside them is what the guidance has of its own, where it is another one than best of N.
        """
        chooses, scales = self.candidates > 1, self.guidance != "best_of_n" or self.selection == "softmax"
        record: dict[str, Any] = {
            "candidates": self.candidates,
            "selection": self.selection if chooses else None,
            "temperature": self.temperature if self.judges and scales else None,
            "noise_scale": self.noise_scale,
        }
        if self.guidance != "best_of_n":
            record["guidance"] = self.guidance
        own = {name: getattr(self, name) for name, guidances in OF_GUIDANCE.items() if self.guidance in guidances}
        if not self.zscore:
            own.pop("zscore", None)
        return record | own

    def told(self, how: Acting | Mapping[str, Any] | None) -> Acting:
        """Return how to act when told so.

        Args:
            how: another way as a whole; or some of these choices anew, by name; or None, which leaves all as it is.

        Raises:
            LaminarError: a choice that makes no sense, or has no effect.
        """
        if how is None or isinstance(how, Acting):
            return how or self
        found = replace(self, **how)
        _refuse_unused(found, how)
        return found

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Acting:
        """Rebuild what `to_json` wrote."""
        return cls(**{name: value for name, value in stored.items() if value is not None})

    @classmethod
    def of(cls, settings: Any, **changed: Any) -> Acting:
        """Return the way to act that an object's attributes of the same names say, some of them replaced."""
        return cls(**({one.name: getattr(settings, one.name) for one in fields(cls)} | changed))

    def __str__(self) -> str:
        """Return for example ``softmax of Q / 1 among 50 candidates`` or ``single sample, noise x 0.5``."""
        unit = " deviations" if self.zscore else ""
        rule = f"softmax of Q / {self.temperature:g}{unit}" if self.selection == "softmax" else "best Q"
        how = "single sample" if self.candidates == 1 else f"{rule} among {self.candidates} candidates"
        if self.guidance == "gradient":
            along = f"gradient of Q / {self.temperature:g} x {self.strength:g} ({self.jacobian} Jacobian)"
            how = along if self.candidates == 1 else f"{along}, {how}"
        elif self.branches:
            kind = f"{self.candidates} particles" if self.guidance == "fk" else f"a tree of {self.candidates} samples"
            how = f"{rule} of {kind}"
            how += f" by {self.potential} of Q" if self.guidance == "fk" and self.potential != "diff" else ""
            how += f", temperature {self.temperature:g}" if self.selection == "argmax" else ""
        return how if self.noise_scale == 1 else f"{how}, noise x {self.noise_scale:g}"


def _refuse_unused(acting: Acting, given: Collection[str]) -> None:
    """Refuse choices that have no effect beside the others.

    Raises:
        LaminarError: names the choice.
    """
    for name, guidances in OF_GUIDANCE.items():
        if name in given and acting.guidance not in guidances:
            remedy = " or ".join(f"guidance={other}" for other in guidances)
            raise LaminarError(f"{name} does not apply to guidance={acting.guidance}; give {remedy}, or leave it out")
    alone = ("selection",) if acting.guidance == "gradient" else ("selection", "temperature")
    for name in alone if acting.candidates == 1 else ():
        if name in given:
            raise LaminarError(f"{name} does not apply to a single sample; give candidates=N above 1")
    if acting.selection == "argmax" and acting.guidance == "best_of_n" and "temperature" in given:
        raise LaminarError("temperature does not apply to selection=argmax; give selection=softmax, or leave it out")
