"""Damaged LeRobot sets: each is refused in one line that names the file and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from laminar.data.formats import lerobot
from laminar.data.load import load_episodes
from laminar.data.selection import Selection
from laminar.errors import LaminarError

pytest.importorskip("pyarrow")
pytest.importorskip("av")

CAMERA = "observation.images.top"
ROWS, FILM = "data/chunk-000/file-000.parquet", f"videos/{CAMERA}/chunk-000/file-000.mp4"
LISTED = "meta/episodes/chunk-000/file-000.parquet"
BOTH = ("stream", "cache")


@pytest.fixture(scope="session")
def sets(samples: Any) -> ModuleType:
    return samples.lerobot_sets()


def error_of(path: Path, video: str | None = "stream", read: bool = False) -> str:
    """Return the message; it is one line, and comes when loading unless the pictures have to be read for it."""

    def load() -> None:
        episodes = load_episodes(path, Selection(video=video))
        assert read, "should have been seen when loading"
        np.asarray(episodes.observation[CAMERA])

    with pytest.raises(LaminarError) as caught:
        load()
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


Damage = Callable[[ModuleType, Path], Any]


def gone(name: str) -> Damage:
    return lambda _, path: (path / name).unlink()


def cut(name: str, share: float) -> Damage:
    def damage(_: ModuleType, path: Path) -> None:
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[: int(len(content) * share)])

    return damage


def changed(name: str, **columns: Any) -> Damage:
    return lambda sets, path: sets.rewrite(path / name, **columns)


def entry(**changes: Any) -> Damage:
    return lambda sets, path: sets.change_info(path, **changes)


def text(name: str, content: str) -> Damage:
    return lambda _, path: (path / name).write_text(content)


CASES: dict[str, tuple[str, Damage, str]] = {
    "missing rows": ("v3.0", gone(ROWS), "file-000.parquet: missing; copy the data set again"),
    "missing film": ("v3.0", gone(FILM), "file-000.mp4: missing; copy the data set again"),
    "missing film v2": ("v2.1", gone(f"videos/chunk-000/{CAMERA}/episode_000001.mp4"), "episode_000001.mp4: missing"),
    "missing rows v2": ("v2.0", gone("data/chunk-000/episode_000001.parquet"), "episode_000001.parquet: missing"),
    "missing episodes": ("v3.0", gone(LISTED), "meta/episodes: no Parquet files"),
    "missing episodes v2": ("v2.1", gone("meta/episodes.jsonl"), "episodes.jsonl: missing or not readable"),
    "missing tasks": ("v3.0", gone("meta/tasks.parquet"), "tasks.parquet: missing"),
    "missing tasks v2": ("v2.1", gone("meta/tasks.jsonl"), "tasks.jsonl: missing"),
    "cut film": ("v3.0", cut(FILM, 0.6), "cut off or damaged MP4 file"),
    "cut rows": ("v3.0", cut(ROWS, 0.6), "file-000.parquet: cut off or damaged Parquet file"),
    "cut episodes": ("v2.1", cut("meta/episodes.jsonl", 0.8), "episodes.jsonl: line 2 is no JSON"),
    "cut info": ("v3.0", cut("meta/info.json", 0.9), "info.json: no JSON, or damaged"),
    "no column": ("v3.0", lambda sets, path: sets.rewrite(path / ROWS, ["action"]), "no column 'action', which meta"),
    "no index": ("v3.0", lambda sets, path: sets.rewrite(path / ROWS, ["frame_index"]), "no column 'frame_index'"),
    "narrow": ("v3.0", changed(ROWS, action=np.zeros((12, 3), "f")), "'action' holds 36 numbers in 12 rows, meta"),
    "words": ("v3.0", changed(ROWS, action=["a"] * 12), "'action' holds string, expected numbers"),
    "holes": ("v3.0", lambda sets, path: sets.rewrite(path / ROWS, action=sets.pa.array([[0.0, None]] * 12)),
              "'action' lacks 12 values"),
    "no values": ("v3.0", changed(ROWS, action=np.full((12, 2), np.nan, "f")), "action is not finite in 12 of 12 rows"),
    "old version": ("v3.0", entry(codebase_version="v1.6"), "'codebase_version' is 'v1.6', and v2.0, v2.1 and v3.0"),
    "new version": ("v3.0", entry(codebase_version="v3.1"), "'codebase_version' is 'v3.1'"),
    "odd version": ("v3.0", entry(codebase_version=3), "'codebase_version' is 3"),
    "no rate": ("v3.0", entry(fps=0), "'fps' is 0, expected frames a second"),
    "no features": ("v3.0", entry(features={}), "no 'features'"),
    "odd feature": ("v3.0", entry(features={"action": {"dtype": "float32"}}), "feature 'action' has no 'dtype' and"),
    "no action": ("v3.0", lambda sets, path: entry(features={})(sets, path), "no 'features'"),
    "episodes": ("v3.0", entry(total_episodes=3), "says 'total_episodes' 3, and"),
    "frames": ("v2.1", entry(total_frames=13), "says 'total_frames' 13, and"),
    "odd total": ("v2.1", entry(total_frames="many"), "'total_frames' is 'many', expected a whole number"),
    "outside": ("v3.0", entry(data_path="../{chunk_index}/{file_index}"), "'data_path' is '../{chunk_index}/"),
    "odd path": ("v3.0", entry(video_path="{episode_index}.mp4"), "'video_path' names {episode_index}, expected"),
    "lengths": ("v2.1", text("meta/episodes.jsonl", '{"episode_index": 0, "length": 6, "tasks": []}\n'
                             '{"episode_index": 1, "length": 6, "tasks": []}\n'), "says 'length' 6 of episode 0"),
    "twice": ("v2.1", text("meta/episodes.jsonl", '{"episode_index": 0, "length": 6}\n' * 2), "is listed twice"),
    "none": ("v2.1", lambda sets, path: (text("meta/episodes.jsonl", "")(sets, path),
             entry(total_episodes=0, total_frames=0)(sets, path)), "no episodes, episodes.jsonl lists none"),
    "task": ("v3.0", changed(ROWS, task_index=np.full(12, 7)), "'task_index' is 7 in some rows, and meta/tasks lists"),
    "order": ("v3.0", changed(ROWS, episode_index=np.repeat([1, 0], [7, 5])), "rows of episode 1 come before those"),
    "stranger": ("v3.0", changed(ROWS, episode_index=np.repeat([0, 2], [5, 7])), "episode 1 is listed, but no row in"),
    "lost row": ("v3.0", changed(ROWS, frame_index=np.append(np.arange(11), 13)), "'frame_index' is 5"),
    "clip": ("v3.0", changed(LISTED, **{f"videos/{CAMERA}/to_timestamp": np.array([0.5, 1.1])}),
             "episode 1 has 7 frames, but its clip of 'observation.images.top' lasts 0.600 s"),
    "shared": ("v3.0", changed(LISTED, **{f"videos/{CAMERA}/from_timestamp": np.zeros(2),
                                          f"videos/{CAMERA}/to_timestamp": np.array([0.5, 0.7])}),
               "episodes 0 and 1 share frames of the same file"),
    "size": ("v3.0", lambda sets, path: sets.film(path / FILM, [sets.picture(0, (32, 32))] * 12, sets.Made()),
             "frames of 32 x 32, meta/info.json says 48 x 32"),
    "few frames": ("v3.0", lambda sets, path: sets.film(path / FILM, [sets.picture(0)] * 11, sets.Made()),
                   "has 11 frames, and the data set has 12 rows of it"),
    "no film": ("v3.0", text(FILM, "hello"), "cut off or damaged MP4 file"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_damage_is_told_in_one_line(sets: ModuleType, name: str, tmp_path: Path) -> None:
    version, damage, message = CASES[name]
    path = sets.write(tmp_path / "a", sets.Made(version))
    damage(sets, path)
    assert message in error_of(path)


def test_a_file_of_meta_that_was_not_copied(sets: ModuleType, tmp_path: Path) -> None:
    path = sets.write(tmp_path / "a", sets.Made(lengths=(5, 7, 4), together=1))
    (path / "meta/episodes/chunk-000/file-001.parquet").unlink()
    assert "says 'total_episodes' 3, and" in error_of(path)
    sets.change_info(path, total_episodes=2, total_frames=9)
    assert "rows are of episode 1, which is not listed" in error_of(path)


@pytest.mark.parametrize("video", BOTH)
def test_a_codec_that_nobody_knows(sets: ModuleType, video: str, tmp_path: Path) -> None:
    path = sets.write(tmp_path / "a")
    content = (path / FILM).read_bytes()
    place = content.rfind(b"avc1")
    (path / FILM).write_bytes(content[:place] + b"zzzz" + content[place + 4 :])
    message = error_of(path, video, read=True)
    assert "of a codec that is not known here; encode it as AV1 or H.264" in message


def test_a_film_that_lost_its_end(sets: ModuleType, tmp_path: Path) -> None:
    """Its description is at the beginning, and promises all of the frames."""
    import av

    path = sets.write(tmp_path / "a", sets.Made(lengths=(40, 20)))
    whole = path / FILM
    with av.open(str(whole)) as source, av.open(str(tmp_path / "b.mp4"), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    content = (tmp_path / "b.mp4").read_bytes()
    whole.write_bytes(content[: len(content) * 3 // 4])
    assert "file-000.mp4: cut off, the last of its frames are missing; copy it again" in error_of(path)


@pytest.mark.parametrize("video", BOTH)
def test_damage_within_a_film(sets: ModuleType, video: str, tmp_path: Path) -> None:
    path = sets.write(tmp_path / "a", sets.Made(lengths=(40, 20)))
    content = (path / FILM).read_bytes()
    begin = content.index(b"mdat") + 4
    (path / FILM).write_bytes(content[:begin] + bytes(len(content) // 2) + content[begin + len(content) // 2 :])
    assert "damaged" in error_of(path, video, read=True)
    assert not list(path.glob(".laminar/*")), "whole or not at all"


def test_a_frame_that_cannot_be_decoded_is_not_its_neighbor(sets: ModuleType, tmp_path: Path) -> None:
    """A decoder leaves out what it cannot make sense of, and goes on with the next one."""
    from laminar.data.lerobot.film import Decoder, Film

    path = sets.write(tmp_path / "a")
    decoder = Decoder(Film(path / FILM, (32, 48, 3), 10))
    container, lost = decoder._container, decoder.film.frames.pts[6]

    class Lossy:
        def __getattr__(self, name: str) -> Any:
            return getattr(container, name)

        def decode(self, stream: Any) -> Any:
            return (frame for frame in container.decode(stream) if frame.pts != lost)

    decoder._container = Lossy()  # type: ignore[assignment]
    assert len(list(decoder.read([5, 7]))) == 2
    with pytest.raises(LaminarError, match=r"frame 6 cannot be decoded, the file is damaged"):
        list(decoder.read([5, 6]))


@pytest.mark.parametrize("video", BOTH)
def test_a_clip_beyond_the_end_of_its_film(sets: ModuleType, video: str, tmp_path: Path) -> None:
    """Times of the whole data set in place of those within the file decode wrong frames, or none."""
    path = sets.write(tmp_path / "a", sets.Made(lengths=(5, 7), together=1))
    times = {f"videos/{CAMERA}/from_timestamp": np.array([0.5]), f"videos/{CAMERA}/to_timestamp": np.array([1.2])}
    sets.rewrite(path / "meta/episodes/chunk-000/file-001.parquet", **times)
    assert "file-001.mp4: no frame at 0.7000 s, the nearest of 7 is at 0.6000 s" in error_of(path, video, read=True)


@pytest.mark.parametrize("video", BOTH)
@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (b"\x89PNG\r\n\x1a\n junk", "picture 3 of 'observation.images.top' is damaged"),
        (None, "picture 3 of 'observation.images.top' is not inside, only its path"),
        ("small", "has shape (8, 8, 3), meta/info.json says (32, 48, 3)"),
        ("deep", "has 16 bits, it is no picture"),
    ],
)
def test_damaged_pictures_in_parquet(sets: ModuleType, video: str, stored: Any, message: str, tmp_path: Path) -> None:
    import pyarrow as pa

    odd = {"small": sets.picture(0, (8, 8)), "deep": np.zeros((32, 48), np.uint16)}
    path = sets.write(tmp_path / "a", sets.Made(pictures="image"))
    rows = [{"bytes": sets.encoded(sets.picture(row)), "path": "x.png"} for row in range(12)]
    rows[3]["bytes"] = sets.encoded(odd[stored]) if isinstance(stored, str) else stored
    sets.rewrite(path / ROWS, **{CAMERA: pa.array(rows)})
    assert message in error_of(path, video, read=True)


def test_pictures_that_are_numbers(sets: ModuleType, tmp_path: Path) -> None:
    path = sets.write(tmp_path / "a", sets.Made(pictures="image"))
    sets.rewrite(path / ROWS, **{CAMERA: np.zeros(12)})
    assert f"'{CAMERA}' holds double, expected pictures as bytes" in error_of(path)


def test_no_action(sets: ModuleType, tmp_path: Path) -> None:
    path = sets.write(tmp_path / "a")
    features = sets.info_of(path)["features"]
    del features["action"]
    sets.change_info(path, features=features)
    assert "no feature 'action'" in error_of(path)


def test_the_extra_is_named(sets: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sets.write(tmp_path / "a")
    monkeypatch.setattr(lerobot, "find_spec", lambda name: None if name == "av" else object())
    assert "reading LeRobot data needs av: pip install 'laminar[lerobot]'" in error_of(path)
    states = load_episodes(path, Selection(observation=("observation.state",)))  # which needs none of it
    assert states.num_episodes == 2
    monkeypatch.setattr(lerobot, "find_spec", lambda name: None)
    assert "reading LeRobot data needs pyarrow: pip install 'laminar[lerobot]'" in error_of(path)
