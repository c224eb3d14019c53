"""The learned text encoder: it understands unseen sentences, comes back equal from its file, and is never mixed up."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laminar.cli import main
from laminar.data.instructions import HELD_OUT, SENTENCES, TASKS, UNSEEN
from laminar.data.language import encoder_label, load_instructions, sentence_encoder, vector_of
from laminar.data.load import Selection, load_episodes
from laminar.data.sentences import own_pairs, recorded_pairs, understood
from laminar.data.spec import Feature, Spec
from laminar.data.words import encoder as module
from laminar.data.words import learning
from laminar.data.words.encoder import TextEncoder, encoder_of, read_encoder, remembered
from laminar.data.words.features import pieces
from laminar.data.words.learning import learn
from laminar.errors import LaminarError
from laminar.machine import computing_threads

FEW = ("open_drawer", "close_drawer", "turn_on_led", "turn_off_led")


@pytest.fixture(scope="module")
def small() -> TextEncoder:
    return learn(own_pairs({task: SENTENCES[task] for task in FEW}))


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is remembered, as in a new process."""
    monkeypatch.setattr(module, "_KNOWN", {})


def test_pieces_of_a_sentence() -> None:
    found = {piece.text: piece for piece in pieces("Open it, now!")}
    assert {"open", "it", "now", "#<op", "#en>", "#<it>", "open it", "it now"} <= found.keys()
    assert "#now!" not in found
    assert (found["open it"].first, found["open it"].last) == (0, 1)
    parts = [piece.weight**2 for piece in found.values() if piece.text[0] == "#" and piece.first == 2]
    assert sum(parts) == pytest.approx(1.0)
    with pytest.raises(LaminarError, match="it has no words"):
        pieces(" ?! ")


def test_unseen_sentences_of_all_tasks_are_understood() -> None:
    """Nine in ten must be, or chains in unseen words cannot have nine tenths of the score."""
    encoder = learn(own_pairs(SENTENCES))
    assert encoder.tasks == TASKS
    held_out = own_pairs(UNSEEN)
    assert understood(encoder, own_pairs(SENTENCES)) == (len(own_pairs(SENTENCES)), [])
    right, wrong = understood(encoder, held_out)
    assert right >= 0.93 * len(held_out), wrong
    assert right + len(wrong) == len(held_out)
    assert np.mean([encoder(sentence)[TASKS.index(task)] for sentence, task in held_out]) > 0.85


def test_a_vector_has_one_number_a_task(small: TextEncoder) -> None:
    assert small.tasks == tuple(sorted(FEW))
    assert small.width == 4
    for task in FEW:
        for sentence in (*SENTENCES[task], HELD_OUT[task]):
            vector = small(sentence)
            assert (vector.shape, vector.dtype) == ((4,), np.float32)
            assert vector.sum() == pytest.approx(1.0)
            assert small.guess(sentence) == task
    assert small.guess("opening the drawer") == "open_drawer", "a new form of a known word"
    assert small("xylophone").sum() == pytest.approx(1.0), "a word without a known piece"


def test_learning_repeats_itself_and_the_label_tells(small: TextEncoder) -> None:
    pairs = own_pairs({task: SENTENCES[task] for task in FEW})
    again, other = learn(pairs[::-1] + pairs[:3]), learn(pairs, seed=1)
    assert again.label == small.label
    assert other.label != small.label
    for name, value in small.weights.items():
        np.testing.assert_array_equal(value, again.weights[name])


def test_what_cannot_be_learned() -> None:
    with pytest.raises(LaminarError, match="tells tasks apart, and there are sentences of none"):
        learn([])
    with pytest.raises(LaminarError, match=r"sentences of \['open_drawer'\]"):
        learn(own_pairs({"open_drawer": SENTENCES["open_drawer"]}))
    with pytest.raises(LaminarError, match="no word is in two of the 2 sentences"):
        learn([("up", "a"), ("down", "b")])


@pytest.mark.usefixtures("forgotten")
def test_it_comes_back_equal_and_is_then_remembered(small: TextEncoder, tmp_path: Path) -> None:
    path = tmp_path / "words.safetensors"
    small.save(path)
    assert remembered(small.label) is None
    with pytest.raises(LaminarError, match=f"'{small.label}' was not read here"):
        sentence_encoder(small.label)
    back = read_encoder(path)
    assert (back, back.label) == (small, small.label)
    np.testing.assert_array_equal(back("see the drawer shut"), small("see the drawer shut"))
    assert remembered(small.label) is back
    assert sentence_encoder(small.label) is back
    assert encoder_label(str(path)) == small.label
    assert encoder_of(Spec({"instruction": Feature((4,), unit=small.label)}, Feature((1,)))) is back
    assert encoder_of(Spec({"instruction": Feature((4,), unit="hashed")}, Feature((1,)))) is None


def test_files_that_are_no_encoder(small: TextEncoder, tmp_path: Path) -> None:
    with pytest.raises(LaminarError, match="no such text encoder; learn one with laminar language"):
        read_encoder(tmp_path / "none.safetensors")
    path = tmp_path / "words.safetensors"
    TextEncoder(small.tasks, small.pieces[1:], small.weights).save(path)
    with pytest.raises(LaminarError, match="weights that do not fit its words"):
        read_encoder(path)
    TextEncoder(small.tasks, small.pieces, small.weights | {"bias": np.full(4, np.nan, np.float32)}).save(path)
    with pytest.raises(LaminarError, match="damaged"):
        read_encoder(path)
    small.save(path)
    good = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(60):
        bad = bytearray(good[: int(random.integers(1, len(good)))] if random.random() < 0.5 else good)
        bad[int(random.integers(min(len(bad), 2000)))] ^= int(random.integers(1, 256))
        path.write_bytes(bad)
        with suppress(LaminarError):  # and nothing else
            read_encoder(path)


def test_any_sentence_can_be_said(small: TextEncoder) -> None:
    spec = Spec({"instruction": Feature((4,), unit=small.label)}, Feature((1,)))
    np.testing.assert_array_equal(vector_of(spec, "shut it"), small("shut it"))
    hashed = load_instructions("hashed")
    sentence = UNSEEN["open_drawer"][2]
    np.testing.assert_array_equal(hashed.vector("open_drawer", sentence), sentence_encoder("hashed")(sentence))
    np.testing.assert_array_equal(hashed.vector("open_drawer", HELD_OUT["open_drawer"]), hashed.vector("open_drawer"))
    by_name = Spec({"instruction": Feature((34,), unit="task")}, Feature((1,)))
    assert vector_of(by_name, "open_drawer").argmax() == TASKS.index("open_drawer")
    assert vector_of(by_name, "open the drawer").argmax() == TASKS.index("open_drawer")
    with pytest.raises(LaminarError, match="told tasks by their names, and 'dance' is none"):
        vector_of(by_name, "dance")
    with pytest.raises(LaminarError, match="numbers that no encoder makes of words"):
        load_instructions("task").vector("open_drawer", "open the drawer")
    with pytest.raises(LaminarError, match="takes no instructions, so it cannot be told 'shut it'"):
        vector_of(Spec({"arm": Feature((3,))}, Feature((1,))), "shut it")


def test_recorded_sentences_are_encoded_anew(calvin: Any, small: TextEncoder, tmp_path: Path) -> None:
    calvin.write(tmp_path / "play", "A")
    assert ("push the drawer", "close_drawer") in recorded_pairs(tmp_path / "play")
    path = tmp_path / "words.safetensors"
    small.save(path)
    own = load_episodes(tmp_path / "play", Selection(instruction="lang_annotations"))
    anew = load_episodes(tmp_path / "play", Selection(instruction=str(path)))
    assert anew.spec.observation["instruction"] == Feature((4,), unit=small.label)
    np.testing.assert_array_equal(anew.observation["instruction"][4], small("push the drawer"))
    np.testing.assert_array_equal(anew.observation["robot_obs"], own.observation["robot_obs"])
    hashed = load_episodes(tmp_path / "play", Selection(instruction="hashed"))
    np.testing.assert_array_equal(hashed.observation["instruction"], own.observation["instruction"])
    with pytest.raises(LaminarError, match="no such text encoder"):
        load_episodes(tmp_path / "play", Selection(instruction="nowhere.safetensors"))


def test_a_seed_gives_one_encoder_with_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "UPDATES", 20)
    with computing_threads(2):
        found = {learning.learn(own_pairs(SENTENCES)).label for _ in range(2)}
        assert torch.get_num_threads() == 2, "as before"
    assert found == {learning.learn(own_pairs(SENTENCES)).label}


def test_the_verb(
    calvin: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "UPDATES", 3)
    calvin.write(tmp_path / "play", "A")
    out = tmp_path / "new" / "words.safetensors"
    words = ["language", f"data.path={tmp_path / 'play'}", f"out={out}"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert (
        f"of 34 tasks, learned from {len({*own_pairs(SENTENCES), *recorded_pairs(tmp_path / 'play')})} sent" in printed
    )
    assert "of laminar's 136 sentences that it never saw it takes" in printed
    assert f"data.instruction={out}" in printed
    assert read_encoder(out).label in printed
    for wrong, told in (
        (words, "is there already; choose another out=, or give overwrite=true"),
        (["language"], "needs out=FILE.safetensors"),
        (["language", "out=words.npz"], "needs out=FILE.safetensors, got out=words.npz"),
        (["language", f"data.path={tmp_path}", f"out={tmp_path / 'x.safetensors'}"], "no play in CALVIN's layout"),
    ):
        assert main(wrong) == 2
        assert told in capsys.readouterr().err
    assert main([*words, "overwrite=true"]) == 0
