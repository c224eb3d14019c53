"""What each verb that measures writes into its folder."""

from __future__ import annotations

from ..overwriting import Written

WRITTEN = {
    "eval": Written(
        "eval.json",
        ("env_id", "protocol"),
        (
            "report.md",
            *(f"{name}.mp4" for name in ("episodes", "chains")),
            *(f"{name}.png" for name in ("returns", "chunks", "routes", "training", "chains", "tasks")),
        ),
    ),
    "compare": Written("compare.json", ("difference",)),
    "bench": Written("bench.json", ("roofline",), ("latency.png", "report.md")),
    "replay": Written(
        "replay.json",
        ("predictors",),
        ("report.md", *(f"{name}.png" for name in ("dimensions", "horizon", "best", "median", "worst"))),
    ),
    "schedule": Written("report.json", ("found",), ("report.md",)),
}
