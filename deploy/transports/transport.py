"""Where `deploy/transport.py` was; the members of this room may import it from either place."""

from __future__ import annotations

from ..transport import EVERYTHING, Answer, Handler, Reading, Transport

__all__ = ["EVERYTHING", "Answer", "Handler", "Reading", "Transport"]
