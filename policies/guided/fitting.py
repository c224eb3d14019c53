"""Whether a policy and its critic can act as they are told; each refusal is one line."""

from __future__ import annotations

from ...errors import LaminarError
from ..generative import GenerativePolicy, generative_in
from ..module import PolicyModule
from ..networks.critics import Critic
from .acting import Acting


def check_critic(critic: Critic | None, acting: Acting) -> None:
    """Refuse to decide by a critic that is not there or has diverged.

    Raises:
        LaminarError: says what to do.
    """
    if not acting.judges:
        return
    if critic is None:
        who, plain = f"guidance={acting.guidance} needs a critic", "without guidance"
        if acting.guidance == "best_of_n":
            who, plain = f"candidates={acting.candidates} need a critic to choose", "with candidates=1"
        raise LaminarError(
            f"{who}, and the policy has none: train it with a method that learns one, such as method=ofql, or act "
            f"{plain}"
        )
    if not all(bool(weight.isfinite().all()) for weight in critic.parameters()):
        raise LaminarError("the policy's critic is not finite: its training diverged; choose an earlier checkpoint")


def check_acting(base: PolicyModule, acting: Acting) -> None:
    """Refuse a way of acting that a policy's process does not allow.

    Raises:
        LaminarError: says what to do.
    """
    if acting.guidance != "best_of_n":
        _check_guidance(denoised_by(base, acting), acting)
    inner = generative_in(base)
    if acting.noise_scale != 1 and not acting.branches and inner is not None and inner.process.inner_draws:
        raise LaminarError(
            f"noise_scale={acting.noise_scale:g} needs a policy that is a function of its starting noise, and "
            "this one's solver draws more on the way; act with noise_scale=1, or train with "
            "policy.process.solver=ddim"
        )


def _check_guidance(policy: GenerativePolicy, acting: Acting) -> None:
    process, name = policy.process, policy.policy_config.process.name
    if acting.branches and not process.predicts_data:
        raise LaminarError(
            f"guidance={acting.guidance} needs steps that can draw noise, which flow and diffusion have, and this "
            f"policy is of {name}; choose guidance=best_of_n or gradient"
        )
    if acting.guidance == "gradient" and acting.jacobian == "exact" and not process.predicts_data:
        raise LaminarError(
            f"jacobian=exact is that of a denoiser, which flow and diffusion have, and this policy is of {name}; "
            "choose jacobian=identity"
        )


def unsuited(runtime: str, acting: Acting) -> str | None:
    """Return why a runtime or an export format cannot run a way of acting, None where it can."""
    if acting.guidance == "gradient" and runtime in ("onnx", "pt2"):
        return "guidance=gradient differentiates while it samples, which an exported file cannot"
    if acting.guidance == "tree" and runtime not in ("eager", "cuda_graph"):
        return "guidance=tree is a long row of single network calls, which is run as it is and not compiled"
    return None


def denoised_by(base: PolicyModule, acting: Acting | None = None) -> GenerativePolicy:
    """Return the generative policy between whose steps a guided one acts.

    Raises:
        LaminarError: the base is composed, of more than a critic that waits.
    """
    kind = base.config["kind"]
    while not isinstance(base, GenerativePolicy):
        waits = getattr(base, "acting", None)
        if base.base is None or not isinstance(waits, Acting) or not waits.plain:
            what = "this way of acting" if acting is None else f"guidance={acting.guidance}"
            raise LaminarError(
                f"{what} goes between the steps of a policy, and this one ({kind}) has none of its own; guide its "
                "base, or choose guidance=best_of_n"
            )
        base = base.base
    return base
