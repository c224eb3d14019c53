"""The sentences of the 34 tasks: enough, all different, and the held-out ones really held out."""

from __future__ import annotations

import re

from laminar.data import phrasings, unseen
from laminar.data.instructions import HELD_OUT, SENTENCES, TASKS, UNSEEN


def test_the_tasks_are_34_in_alphabetical_order() -> None:
    assert len(TASKS) == len(set(TASKS)) == 34
    assert list(TASKS) == sorted(TASKS)
    assert tuple(SENTENCES) == tuple(HELD_OUT) == tuple(UNSEEN) == TASKS
    assert {"rotate_pink_block_left", "lift_red_block_slider", "place_in_drawer", "turn_off_led"} <= set(TASKS)
    assert "place_in_table" not in TASKS


def test_no_sentence_is_used_twice() -> None:
    training = [sentence for sentences in SENTENCES.values() for sentence in sentences]
    assert all(len(sentences) >= 20 for sentences in SENTENCES.values())
    assert all(len(sentences) >= 3 for sentences in UNSEEN.values())
    assert all(HELD_OUT[task] == UNSEEN[task][0] for task in TASKS)
    everything = [*training, *(sentence for sentences in UNSEEN.values() for sentence in sentences)]
    assert len(set(everything)) == len(everything)
    assert len({sentence.lower() for sentence in everything}) == len(everything)


def test_sentences_are_filled_in_and_say_their_color() -> None:
    for task in TASKS:
        for sentence in (*SENTENCES[task], *UNSEEN[task]):
            assert "{" not in sentence
            assert sentence == sentence.strip()
            assert sentence
            for color in ("red", "blue", "pink"):
                assert (f"{color} " in sentence) == (f"_{color}_" in task)


def test_left_and_right_are_not_mixed_up() -> None:
    for task in TASKS:
        words = " ".join((*SENTENCES[task], *UNSEEN[task])).split()
        if task.endswith("_left"):
            assert "left" in words
            assert not {"right", "clockwise"} & set(words)
        if task.endswith("_right"):
            assert "right" in words
            assert not {"left", "counterclockwise"} & set(words)


def test_held_out_sentences_say_mostly_known_words_and_some_new_ones() -> None:
    def words(sentences: dict[str, tuple[str, ...]]) -> list[str]:
        return [word for said in sentences.values() for one in said for word in re.findall(r"\w+", one.lower())]

    known = set(words(SENTENCES))
    said = words(UNSEEN)
    assert 0.9 < sum(word in known for word in said) / len(said) < 1
    assert phrasings.KNOWN.keys() == unseen.HELD_OUT.keys()
    for task in TASKS:
        assert set(words({task: UNSEEN[task]})) - known or task.startswith("push_into"), f"no new word for {task}"
