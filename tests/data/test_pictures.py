"""Pictures that a file keeps compressed are decoded, or refused by number."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from laminar.data.load import load_episodes
from laminar.errors import LaminarError

PICTURES = np.random.default_rng(0).integers(0, 256, (8, 16, 12, 3), dtype=np.uint8)


def encode(picture: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind)
    return stream.getvalue()


def with_camera(folder: Path, samples: Any, pictures: list[bytes], layout: str = "variable") -> Path:
    """Write a Minari data set whose second episode of 7 steps, and first of 5, has a camera."""
    path = samples.minari(folder)
    with h5py.File(samples.main_data(path), "a") as file:
        for name, count in (("episode_0", 6), ("episode_1", 8)):
            state = file[f"{name}/observations"][()]
            del file[f"{name}/observations"]
            group = file.create_group(f"{name}/observations")
            group["state"] = state
            some = [np.frombuffer(one, np.uint8) for one in pictures[:count]]
            if layout == "variable":
                data = group.create_dataset("camera", (count,), dtype=h5py.vlen_dtype(np.uint8))
                for row, value in enumerate(some):
                    data[row] = value
            else:
                rows = np.zeros((count, max(map(len, some))), np.uint8)
                for row, value in zip(rows, some, strict=True):
                    row[: len(value)] = value
                group["camera"] = rows
    return path


@pytest.mark.parametrize("layout", ["variable", "padded"])
def test_png_comes_back_exactly(layout: str, tmp_path: Path, samples: Any) -> None:
    path = with_camera(tmp_path, samples, [encode(one, "PNG") for one in PICTURES], layout)
    episodes = load_episodes(path)
    camera = episodes.observation["camera"]
    assert (camera.dtype, camera.shape) == (np.uint8, (12, 16, 12, 3))
    np.testing.assert_array_equal(camera, PICTURES[[*range(5), *range(7)]])
    np.testing.assert_array_equal(episodes.final_observation["camera"], PICTURES[[5, 7]])
    assert episodes.spec.observation["camera"].dtype == "uint8"


def test_jpeg_comes_back_closely(tmp_path: Path, samples: Any) -> None:
    smooth = [np.full((16, 12, 3), 20 * number, np.uint8) for number in range(8)]
    camera = load_episodes(with_camera(tmp_path, samples, [encode(one, "JPEG") for one in smooth])).observation[
        "camera"
    ]
    assert np.abs(camera[7].astype(int) - smooth[2]).max() <= 2


def test_gray_pictures_have_one_channel(tmp_path: Path, samples: Any) -> None:
    path = with_camera(tmp_path, samples, [encode(one[:, :, 0], "PNG") for one in PICTURES])
    assert load_episodes(path).observation["camera"].shape == (12, 16, 12, 1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda picture: picture[:60], "picture 3 of '/episode_0/observations/camera' is damaged"),
        (
            lambda picture: encode(PICTURES[0, :8], "PNG"),
            "picture 3 of '/episode_0/observations/camera' has shape (8, 12, 3)",
        ),
        (lambda picture: b"text", "picture 3 of '/episode_0/observations/camera' is damaged"),
    ],
)
def test_bad_pictures_are_named(spoil: Any, message: str, tmp_path: Path, samples: Any) -> None:
    pictures = [encode(one, "PNG") for one in PICTURES]
    pictures[3] = spoil(pictures[3])
    with pytest.raises(LaminarError) as caught:
        load_episodes(with_camera(tmp_path, samples, pictures))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_texts_among_observations_are_told(tmp_path: Path, samples: Any) -> None:
    path = samples.robomimic(tmp_path)
    for demo, count in (("demo_0", 5), ("demo_1", 7)):
        samples.add(path, f"data/{demo}/obs/language", np.array([b"open the drawer"] * count))
    episodes = load_episodes(path)
    assert list(episodes.observation) == ["arm"]
    assert any("'data/demo_*/obs/language (text)' (2 times)" in remark for remark in episodes.remarks)
