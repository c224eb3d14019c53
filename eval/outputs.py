"""What each verb that measures writes into its folder."""

from __future__ import annotations

from ..overwriting import Written

EPISODES_FILM = "episodes.mp4"
CHAIN_FILMS, OLD_CHAINS_FILM = "chain_*_of_*.mp4", "chains.mp4"  # one of all was written before
_PAGES = ("report.md", "report.html")
WRITTEN = {
    "eval": Written(
        "eval.json",
        ("env_id", "protocol"),
        (
            *_PAGES,
            *(EPISODES_FILM, CHAIN_FILMS, OLD_CHAINS_FILM),
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
