"""What recordings show when one looks at them: time stamps, lags, what is there twice, a contact sheet."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.inspect import describe
from laminar.data.inspection.flags import flags
from laminar.data.inspection.frames import is_number, is_picture, picture
from laminar.data.inspection.lag import RATE, TARGET, Lag, lags
from laminar.data.inspection.repeats import repeated_pictures
from laminar.data.inspection.sheet import write_sheet
from laminar.data.inspection.statistics import describe_array, labels
from laminar.data.inspection.text import render
from laminar.data.inspection.timing import dropped_rows, timing
from laminar.data.on_disk import on_disk
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError

Array = np.ndarray[Any, Any]


def recorded(state: Array, action: Array, lengths: list[int], **more: Any) -> Episodes:
    """Episodes of one state and one action; `pictures` are a camera."""
    observation: dict[str, Array] = {"state": state.astype("f")}
    if "pictures" in more:
        observation["camera"] = more.pop("pictures")
    features = {key: Feature(value.shape[1:], str(value.dtype)) for key, value in observation.items()}
    ends = np.cumsum(lengths)
    return Episodes(
        observation=observation,
        final_observation={key: np.asarray(value[ends - 1]) for key, value in observation.items()},
        action=action.astype("f"),
        reward=np.zeros(len(action), "f"),
        terminated=np.zeros(len(action), bool),
        truncated=np.isin(np.arange(len(action)), ends - 1),
        ends=ends,
        spec=Spec(features, Feature(action.shape[1:]), rate_hz=10.0),
        has_reward=False,
        **more,
    )


def walk(lengths: list[int], width: int = 2, seed: int = 0) -> Array:
    """Positions that wander, anew in each episode."""
    rng = np.random.default_rng(seed)
    return np.concatenate([np.cumsum(rng.normal(size=(length, width)), axis=0) for length in lengths])


def stamped(lengths: list[int], times: Array) -> Episodes:
    return recorded(walk(lengths), walk(lengths, 1, 1), lengths, infos={"timestamp": times})


# statistics


def test_statistics_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).normal(size=(1001, 3)).astype("f")
    found = describe_array(values)
    assert found["mean"] == pytest.approx(values.mean(0), abs=1e-6)
    assert found["std"] == pytest.approx(values.std(0), abs=1e-6)
    for name, share in (("q01", 0.01), ("q10", 0.1), ("q50", 0.5), ("q90", 0.9), ("q99", 0.99)):
        assert found[name] == pytest.approx(np.quantile(values, share, axis=0), abs=1e-6)
    assert len(describe_array(np.zeros((5, 4, 4, 3), np.uint8))["mean"]) == 1, "one for all pixels"
    assert labels("x", Feature((2,), names=("a", "b"))) == ["a", "b"]
    assert labels("x", Feature((2,))) == ["x[0]", "x[1]"]
    assert labels("x", Feature(())) == ["x"]


def test_the_text_has_a_row_a_number() -> None:
    lengths = [30, 30]
    found = {"path": "a", "format": "b"} | json.loads(
        json.dumps(describe(recorded(walk(lengths), walk(lengths), lengths)))
    )
    lines = render(found).splitlines()
    assert sum(line.split()[:1] == ["min"] for line in lines) == 2, "a head for the state, and one for the action"
    for name in ("state[0]", "state[1]", "action[0]", "action[1]"):
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert len(line.split()) == 10, "a name and nine statistics"


# time stamps


def test_a_steady_clock_is_steady() -> None:
    found = timing(stamped([5, 7], np.r_[np.arange(5) * 0.1, 100 + np.arange(7) * 0.1]))
    assert found is not None
    assert found.problems == []
    assert found.rate_hz == pytest.approx(10)
    assert (found.dropped, found.gaps, found.backwards) == (0, 0, 0)
    assert found.jitter_ms == pytest.approx(0, abs=1e-6)


def test_no_time_is_measured_across_episodes() -> None:
    """The next one begins anew, at 0."""
    found = timing(stamped([5, 5], np.tile(np.arange(5) * 0.1, 2)))
    assert found is not None
    assert found.backwards == 0


def test_dropped_rows_jitter_and_clocks_that_go_back() -> None:
    times = np.arange(40) * 0.1
    times[10:20] += 0.3  # three rows are missing
    times[20:] += 0.3
    times[30:] += 0.1  # and one
    times[35] = times[34]
    episodes = stamped([20, 20], times)
    found = timing(episodes)
    assert found is not None
    assert (found.gaps, found.dropped, found.backwards) == (3, 5, 1), "the row after the repeated time is late, too"
    assert dropped_rows(episodes).tolist() == [3, 2]
    assert [one.split(":")[1].split()[0] for one in found.problems] == ["does", "5"]
    assert "3 rows are missing" in flags(episodes)[0][0]
    problems = describe(episodes)["problems"]
    assert any(
        "5 rows are missing in 3 gaps, the longest of 400 ms where a step takes 100 ms" in one for one in problems
    )
    shaken = np.arange(200) * 0.1 + np.random.default_rng(0).uniform(-0.04, 0.04, 200)
    assert "vary by" in " ".join(timing(stamped([200], shaken)).problems)  # type: ignore[union-attr]


def test_another_rate_than_the_stated_one_is_told() -> None:
    found = timing(stamped([9], np.arange(9) * 0.05))
    assert found is not None
    assert found.problems == ["timestamp: rows come at 20 Hz, and 10 Hz are stated"]


@pytest.mark.parametrize("times", [None, np.full(9, np.nan), np.zeros(9), np.zeros((9, 2))])
def test_without_a_clock_nothing_is_told(times: Array | None) -> None:
    episodes = stamped([9], np.arange(9) * 0.1)
    episodes.infos = {} if times is None else {"timestamp": times}
    assert timing(episodes) is None
    assert dropped_rows(episodes).tolist() == [0]


# lag


@pytest.mark.parametrize("steps", [-2, 0, 1, 4])
def test_a_target_is_followed_after_some_steps(steps: int) -> None:
    lengths = [80, 60, 2, 1, 90]
    action = walk(lengths)
    state = np.concatenate(
        [np.roll(part, steps, axis=0)[:, ::-1] for part in np.split(action, np.cumsum(lengths)[:-1])]
    )
    found = lags(recorded(state + 5, action, lengths))
    assert [(one.action, one.dimension, one.kind, one.steps) for one in found] == [
        (0, 1, TARGET, steps),
        (1, 0, TARGET, steps),
    ]
    assert all(one.correlation > 0.8 for one in found)
    early = [one for one in describe(recorded(state, action, lengths))["problems"] if "come after the state" in one]
    assert bool(early) == (steps < 0)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_rate_shows_at_the_next_observation(sign: int) -> None:
    lengths = [100, 100]
    action = np.random.default_rng(0).normal(size=(200, 1))
    state = np.concatenate([np.r_[np.zeros((1, 1)), np.cumsum(part[:-1], axis=0)] for part in np.split(action, 2)])
    found = lags(recorded(sign * state, action, lengths))
    assert found == [Lag(0, "state", 0, RATE, 1, pytest.approx(sign, abs=1e-6))]  # type: ignore[arg-type]


def test_a_controller_that_asks_for_less_is_no_lag() -> None:
    """What it asks for falls as the state rises: that is feedback, and the recording is in order."""
    rng, state, action = np.random.default_rng(0), [0.0], []
    goal = 0.0
    for step in range(400):
        goal = rng.normal() if step % 40 == 0 else goal
        action.append(0.2 * (goal - state[-1]))
        state.append(state[-1] + action[-1] * 0.3 + rng.normal() * 0.02)
    found = lags(recorded(np.array(state[:-1])[:, None], np.array(action)[:, None], [400]))
    assert all(one.steps > 0 for one in found)


def test_noise_follows_nothing() -> None:
    rng = np.random.default_rng(0)
    assert lags(recorded(rng.normal(size=(400, 3)), rng.normal(size=(400, 2)), [200, 200])) == []
    assert lags(recorded(np.zeros((400, 3)), np.zeros((400, 2)), [200, 200])) == []


# pictures


def films(lengths: list[int], seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 255, (sum(lengths), 8, 9, 3), np.uint8)


@pytest.mark.parametrize("disk", [False, True])
def test_a_camera_that_is_stuck_is_told(disk: bool) -> None:
    lengths = [20, 20, 20]
    pictures = films(lengths)
    pictures[20:40] = pictures[20]
    episodes = recorded(walk(lengths), walk(lengths), lengths, pictures=on_disk([pictures]) if disk else pictures)
    found = repeated_pictures(episodes)["camera"]
    assert found.stuck == [1]
    assert found.equal == pytest.approx(19, abs=3)
    assert "one picture of camera" in flags(episodes)[1]
    assert "camera: episodes 1 show one picture throughout, while the robot moves" in describe(episodes)["problems"]


def test_a_camera_at_half_the_rate_is_told() -> None:
    lengths = [40, 40]
    pictures = films(lengths)
    pictures[1::2] = pictures[::2]
    found = describe(recorded(walk(lengths), walk(lengths), lengths, pictures=pictures))
    assert any("pictures that were compared equal the one before" in one for one in found["problems"])


def test_a_robot_that_stands_still_may_show_one_picture() -> None:
    lengths = [40, 40]
    state, pictures = walk(lengths), films(lengths)
    state[40:], pictures[40:] = state[40], pictures[40]
    found = describe(recorded(state, walk(lengths), lengths, pictures=pictures))
    assert found["repeated"]["camera"]["stuck"] == []
    assert not any(one.startswith("camera") and "picture" in one for one in found["problems"])


def test_what_is_a_picture() -> None:
    shapes = [(32, 32, 3), (32, 32, 1), (32, 32), (3, 3), (4, 4, 4), (5,), ()]
    assert [is_picture(Feature(shape)) for shape in shapes] == [True, True, True, False, True, False, False]
    assert is_number("state", Feature((5,)))
    assert not is_number("instruction", Feature((5,)))
    assert not is_number("mask", Feature((5,), "uint8"))


@pytest.mark.parametrize(
    "frame", [np.full((4, 6), np.nan, "f"), np.arange(24.0).reshape(4, 6, 1), np.zeros((4, 6, 4), "u1")]
)
def test_any_frame_becomes_a_picture(frame: Array) -> None:
    assert picture(frame).size == (6, 4)
    assert picture(frame, 3).size == (3, 2)
    assert picture(frame).mode == "RGB"


# the sheet, and the verb


def test_the_sheet_has_a_strip_an_episode_and_camera(tmp_path: Path) -> None:
    lengths = [20, 3]
    pictures = np.zeros((23, 40, 64, 3), np.uint8)
    pictures[:20] = [255, 0, 0]
    episodes = recorded(walk(lengths), walk(lengths), lengths, pictures=pictures, success=np.array([True, False]))
    with Image.open(write_sheet(episodes, tmp_path / "new/sheet.png")) as image:
        image.load()
        colors = {color for _, color in image.getcolors(1 << 20) or []}
        width, height = image.size
    assert {(255, 0, 0), (0, 0, 0)} <= colors
    assert width == 8 * 128 + 9 * 6
    assert height == 2 * (80 + 36) + 3 * 6


def test_inspect_writes_a_sheet_only_if_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import h5py

    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["data/demo_0/obs/state"], file["data/demo_0/obs/eye"] = walk([9]), films([9])
        file["data/demo_0/actions"] = np.random.default_rng(0).uniform(-1, 1, (9, 2))
    words, sheet = ["inspect", str(tmp_path / "a.hdf5")], tmp_path / "sheet.png"
    assert main(words) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.hdf5", ".laminar"}, "the pictures of HDF5 are unpacked"
    capsys.readouterr()
    assert main([*words, f"sheet={sheet}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sheet"] == str(sheet)
    before = sheet.read_bytes()
    assert main([*words, f"sheet={sheet}"]) == 2
    assert "exists already; choose another sheet=, or give overwrite=true" in capsys.readouterr().err
    assert main([*words, f"sheet={sheet}", "overwrite=true"]) == 0
    assert sheet.read_bytes() == before
    assert main([*words, "data.observation=[state]", f"sheet={tmp_path / 'b.png'}"]) == 2
    assert "has no pictures to put on" in capsys.readouterr().err
    assert main([*words, f"sheet={tmp_path / 'b.jpg'}"]) == 2
    assert "a contact sheet is a PNG file" in capsys.readouterr().err


def test_tasks_stay_with_their_episodes() -> None:
    lengths = [3, 4]
    one = recorded(walk(lengths), walk(lengths), lengths, tasks=np.array(["up", "down"]))
    swapped = one.select([1, 0])
    assert swapped.tasks is not None
    assert swapped.tasks.tolist() == ["down", "up"]
    both = Episodes.concatenate([one, swapped]).tasks
    assert both is not None
    assert both.tolist() == ["up", "down", "down", "up"]
    silent = replace(one, tasks=None)
    assert silent.select([0]).tasks is None
    assert Episodes.concatenate([one, silent]).tasks is None


def test_a_sheet_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    episodes = recorded(walk([5]), walk([5]), [5], pictures=films([5]))
    with pytest.raises(LaminarError, match="cannot be written"):
        write_sheet(episodes, tmp_path / "file/sheet.png")
