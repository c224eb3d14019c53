"""Instruction vectors: the same everywhere, near for sentences that are alike, and labelled."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar.data.instructions import HELD_OUT, SENTENCES, TASKS
from laminar.data.language import LABEL_FILE, hashed_embedding, load_instructions, sentence_encoder
from laminar.errors import LaminarError


def test_hashed_embeddings_never_change() -> None:
    vector = hashed_embedding("open the drawer")
    assert (vector.shape, vector.dtype) == ((384,), np.float32)
    assert np.linalg.norm(vector) == pytest.approx(1.0)
    # Pinned: policies are trained on these numbers.
    np.testing.assert_allclose(vector[:6] / np.abs(vector).min(), [1, -5, -3, -1, -1, 1], rtol=1e-5)
    np.testing.assert_array_equal(vector, hashed_embedding("Open the DRAWER!"))


def test_sentences_that_share_words_are_near() -> None:
    near = hashed_embedding("pull the drawer open") @ hashed_embedding("pull the drawer")
    far = hashed_embedding("pull the drawer open") @ hashed_embedding("switch off that green lamp")
    order = hashed_embedding("the block pushes me") @ hashed_embedding("me pushes the block")
    assert near > 0.6
    assert abs(far) < 0.2
    assert 0.4 < order < 0.9  # the pairs tell them apart
    with pytest.raises(LaminarError, match="it has no words"):
        hashed_embedding(" ?! ")


def test_held_out_sentences_are_nearest_to_their_own_task() -> None:
    """What makes the hashed vectors usable at all: a nearest neighbor among the training sentences."""
    known = [(task, hashed_embedding(sentence)) for task, sentences in SENTENCES.items() for sentence in sentences]
    table = np.stack([vector for _, vector in known])
    found = {task: known[int((table @ hashed_embedding(HELD_OUT[task])).argmax())][0] for task in TASKS}
    assert np.mean([found[task] == task for task in TASKS]) > 0.5


@pytest.mark.parametrize(("name", "width"), [("task", 34), ("hashed", 384)])
def test_instructions_by_name(name: str, width: int) -> None:
    instructions = load_instructions(name)
    assert (instructions.name, instructions.width) == (name, width)
    vectors = np.stack([instructions.vector(task) for task in TASKS])
    assert (vectors.shape, vectors.dtype) == ((34, width), np.float32)
    assert len(np.unique(vectors, axis=0)) == 34
    assert instructions.sentence("open_drawer") == HELD_OUT["open_drawer"]
    for look_up in (instructions.vector, instructions.sentence):
        with pytest.raises(LaminarError, match=r"know no task 'open_draw'; did you mean 'open_drawer'\?"):
            look_up("open_draw")


def test_task_vectors_are_one_hot() -> None:
    np.testing.assert_array_equal([load_instructions("task").vector(task) for task in TASKS], np.eye(34))


def held_out_folder(folder: Path, **changes: Any) -> Path:
    """Write a language folder of a validation split as CALVIN's is."""
    folder.mkdir(parents=True)
    entries: Any = {task: {"emb": np.full((1, 1, 384), i / 7), "ann": [f"do {task}"]} for i, task in enumerate(TASKS)}
    np.save(folder / "embeddings.npy", entries | changes, allow_pickle=True)
    return folder


def test_embeddings_of_a_data_set(tmp_path: Path) -> None:
    folder = held_out_folder(tmp_path / "validation" / "lang_all-MiniLM-L6-v2")
    for path in (folder, folder / "embeddings.npy"):
        instructions = load_instructions(str(path))
        assert (instructions.name, instructions.width) == ("lang_all-MiniLM-L6-v2", 384)
        np.testing.assert_allclose(instructions.vector(TASKS[3]), np.full(384, 3 / 7, "f"))
        assert instructions.sentence(TASKS[3]) == f"do {TASKS[3]}"
    (folder / LABEL_FILE).write_text("hashed\n")
    assert load_instructions(str(folder)).name == "hashed"


def test_paths_that_hold_no_instructions(tmp_path: Path) -> None:
    with pytest.raises(LaminarError, match=r"instructions 'hashd': no such file; use task, hashed, sentence-transf"):
        load_instructions("hashd")
    with pytest.raises(LaminarError, match=r"a folder without embeddings\.npy, which is in a validation split"):
        load_instructions(str(tmp_path))
    for number, entry in enumerate(({"emb": np.zeros((1, 1, 384))}, {"emb": np.zeros(0), "ann": []}, 3)):
        folder = held_out_folder(tmp_path / str(number), open_drawer=entry)
        with pytest.raises(LaminarError, match="task 'open_drawer' has no 'emb' and 'ann'"):
            load_instructions(str(folder))
    for number, value in enumerate((np.zeros((1, 1, 383)), np.full((1, 1, 384), np.nan))):
        folder = held_out_folder(tmp_path / f"w{number}", open_drawer={"emb": value, "ann": ["a"]})
        with pytest.raises(LaminarError, match="expected finite ones of one width"):
            load_instructions(str(folder))


def test_sentence_transformers_are_a_plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(LaminarError, match=r"pip install 'laminar\[language\]'"):
        load_instructions("sentence-transformers:tiny")

    class Model:
        def __init__(self, name: str) -> None:
            self.name = name

        def encode(self, sentence: str, show_progress_bar: bool) -> np.ndarray:
            return np.array([len(self.name), len(sentence)], np.float64)

    module: Any = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = Model
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    instructions = load_instructions("sentence-transformers:tiny")
    assert (instructions.name, instructions.width) == ("sentence-transformers:tiny", 2)
    assert instructions.vector("open_drawer").tolist() == [4, len(HELD_OUT["open_drawer"])]
    with pytest.raises(LaminarError, match="'bert' encodes no sentences"):
        sentence_encoder("bert")
