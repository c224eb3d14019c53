"""What `laminar language policy.path=POLICY` does: a policy that is told one number a task is told in words."""

from __future__ import annotations

from pathlib import Path

from ..data.config import LanguageConfig
from ..data.sentences import about, learned
from ..data.words.encoder import SUFFIX
from ..errors import LaminarError
from ..machine import at_home
from ..policies.load import load_policy
from ..policies.told import told_in_words
from ..progress import Progress, silent


def run(config: LanguageConfig, progress: Progress = silent) -> str:
    """Learn an encoder, write the policy that is told in words by it, and return what it understands.

    Raises:
        LaminarError: no policy of that kind, no sentences in a folder, or a folder that must not be written.
    """
    if not config.out or config.out.endswith(SUFFIX):
        raise LaminarError(
            f"with policy.path, out= is the folder of the policy that is told in words, got {config.out or 'nothing'}"
        )
    target = Path(at_home(config.out))
    if target.exists() and not config.overwrite:
        raise LaminarError(f"{target} is there already; choose another out=, or give overwrite=true")
    policy = load_policy(at_home(str(config.policy.path)))
    encoder, recorded = learned(config.data.path, config.seed, progress)
    told_in_words(policy, encoder).save(target)
    return "\n".join([*about(encoder, recorded, target), f"the policy in {target} is told sentences"])
