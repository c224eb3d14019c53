"""How pictures of LeRobot sets are read: unpacked once, or decoded again and again within bounds."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from laminar.data.batches import Chunks
from laminar.data.inspect import inspect_file
from laminar.data.load import load_episodes
from laminar.data.on_disk import OnDisk
from laminar.data.selection import Selection
from laminar.errors import LaminarError

pytest.importorskip("pyarrow")
pytest.importorskip("av")

CAMERA = "observation.images.top"
FILM = f"videos/{CAMERA}/chunk-000/file-000.mp4"


@pytest.fixture(scope="session")
def sets(samples: Any) -> ModuleType:
    return samples.lerobot_sets()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "laminar"


def images_of(path: Path, video: str | None = None) -> Any:
    return load_episodes(path, Selection(video=video)).observation[CAMERA]


def test_pictures_are_unpacked_once(sets: ModuleType, tmp_path: Path) -> None:
    path = sets.write(tmp_path / "a")
    first = images_of(path)
    (packed,) = (path / ".laminar").iterdir()
    assert isinstance(first.sources[0], np.memmap)
    written = packed.stat().st_mtime_ns
    images_of(path, "cache")
    assert packed.stat().st_mtime_ns == written
    np.testing.assert_array_equal(np.asarray(first), np.asarray(images_of(path, "stream")))


def test_changed_films_and_changed_times_are_unpacked_anew(sets: ModuleType, tmp_path: Path) -> None:
    path = sets.write(tmp_path / "a", sets.Made(lengths=(5, 5)))
    before = np.asarray(images_of(path))
    (old,) = (path / ".laminar").iterdir()
    os.utime(path / FILM, ns=(1, 1))
    images_of(path)
    (new,) = (path / ".laminar").iterdir()
    assert new.name != old.name
    swapped = {
        f"videos/{CAMERA}/from_timestamp": np.array([0.5, 0]),
        f"videos/{CAMERA}/to_timestamp": np.array([1, 0.5]),
    }
    sets.rewrite(path / "meta/episodes/chunk-000/file-000.parquet", **swapped)
    np.testing.assert_array_equal(np.asarray(images_of(path)), np.roll(before, 5, axis=0))


def test_a_camera_does_not_remove_what_belongs_to_another(sets: ModuleType, tmp_path: Path) -> None:
    path = sets.write(tmp_path / "a")
    (path / ".laminar").mkdir()
    other = path / ".laminar" / f"{CAMERA}-left-0123456789abcdef.npy"
    other.write_bytes(b"x")
    images_of(path)
    assert other.exists()


def test_a_read_only_folder_is_unpacked_at_home(
    sets: ModuleType, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sets.write(tmp_path / "a")
    monkeypatch.setattr(os, "access", lambda place, _: "cache" in str(place) or Path(place) == tmp_path)
    images = images_of(path)
    assert isinstance(images.sources[0], np.memmap)
    assert not (path / ".laminar").exists()
    assert len(list(own_cache.glob("a-*/*.npy"))) == 1


def test_without_room_pictures_are_streamed(sets: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sets.write(tmp_path / "a")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    episodes = load_episodes(path)
    assert "is decoded again and again, which is slower" in "\n".join(episodes.remarks)
    assert not isinstance(episodes.observation[CAMERA].sources[0], np.memmap)  # type: ignore[attr-defined]
    assert not (path / ".laminar").exists()
    with pytest.raises(LaminarError, match=r"make room, or set data.video=stream"):
        images_of(path, "cache")


def test_only_what_is_asked_for_is_unpacked(sets: ModuleType, tmp_path: Path) -> None:
    path = sets.write(tmp_path / "a")
    (path / FILM).unlink()
    assert load_episodes(path, Selection(observation=("observation.state",))).num_episodes == 2
    assert not (path / ".laminar").exists()


def test_keys_are_no_paths(sets: ModuleType, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = sets.write(tmp_path / "a", sets.Made(pictures="image"))
    features, odd = sets.info_of(path)["features"], "observation.../../../escaped"
    features[odd] = features.pop(CAMERA)
    sets.change_info(path, features=features)
    file = path / "data/chunk-000/file-000.parquet"
    stored = pq.read_table(file)
    pq.write_table(stored.rename_columns([odd if name == CAMERA else name for name in stored.schema.names]), file)
    load_episodes(path)
    assert len(list((path / ".laminar").iterdir())) == 1


@pytest.mark.parametrize("pictures", ["video", "image"])
def test_memory_is_bounded(sets: ModuleType, pictures: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from laminar.data.lerobot.recent import Recent

    made: list[Recent] = []

    def small(budget: int = 0) -> Recent:
        made.append(Recent(20_000))
        return made[-1]

    monkeypatch.setattr("laminar.data.lerobot.recent.Recent", small)
    monkeypatch.setattr("laminar.data.lerobot.streaming._OPEN", 2)
    path = sets.write(tmp_path / "a", sets.Made(pictures=pictures, lengths=(6,) * 6, together=1))
    images = images_of(path, "stream")
    for seed in range(5):
        rows = np.random.default_rng(seed).integers(0, 36, 20)
        wanted = np.stack([sets.picture(row) for row in rows]).astype(float)
        assert np.abs(images.read(rows) - wanted).mean() < 4
        assert 0 < made[0].held <= 20_000
    if pictures == "video":
        assert len(images.sources[0]._decoders._idle) <= 2


def test_frames_that_were_decoded_are_not_decoded_again(
    sets: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from laminar.data.lerobot.film import Decoder

    asked: list[int] = []
    read = Decoder.read
    monkeypatch.setattr(Decoder, "read", lambda self, numbers: asked.extend(numbers) or read(self, numbers))
    images = images_of(sets.write(tmp_path / "a"), "stream")
    images.read(np.array([3, 4, 4, 9]))
    images.read(np.array([4, 9, 5]))
    assert sorted(asked) == [3, 4, 5, 9]


def test_neighbors_are_decoded_in_one_go(sets: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without seeking: what comes next is what was asked for."""
    from laminar.data.lerobot.film import Decoder

    images = images_of(sets.write(tmp_path / "a", sets.Made(lengths=(30,), gop=4)), "stream")
    (film,) = images.sources[0].films
    decoder, sought = Decoder(film), []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            sought.append(name)
            return getattr(container, name)

    container, decoder._container = decoder._container, Watched()
    assert len(list(decoder.read(range(30)))) == 30
    assert sought.count("seek") == 1
    list(decoder.read([10, 11]))
    assert sought.count("seek") == 2


def test_threads_read_side_by_side(sets: ModuleType, tmp_path: Path) -> None:
    images = images_of(sets.write(tmp_path / "a", sets.Made(lengths=(20, 30), gop=10)), "stream")
    wanted = np.asarray(images)
    wrong: list[int] = []

    def look(seed: int) -> None:
        for rows in np.random.default_rng(seed).integers(0, 50, (10, 8)):
            wrong.extend(rows[(images.read(rows) != wanted[rows]).any(axis=(1, 2, 3))].tolist())

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_reads_by_itself(sets: ModuleType, tmp_path: Path) -> None:
    """Loaders fork: the threads of their parent are not there, and its open films are not theirs to seek in."""
    images = images_of(sets.write(tmp_path / "a", sets.Made(lengths=(40, 40, 40))), "stream")
    expected = np.asarray(images)
    images.sources[0]._recent._values.clear()  # they are to be decoded again
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest has its own; a child that waits must end
        signal.alarm(30)
        os._exit(0 if np.array_equal(np.asarray(images), expected) else 1)
    mine = np.asarray(images)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(mine, expected)


def test_batches_are_the_same_from_stream_cache_and_memory(sets: ModuleType, tmp_path: Path) -> None:
    path = sets.write(tmp_path / "a", sets.Made(lengths=(9, 12), together=1))
    stream, packed = (load_episodes(path, Selection(video=video)) for video in ("stream", "cache"))
    assert isinstance(stream.observation[CAMERA], OnDisk)
    index = torch.arange(21)
    batches = [Chunks(one, history=2, chunk=3).gather(index) for one in (stream, packed)]
    assert batches[0]["observation"][CAMERA].dtype == torch.uint8
    assert batches[0]["observation"][CAMERA].shape == (21, 2, 32, 48, 3)
    assert all(torch.equal(batches[0]["observation"][key], value) for key, value in batches[1]["observation"].items())
    both = load_episodes([path, path], Selection(video="stream"))
    np.testing.assert_array_equal(np.asarray(both.observation[CAMERA][30]), np.asarray(stream.observation[CAMERA][9]))


def test_inspecting_unpacks_nothing(sets: ModuleType, tmp_path: Path) -> None:
    path = sets.write(tmp_path / "a")
    found = inspect_file(path)
    assert found["format"] == "lerobot"
    assert found["observation"][CAMERA]["dtype"] == "uint8"
    assert not (path / ".laminar").exists()
