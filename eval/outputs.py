"""What each verb that measures writes into its folder."""

from __future__ import annotations

from ..overwriting import Written

_PAGES = ("report.md", "report.html")
WRITTEN = {
    "eval": Written(
        "eval.json",
        ("env_id", "protocol"),
        (
            *_PAGES,
            *(f"{name}.mp4" for name in ("episodes", "chains")),
            *(f"{name}.png" for name in ("returns", "chunks", "routes", "training")),
        ),
    ),
    # "difference" is in records of before
    "compare": Written("compare.json", ("pairs", "difference"), ("compare.md", "compare.html", "returns.png")),
    "bench": Written("bench.json", ("roofline",), ("latency.png", *_PAGES)),
    "replay": Written(
        "replay.json",
        ("predictors",),
        (*_PAGES, *(f"{name}.png" for name in ("dimensions", "horizon", "best", "median", "worst", "frames"))),
    ),
    "schedule": Written("report.json", ("found",), _PAGES),
}
