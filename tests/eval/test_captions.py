"""What is written into the frames of a film."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest

from laminar.data.spec import Feature, Spec
from laminar.envs import make_env
from laminar.eval.results.result import Episode
from laminar.eval.rollouts.captions import instruction_text, outcome_of, task_text
from laminar.eval.rollouts.video import Caption, Recorder, captioned

SPEC = Spec({"observation": Feature((2,))}, Feature((1,)))
PICTURE = np.full((480, 640, 3), 180, np.uint8)
CAPTION = Caption("seed 7", "1.2 s", "no success yet", None, "open drawer")


def letters(frame: np.ndarray) -> np.ndarray:
    """Return where a frame is light within its dark strip."""
    return (frame.max(axis=2) > 150) & strip(frame)[:, None]


def strip(frame: np.ndarray) -> np.ndarray:
    """Return which rows of a frame are dark."""
    return np.median(frame, axis=(1, 2)) < 90


def test_the_strip_is_dark_and_covers_nothing() -> None:
    picture = PICTURE.copy()
    picture[-20:], picture[:, :20] = (255, 120, 120), (120, 120, 255)
    frame = captioned(picture, CAPTION)
    dark = np.flatnonzero(strip(frame))
    assert 40 < len(dark) < 80
    assert dark[-1] == 479
    shown = frame[: dark[0]]
    wide = np.flatnonzero((shown > 90).any(axis=(0, 2)))
    assert wide[-1] - wide[0] + 1 == pytest.approx(640 * dark[0] / 480, abs=2), "the whole picture, smaller"
    assert shown[-8, 320].argmax() == 0, "its last rows"
    assert shown[200, wide[0] + 8].argmax() == 2, "its first columns"
    assert picture.shape == frame.shape


def test_each_part_is_written() -> None:
    whole = letters(captioned(PICTURE, CAPTION))
    for part in ("whose", "clock", "outcome", "task"):
        less = letters(captioned(PICTURE, replace(CAPTION, **{part: ""})))
        assert whole.sum() > less.sum() + 50, part


def test_success_is_green_and_failure_red() -> None:
    def mean_letter(good: bool | None) -> np.ndarray:
        frame = captioned(PICTURE, Caption(outcome="outcome", good=good))
        return frame[letters(frame) & (frame < 175).any(axis=2)].mean(axis=0)

    assert mean_letter(True)[1] > mean_letter(True)[0] + 40
    assert mean_letter(False)[0] > mean_letter(False)[1] + 40


def test_long_and_strange_texts_stay_inside() -> None:
    for text in ("instruction " * 60, "x" * 900, "öffne 抽屉 <b>\n", ""):
        frame = captioned(PICTURE, replace(CAPTION, task=text))
        assert frame.shape == PICTURE.shape
        assert 30 < strip(frame).sum() < 90
        assert not letters(frame)[:, -5:].any()
    assert captioned(PICTURE[:100, :80], CAPTION).shape == (100, 80, 3)


def test_words() -> None:
    running, won = Episode(0, 2.5, 3, None), Episode(0, 1.0, 3, True)
    assert outcome_of(running, False) == {"outcome": "return 2.5"}
    assert outcome_of(running, True) == {"outcome": "ended, return 2.5"}
    assert outcome_of(won, False) == {"outcome": "success", "good": True}
    assert outcome_of(replace(won, success=False), False) == {"outcome": "no success yet"}
    assert outcome_of(replace(won, success=False), True) == {"outcome": "no success", "good": False}


def test_the_instruction_is_the_sentence_that_the_policy_was_given() -> None:
    assert instruction_text("open_drawer", SPEC) == "open drawer"
    seeing = replace(SPEC, observation={"instruction": Feature((384,), unit="hashed")})
    assert instruction_text("open_drawer", seeing).startswith('open drawer: "')
    numbered = replace(SPEC, observation={"instruction": Feature((34,), unit="task")})
    assert instruction_text("open_drawer", numbered) == "open drawer", "it was given a number"
    other = replace(SPEC, observation={"instruction": Feature((384,), unit="lang_paraphrases")})
    assert instruction_text("open_drawer", other) == "open drawer", "what was said is not known"
    env = make_env("Hopper-v4")
    assert task_text(env, "Hopper-v4", SPEC) == "Hopper-v4"
    env.close()


class Stage:
    """An environment that shows a picture of its own size, another shade at every step."""

    render_mode = "rgb_array"
    dt = 0.04

    def __init__(self) -> None:
        self.unwrapped, self.shade = self, 100

    def render(self) -> np.ndarray:
        self.shade += 20
        picture = np.full((300, 300, 3), self.shade, np.uint8)
        picture[0, 0] = 0
        return picture


def frames(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    return meta, [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]


def test_other_sizes_are_fitted_and_the_end_is_held(tmp_path: Path) -> None:
    recorder, env = Recorder(tmp_path / "film.mp4", [3]), Stage()
    recorder.caption(3, task="a task")
    recorder.caption(4, task="of an episode that is not filmed")
    for _ in range(3):
        recorder.film(3, env)  # type: ignore[arg-type]
        recorder.film(4, env)  # type: ignore[arg-type]
        recorder.caption(3, outcome="return 1")
    recorder.caption(3, outcome="success", good=True)
    recorder.write()
    meta, shown = frames(tmp_path / "film.mp4")
    assert meta["size"] == (640, 480)
    assert "yuv420p" in meta["pix_fmt"]
    assert len(shown) == 3 + 25, "and a second of the last one"
    assert shown[0][200, :60].mean() < 40, "dark beside a square"
    assert abs(float(shown[0][200, 320].mean()) - 120) < 12
    corner = shown[-1][430:, 480:].reshape(-1, 3)
    light = corner[corner.max(axis=1) > 150]
    assert light[:, 1].mean() > light[:, 0].mean() + 30, "green letters at the end"
    start = (tmp_path / "film.mp4").read_bytes()
    assert start.index(b"moov") < start.index(b"mdat"), "a browser plays it before it has all"


@pytest.mark.parametrize("clock", [True, False])
def test_the_clock(clock: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = Stage()
    if not clock:
        monkeypatch.delattr(Stage, "dt")
    recorder = Recorder(tmp_path / "film.mp4", [0])
    for _ in range(3):
        recorder.film(0, env)  # type: ignore[arg-type]
    (take,) = recorder._takes.values()
    assert [caption.clock for _, caption in take.shots] == (
        ["0.0 s", "0.0 s", "0.1 s"] if clock else ["step 0", "step 1", "step 2"]
    )
