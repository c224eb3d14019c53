"""What the real rosbridge does and its protocol does not say, and what goes wrong on a network: switches of a gateway.

The defaults are those of rosbridge 0.11.17 (ROS 1), as it was watched; faults are off.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Quirks:
    """Switches; each may be changed while the gateway runs.

    Attributes:
        silent_errors: a client is never told what was wrong with its frame, else by `op: status`.
        cbor_drops_string_arrays: messages with a sequence of texts never arrive in cbor.
        zero_stamps: a header that was left out has the stamp 0, else the present time.
        backlog: whatever a client did not read yet is kept for it, however old it becomes, else as many messages of
            a topic as its `queue_length` says.
        null_for_nan: a number that is not finite is sent as null, else as NaN, which strict JSON has not.
        slow: seconds before each frame that is sent.
        half_open: connections stay, and nothing comes or goes any more, also of new ones.
    """

    silent_errors: bool = True
    cbor_drops_string_arrays: bool = True
    zero_stamps: bool = True
    backlog: bool = True
    null_for_nan: bool = True
    slow: float = 0.0
    half_open: bool = False
