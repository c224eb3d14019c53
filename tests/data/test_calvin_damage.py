"""Every damage to a folder in CALVIN's layout gives one line that names the file and what is wrong with it."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.data import numpy_pickle
from laminar.data.language import LABEL_FILE
from laminar.data.load import Selection, load_episodes
from laminar.errors import LaminarError


def test_no_frames_anywhere(calvin: Any, tmp_path: Path) -> None:
    assert calvin.error_of(tmp_path).endswith("a folder, not a demonstration file")
    (tmp_path / "data" / "validation").mkdir(parents=True)
    assert "a CALVIN data set without training; choose " in calvin.error_of(tmp_path / "data")
    assert "ep_start_end_ids.npy: missing" in calvin.error_of(tmp_path / "data" / "validation")
    np.save(tmp_path / "data" / "validation" / "ep_start_end_ids.npy", np.array([[0, 3]]))
    assert "no frames (files like episode_0000000.npz)" in calvin.error_of(tmp_path / "data" / "validation")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (
            np.array([[0, 9], [12, 30]]),
            "9 of the 29 frames that ep_start_end_ids.npy names are missing, first episode_",
        ),
        (np.array([[0, 9], [12, 30]]), "first episode_0000022.npz (there are 20, 0 to 21)"),
        (np.array([[9, 0]]), "episode 0 has frames [9, 0], first to last"),
        (np.array([[0, 9], [9, 12]]), "episodes [0, 9] and [9, 12] share frames"),
        (np.array([[0.0, 9.0]]), "float64 of shape (1, 2), expected whole numbers (episodes, 2)"),
        (np.zeros((0, 2), int), "expected whole numbers (episodes, 2)"),
        (np.array([0, 9]), "int64 of shape (2,), expected whole numbers"),
        (np.array([[0, 10**12]]), "999999999981 of the 1000000000001 frames that"),
        (np.array([[0, 10**12]]), "missing, first episode_0000010.npz"),
        (np.array([[12, 2**62], [0, 9]]), "missing, first episode_0000022.npz"),
        (np.array([[0, 0], [3, 3]]), "no episodes, none has two frames"),
    ],
)
def test_wrong_episode_numbers(calvin: Any, split: Path, ids: np.ndarray, message: str) -> None:
    np.save(split / "ep_start_end_ids.npy", ids)
    assert message in calvin.error_of(split)


def test_missing_index_files_and_frames(calvin: Any, split: Path) -> None:
    (split / "episode_0000004.npz").unlink()
    assert "1 of the 20 frames that ep_start_end_ids.npy names are missing, first episode_0000004" in calvin.error_of(
        split
    )
    (split / ".hydra" / "merged_config.yaml").unlink()
    np.save(split / "ep_start_end_ids.npy", np.array([[12, 21]]))
    message = calvin.error_of(split)
    assert "merged_config.yaml: missing, only it tells the order of the blocks" in message
    assert "data.observation=[robot_obs]" in message
    assert len(load_episodes(split, Selection(observation=("robot_obs",)))) == 9
    (split / "ep_start_end_ids.npy").write_bytes(b"\x93NUMPY\x01\x00")
    assert "ep_start_end_ids.npy: truncated or damaged" in calvin.error_of(split)
    with (split / "ep_start_end_ids.npy").open("wb") as stream:
        layout = {"descr": "<i8", "fortran_order": False, "shape": (10**12, 2)}
        np.lib.format.write_array_header_1_0(stream, layout)
    assert "ep_start_end_ids.npy: truncated or damaged" in calvin.error_of(split)
    (split / "episode_0000000.npz").rename(split / "ep_start_end_ids.npy")
    assert "ep_start_end_ids.npy: truncated or damaged" in calvin.error_of(split)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("emb", 3.0, "'emb': 1} entries, expected the same number of each"),
        ("emb", np.zeros((3, 0)), "'emb' holds vectors without numbers"),
        ("emb", np.full((3, 1, 4), np.nan), "or values that are not finite"),
        ("emb", [[1.0], [1.0, 2.0], [3.0]], "not CALVIN's annotations"),
        ("task", None, "not CALVIN's annotations"),
        ("indx", 5, "{'info/indx': 1, 'task': 3"),
        ("indx", [("a", "b")] * 3, "'info/indx' holds <U1 of shape (3, 2)"),
        ("indx", [(0, 2**70)] * 3, "'info/indx' holds object of shape (3, 2)"),
    ],
)
def test_damaged_annotations(calvin: Any, split: Path, part: str, value: Any, message: str) -> None:
    file = split / "lang_annotations" / "auto_lang_ann.npy"
    stored = numpy_pickle.read(file)
    stored["info" if part == "indx" else "language"][part] = value
    numpy_pickle.write(file, stored)
    for instruction in ("task", "lang_annotations"):
        assert message in calvin.error_of(split, instruction=instruction)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scene: {", "does not tell the scene's table and blocks"),
        ("scene: {}", "does not tell the scene's table and blocks ('objects')"),
        ("[]", "does not tell the scene's table and blocks"),
        (
            "scene: {objects: {fixed_objects: {table: {file: calvin_table_D/x}}, movable_objects: {block_red: 1}}}",
            "the movable objects are ['block_red'], expected one block each of red, blue, pink",
        ),
        (
            "scene: {objects: {fixed_objects: {table: {file: desk}}, movable_objects: {red: 1, blue: 1, pink: 1}}}",
            "the table's file 'desk' does not tell the scene",
        ),
    ],
)
def test_a_damaged_configuration(calvin: Any, split: Path, text: str, message: str) -> None:
    (split / ".hydra" / "merged_config.yaml").write_text(text)
    assert message in calvin.error_of(split)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_truncated_frame(calvin: Any, split: Path, share: float) -> None:
    file = split / "episode_0000013.npz"
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    assert "episode_0000013.npz: truncated or damaged npz file" in calvin.error_of(split)


def test_flipped_bytes_in_a_frame_end_in_one_line_or_change_nothing(split: Path) -> None:
    file = split / "episode_0000013.npz"
    content = file.read_bytes()
    good = load_episodes(split)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[rng.integers(0, len(damaged), 3)] ^= np.uint8(rng.integers(1, 256))
        file.write_bytes(damaged.tobytes())
        try:
            episodes = load_episodes(split)
        except LaminarError:  # any other error is a bug
            refused += 1
            continue
        np.testing.assert_array_equal(episodes.observation["scene_obs"], good.observation["scene_obs"])
        np.testing.assert_array_equal(episodes.action, good.action)
    assert refused > 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scene_obs": None}, "episode_0000013.npz: missing 'scene_obs' (there are ['actions', 'rel_actions',"),
        ({"scene_obs": np.zeros(23)}, "episode_0000013.npz: 'scene_obs' is float64 of shape (23,), expected"),
        ({"robot_obs": np.array(["a"] * 15)}, "episode_0000013.npz: 'robot_obs' is <U1 of shape (15,)"),
        ({"robot_obs": np.full(15, np.nan)}, "observation 'robot_obs' is not finite in 1 of 18 rows, first in row 10"),
        ({"rel_actions": np.full(7, np.inf)}, "action is not finite in 1 of 18 rows"),
        ({"robot_obs": np.full(15, 1e300)}, "observation 'robot_obs' is not finite"),
    ],
)
def test_a_strange_frame(calvin: Any, split: Path, change: dict[str, Any], message: str) -> None:
    frame = {key: value[13] for key, value in calvin.vectors(22).items()} | change
    np.savez(split / "episode_0000013.npz", **{key: value for key, value in frame.items() if value is not None})
    assert message in calvin.error_of(split)


class Evil:
    """Would run a command when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_a_forbidden_class_is_refused_and_not_called(calvin: Any, split: Path, tmp_path: Path) -> None:
    file = split / "lang_annotations" / "auto_lang_ann.npy"
    np.save(file, {"language": Evil(tmp_path / "called")}, allow_pickle=True)  # type: ignore[arg-type]
    message = calvin.error_of(split, instruction="task")
    assert "auto_lang_ann.npy: it wants to load 'posix.system'" in message or ".system'" in message
    assert "do not trust it" in message
    assert not (tmp_path / "called").exists()
    np.savez(split / "episode_0000000.npz", robot_obs=np.array([Evil(tmp_path / "called")], object))
    calvin.error_of(split, observation=("robot_obs",))
    assert not (tmp_path / "called").exists()


class Forged:
    """Pickles as a call of its first part with the second, and the third as what that is then told to hold."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return self.parts


EMPTY_ARRAY = np.zeros(0).__reduce__()[0], (np.ndarray, (0,), b"b")
OBJECT = np.dtype(object)
POINTERS = Forged(np.dtype, ("V8", False, True), (3, "|", None, ("a",), {"a": (OBJECT, 0)}, 8, 1, 0))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Forged(*EMPTY_ARRAY, (1, (1_000_000,), OBJECT, False, [1])), "(1000000,) with other content"),
        (Forged(*EMPTY_ARRAY, (1, (-1,), np.dtype("f8"), False, b"")), "(-1,) with other content"),
        (Forged(*EMPTY_ARRAY, (1, (1,), OBJECT, False, b"A" * 8)), "(1,) with other content"),
        (Forged(*EMPTY_ARRAY, (1, (1,), POINTERS, False, b"A" * 8)), "an array of the type 'V8'"),
        (Forged(np.dtype, ("f8", False, True), POINTERS.parts[2]), "an array whose type has parts"),
        (Forged(np.float64().__reduce__()[0], (POINTERS, b"A" * 8)), "an array of the type 'V8'"),
        (Forged(np.float64().__reduce__()[0], (OBJECT, b"A" * 8)), "a single object"),
        (Forged(np.ndarray, ((1,), OBJECT, b"A" * 8)), "not callable"),
        (Forged(np.ndarray, ((10**9,),)), "not callable"),
    ],
)
def test_forged_arrays_reach_no_foreign_memory(tmp_path: Path, value: Forged, message: str) -> None:
    np.save(tmp_path / "a.npy", {"key": value}, allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(LaminarError, match=r"a\.npy: ") as caught:
        print(numpy_pickle.read(tmp_path / "a.npy"))
    assert message in str(caught.value)


def test_all_kinds_of_arrays_come_back(tmp_path: Path) -> None:
    stored: dict[str, Any] = {
        "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big-endian": np.array([1.0, 2.0], ">f8"),
        "words": np.array(["a", "bcd"]),
        "objects": np.array([{"a": 1}, None], object),
        "none": np.zeros((0, 3)),
        "numbers": [np.int64(3), np.float32(2.5), np.bool_(True)],
        "texts": [np.str_("a"), np.str_("")],
    }
    np.save(tmp_path / "a.npy", stored, allow_pickle=True)  # type: ignore[arg-type]
    numpy_pickle.write(tmp_path / "b.npy", numpy_pickle.read(tmp_path / "a.npy"))
    assert b"laminar" not in (tmp_path / "b.npy").read_bytes()
    for name in ("a.npy", "b.npy"):
        found = numpy_pickle.read(tmp_path / name)
        for key, value in stored.items():
            np.testing.assert_array_equal(found[key], value)
            assert np.asarray(found[key]).dtype == np.asarray(value).dtype.newbyteorder("=")


def test_a_small_file_takes_no_large_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", {}, allow_pickle=True)  # type: ignore[arg-type]
    header = (tmp_path / "a.npy").read_bytes()[:128]
    (tmp_path / "a.npy").write_bytes(header + b"\x80\x03}r" + (2**30).to_bytes(4, "little") + b".")
    with pytest.raises(LaminarError, match="remembers something as number 1073741824"):
        numpy_pickle.read(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.arange(3), "it holds int64 of shape (3,), expected a dictionary"),
        (np.array([1], dtype=object), "it holds object of shape (1,), expected a dictionary"),
        (np.array([[1]], dtype=object).reshape(()), "it holds a int, expected a dictionary"),
    ],
)
def test_a_file_without_a_dictionary(tmp_path: Path, value: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", value, allow_pickle=True)
    with pytest.raises(LaminarError, match=r"a\.npy") as caught:
        numpy_pickle.read(tmp_path / "a.npy")
    assert message in str(caught.value)


def test_a_truncated_pickle(calvin: Any, split: Path) -> None:
    file = split / "lang_annotations" / "auto_lang_ann.npy"
    content = file.read_bytes()
    for share in (0.01, 0.2, 0.9):
        file.write_bytes(content[: int(share * len(content))])
        assert "auto_lang_ann.npy: truncated or damaged" in calvin.error_of(split, instruction="task")


def test_a_header_that_is_no_python(calvin: Any, split: Path) -> None:
    """Which numpy tells by an error of Python's tokenizer."""
    file = split / "ep_start_end_ids.npy"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"(2, 2)", b"(2, 2 "))
    assert "ep_start_end_ids.npy: truncated or damaged file" in calvin.error_of(split)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_header_that_states_more_than_there_is(calvin: Any, split: Path, order: str) -> None:
    file = split / "ep_start_end_ids.npy"
    np.save(file, np.asarray([[0, 9], [12, 21]], order=order))
    file.write_bytes(file.read_bytes().replace(b"(2, 2), }" + b" " * 10, b"(2, 20000000000), }"))
    assert "ep_start_end_ids.npy: truncated or damaged file" in calvin.error_of(split)


def test_a_header_of_gigabytes(calvin: Any, split: Path) -> None:
    """Its length is read into a buffer of that size, if the file is asked for so much."""
    file = split / "scene_info.npy"
    np.save(file, {"calvin_scene_D": [0, 21]}, allow_pickle=True)  # type: ignore[arg-type]
    content = file.read_bytes()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    file.write_bytes(content[:6] + b"\2\0" + b"\xff\xff\xff\x7f" + content[10:])
    assert "scene_info.npy: truncated or damaged file" in calvin.error_of(split)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, "kilobytes"


def test_a_label_that_is_no_text(calvin: Any, split: Path) -> None:
    """It is but a name, and the vectors are good."""
    (split / "lang_annotations" / LABEL_FILE).write_bytes(b"\xff\xfe")
    assert load_episodes(split, Selection(instruction="lang_annotations")).num_episodes == 3
