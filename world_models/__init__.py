"""World models: learned simulators, in which policies are improved without a step of the robot.

    model          observations and actions -> latents -> observations, as one module that is saved like a policy
    rssm           the recurrent state-space model: how latents follow each other
    coders         observations to vectors, and features to observations, rewards and ends
    values         which numbers of an observation are angles, or have two values only
    success        a classifier of latents: has the skill been done?
    starts         recorded moments from which dreams begin
    imagination    B dreams as a world: chunks in, outcomes out, like a simulator
    open_loop      how far predictions are from what was recorded, and from two simple predictors
    picture_errors the same of pictures
    describing     what a saved one knows

A room above policies and below training: whatever learns in a simulator learns in a dream too.
"""

from .loading import is_world, load_world
from .model import WorldModel

__all__ = ["WorldModel", "is_world", "load_world"]
