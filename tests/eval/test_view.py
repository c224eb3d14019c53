"""`laminar view`: a page that holds all of it, shows nothing of the data as HTML, and follows slider, keys and list."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from laminar.cli import main
from laminar.data.episodes import Episodes
from laminar.data.spec import Feature, Spec
from laminar.errors import LaminarError
from laminar.eval.config import ViewConfig
from laminar.eval.viewing.content import content
from laminar.eval.viewing.page import html, view

from ..deploy.browser import CHROMIUM, Browser, browser

EVIL = '</script><script>window.bad=1</script><img src=x onerror="window.bad=1">'
LENGTHS = [30, 12, 20]


def recorded(cameras: int = 1, lengths: list[int] | None = None, side: int = 32, **more: Any) -> Episodes:
    """Episodes whose first state counts steps; pictures are as bright as the step is late."""
    lengths = LENGTHS if lengths is None else lengths
    rng, ends = np.random.default_rng(0), np.cumsum(lengths)
    steps = np.concatenate([np.arange(length) for length in lengths])
    state = np.stack([steps, *rng.normal(size=(10, len(steps)))], axis=1).astype("f")
    pictures = np.broadcast_to(
        (8 * steps).clip(0, 255).astype(np.uint8)[:, None, None, None], (len(steps), side, side, 3)
    )
    observation: dict[str, Any] = {"state": state} | {f"eye{number}": pictures for number in range(cameras)}
    features = {key: Feature(value.shape[1:], str(value.dtype)) for key, value in observation.items()}
    features["state"] = Feature((11,), unit="rad", names=(f"joint {EVIL}", *(f"s{number}" for number in range(1, 11))))
    return Episodes(
        observation=observation,
        final_observation={key: value[ends - 1] for key, value in observation.items()},
        action=rng.normal(size=(len(steps), 2)).astype("f"),
        reward=steps.astype("f"),
        terminated=np.zeros(len(steps), bool),
        truncated=np.isin(np.arange(len(steps)), ends - 1),
        ends=ends,
        spec=Spec(features, Feature((2,)), rate_hz=10.0),
        **{"success": np.arange(len(lengths)) != 1, "tasks": np.array(["go", EVIL, ""] * (len(lengths) // 3)), **more},
    )


def unpacked(text: str) -> Any:
    return np.frombuffer(base64.b64decode(text), "<f4")


def data_in(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_page_holds_what_was_recorded() -> None:
    episodes = recorded()
    found = data_in(html("a", content(episodes, 20, 24.0)))
    assert [one["length"] for one in found["episodes"]] == LENGTHS
    assert [one["return"] for one in found["episodes"]] == episodes.returns().tolist()
    assert [one["success"] for one in found["episodes"]] == [True, False, True]
    assert [one["task"] for one in found["episodes"]] == ["go", EVIL, ""]
    assert [group["title"] for group in found["groups"]] == ["observation state", "action", "reward"]
    assert (found["groups"][0]["unit"], found["rate"], found["cameras"]) == ("rad", 10.0, ["eye0"])
    second = unpacked(found["episodes"][1]["values"]).reshape(-1, 12)
    rows = slice(30, 42)
    np.testing.assert_array_equal(second[:11], episodes.observation["state"][rows].T)
    np.testing.assert_array_equal(second[11:13], episodes.action[rows].T)
    np.testing.assert_array_equal(second[13], episodes.reward[rows])
    assert [len(one["pictures"]["eye0"]["jpeg"]) for one in found["episodes"]] == LENGTHS


def test_nothing_of_the_data_is_html_and_nothing_is_fetched() -> None:
    episodes = recorded(remarks=[EVIL])
    page = html(EVIL, content(episodes, 20, 24.0))
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img" not in page
    assert "window.bad=1</script>" not in page
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|@import|url\(""", page)
    assert "default-src 'none'; img-src data:;" in page
    assert data_in(page)["remarks"][0] == EVIL


def test_a_name_that_is_no_text_still_makes_a_page(tmp_path: Path) -> None:
    page = html("a\udcffb\0", content(recorded(tasks=np.array(["\udcff", "\0.", "\u2028"])), 20, 24.0))
    page.encode("utf-8")
    assert [one["task"] for one in data_in(page)["episodes"]] == ["\udcff", "\0.", "\u2028"]


@pytest.mark.parametrize("megabytes", [0.2, 0.5, 2.0])
def test_the_page_keeps_to_its_size(megabytes: float) -> None:
    """Pictures of noise, which no coder makes smaller."""
    noisy = recorded(2, [60] * 6, side=128)
    rng = np.random.default_rng(0)
    for key in ("eye0", "eye1"):
        noisy.observation[key] = rng.integers(0, 255, noisy.observation[key].shape, np.uint8)
    shown = content(noisy, 20, megabytes)
    assert len(html("a", shown)) < megabytes * 1e6 + 40_000, "beside the script"
    pictures = [one["pictures"]["eye0"] for one in shown["episodes"]]
    assert all(one["jpeg"] and len(one["jpeg"]) == -(-60 // one["every"]) for one in pictures)


def test_long_episodes_are_thinned() -> None:
    shown = content(recorded(0, [9000, 40, 3]), 20, 24.0)
    long, short, _ = shown["episodes"]
    assert (long["stride"], long["moments"], short["stride"], short["moments"]) == (5, 1800, 1, 40)
    np.testing.assert_array_equal(unpacked(long["values"])[:1800], np.arange(0, 9000, 5))


def test_episodes_are_evenly_spread_and_odd_ones_flagged() -> None:
    episodes = recorded(0, [5, 6, 7] * 5)
    first, third = slice(0, 5), slice(18, 23)
    for value in (*episodes.observation.values(), episodes.action):
        value[third] = value[first]
    shown = content(episodes, 5, 24.0)
    assert [one["number"] for one in shown["episodes"]] == [0, 4, 7, 10, 14]
    assert content(episodes, 20, 24.0)["episodes"][3]["flags"] == ["repeats episode 0"]


def test_time_stamps_are_those_of_the_episode() -> None:
    times = np.concatenate([100 + 0.1 * np.arange(length) for length in LENGTHS])
    shown = content(recorded(0, infos={"timestamp": times}), 20, 24.0)
    np.testing.assert_allclose(unpacked(shown["episodes"][1]["times"]), 0.1 * np.arange(12), atol=1e-5)
    times[3] = np.nan
    assert content(recorded(0, infos={"timestamp": times}), 20, 24.0)["episodes"][0]["times"] is None


# the verb


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "demos.hdf5", "w") as stored:
        for number in range(3):
            stored[f"data/demo_{number}/obs/state"] = rng.normal(size=(9, 3))
            stored[f"data/demo_{number}/obs/eye"] = rng.integers(0, 255, (9, 16, 16, 3), np.uint8)
            stored[f"data/demo_{number}/actions"] = rng.uniform(-1, 1, (9, 2))
    return tmp_path / "demos.hdf5"


def test_the_verb(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(file.parent)
    assert main(["view", str(file)]) == 0
    assert capsys.readouterr().out == "page in demos.hdf5.html\n"
    assert "<title>demos.hdf5</title>" in (file.parent / "demos.hdf5.html").read_text(encoding="utf-8")
    assert main(["view", str(file), "episodes=2", "out=demos.hdf5.html"]) == 0, "its own page is replaced"
    assert len(data_in((file.parent / "demos.hdf5.html").read_text())["episodes"]) == 2
    assert main(["view", "data.observation=[state]", f"data.path={file}", "out=b.html"]) == 0
    assert data_in((file.parent / "b.html").read_text())["cameras"] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "laminar view needs data: laminar view DATA"),
        ("FILE data.path=FILE", "view takes the data as a word"),
        ("FILE out=page.txt", "out=page.txt: a page is an HTML file; call it page.txt.html"),
        ("FILE out=mine.html", "mine.html exists, and laminar view did not write it; choose another out="),
        ("FILE episodes=0", "episodes must be at least 1"),
        ("FILE eposides=3", "did you mean 'episodes'?"),
        ("nothing.hdf5", "no such file"),
    ],
)
def test_mistakes(
    words: str, message: str, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(file.parent)
    Path("mine.html").write_text("my own page")
    assert main(["view", *words.replace("FILE", str(file)).split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert sorted(path.name for path in file.parent.iterdir()) == ["demos.hdf5", "mine.html"]
    assert Path("mine.html").read_text() == "my own page"


def test_a_folder_of_data_next_to_which_nothing_is_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ViewConfig(out=str(file.parent / "pages/a.html"))
    config.data.path = [str(file), str(file)]
    assert len(data_in(view(config).read_text())["episodes"]) == 6
    config.out = str(file.parent)
    with pytest.raises(LaminarError, match="a page is an HTML file"):
        view(config)


# in a browser


CURSOR = """(() => {
  const [cursor, plot] = ['.cursor', '.plot'].map((one) => document.querySelector(one).getBoundingClientRect());
  return (cursor.x - plot.x - 58) / (plot.width - 68);
})()"""  # where it is along the axis
TOO_PALE = """(() => {
  const linear = (x) => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  const light = (color) => {
    const [r, g, b] = color.match(/[0-9.]+/g).map((x) => linear(x / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (one) => {
    const color = one ? getComputedStyle(one).backgroundColor : 'rgb(255, 255, 255)';
    return color === 'rgba(0, 0, 0, 0)' ? ground(one.parentElement) : color;
  };
  const contrast = (one) => {
    const [more, less] = [getComputedStyle(one).color, ground(one)].map(light).sort((x, y) => y - x);
    return (more + 0.05) / (less + 0.05);
  };
  return [...document.querySelectorAll('h1, h2, h3, p, th, td, button, label, figcaption, output, summary')]
    .filter((one) => one.offsetParent && one.textContent.trim())
    .map((one) => [contrast(one), one.tagName + ' ' + one.textContent.slice(0, 20)])
    .filter(([ratio]) => ratio < 4.5);
})()"""  # texts of less contrast than WCAG's AA
NAMED = """[...document.querySelectorAll('button, input, select')].every(
  (one) => one.textContent.trim() || one.ariaLabel || one.labels.length)"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Generator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with browser(tmp_path_factory.mktemp("browser") / "profile") as one:
        yield one


def shown_in(tab: Browser, folder: Path, episodes: Episodes, dark: bool = False, width: int = 1200) -> None:
    page = folder / "page.html"
    page.write_text(html(EVIL, content(episodes, 20, 24.0)), encoding="utf-8")
    tab.size(width, 900, dark)
    tab.open(page.as_uri())
    tab.wait("document.readyState === 'complete' && document.querySelector('#rows tr')")


def brightness(tab: Browser) -> float:
    """Of the picture that is shown, from 0 to 255."""
    tab.wait("document.querySelector('figure img').complete && document.querySelector('figure img').naturalWidth")
    return tab.value(
        "(() => { const c = document.createElement('canvas').getContext('2d');"
        " c.drawImage(document.querySelector('figure img'), 0, 0); return c.getImageData(4, 4, 1, 1).data[0] })()"
    )


def text(tab: Browser, selector: str) -> str:
    return tab.value(f"document.querySelector({selector!r}).textContent")


def test_slider_keys_and_list_in_a_browser(tab: Browser, tmp_path: Path) -> None:
    shown_in(tab, tmp_path, recorded(2))
    assert tab.value("document.querySelectorAll('figure img').length") == 2
    assert tab.value("document.querySelectorAll('.chart').length") == 4, "eleven states in two, actions, rewards"
    assert text(tab, "#now") == "step 0 of 30, 0.00 s"
    for key, step in (
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("End", 29),
        ("ArrowRight", 29),
        ("Home", 0),
    ):
        tab.key(key, key)
        assert text(tab, "#now").startswith(f"step {step} of 30"), key
    tab.value("$('scrub').value = 20; $('scrub').dispatchEvent(new Event('input'))")
    assert text(tab, ".legend output") == "20", "the first state counts steps"
    assert brightness(tab) == pytest.approx(160, abs=4)
    left = tab.value(CURSOR)
    assert left == pytest.approx(20 / 29, abs=0.01)
    tab.click("#rows tr:nth-child(2)")
    assert text(tab, "#title") == "Episode 1 ✗ no success"
    assert text(tab, "#task") == EVIL
    assert tab.value("document.querySelectorAll('[aria-current]').length") == 1
    tab.key("n", "KeyN")
    assert text(tab, "#title") == "Episode 2 ✓ success"
    assert tab.value("$('task').hidden")
    assert tab.value("window.bad === undefined"), "nothing of the data ran"
    assert tab.errors == []


def test_space_plays_to_the_end_wherever_the_focus_is(tab: Browser, tmp_path: Path) -> None:
    shown_in(tab, tmp_path, recorded(0))
    tab.value("document.querySelector('#rows tr:nth-child(2) button').focus()")
    tab.value("$('speed').value = '4'")
    tab.key(" ", "Space")
    assert text(tab, "#play") == "Pause"
    tab.wait("at > 3 && at < 30")
    assert text(tab, "#title").startswith("Episode 0"), "the button with the focus was not pressed"
    tab.wait("at === 29 && !playing")
    assert text(tab, "#play") == "Play"
    assert tab.value("document.querySelector('#cameras').children.length") == 0
    assert tab.errors == []


def test_a_curve_is_hidden_and_drawn_again(tab: Browser, tmp_path: Path) -> None:
    shown_in(tab, tmp_path, recorded(0))
    drawn = "document.querySelector('canvas').toDataURL()"
    before = tab.value(drawn)
    tab.value("document.querySelector('.legend button').click()")
    hidden = tab.value(drawn)
    assert hidden != before
    assert tab.value("document.querySelector('.legend button').getAttribute('aria-pressed')") == "false"
    tab.value("document.querySelector('.legend button').click()")
    assert tab.value(drawn) == before
    tab.value("$('own').click()")
    assert tab.value(drawn) not in (before, hidden)
    assert tab.errors == []


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (390, False)])
def test_all_of_it_fits_and_every_text_can_be_read(tab: Browser, tmp_path: Path, width: int, dark: bool) -> None:
    shown_in(tab, tmp_path, recorded(2), dark, width)
    assert tab.value("document.documentElement.scrollWidth <= innerWidth")
    low = tab.value(TOO_PALE)
    assert low == []
    assert tab.value(NAMED)
    assert tab.value(
        "[...document.querySelectorAll('canvas')].every((one) => one.getAttribute('aria-label').includes('Curves of'))"
    )
    assert tab.errors == []
