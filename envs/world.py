"""stub"""

from typing import Any

World = Any
