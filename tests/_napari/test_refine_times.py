"""Refine with scribbles on movies: the time point in view is refined; what belongs to another one is not in view."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from refine_scene import LESION
from shorthand import Open, Wait

pytestmark = [pytest.mark.viewer, pytest.mark.usefixtures("own_folders")]


class Movie:
    """A viewer with a movie of a square that moves down, and the dock."""

    def __init__(self, open_dock: Open, wait: Wait) -> None:
        self.viewer, self.dock = open_dock("Refine with scribbles")
        self.wait = wait
        frames = np.random.default_rng(0).normal(0, 5, (5, 40, 40)).astype(np.float32)
        for n in range(5):
            frames[n, 10 + n : 22 + n, 10:22] += 100
        self.layer = self.viewer.add_image(frames, name="movie", scale=(0.5, 2, 2), units=("s", "um", "um"))

    def go(self, frame: int) -> None:
        self.viewer.dims.set_current_step(0, frame)

    @property
    def frame(self) -> int:
        return int(self.viewer.dims.current_step[0])

    def start(self) -> Any:
        self.dock.run_bar.run_button.click()
        self.wait(lambda: self.dock.run_bar.current is None)
        assert self.dock.live is not None, self.dock.run_bar.message.text()
        return self.dock.live

    def accept(self, frame: int) -> Any:
        """Refine and accept the square of a frame; return the layer of objects."""
        self.go(frame)
        live = self.start()
        live.layers.scribbles.paint((16 + frame, 16), LESION)
        self.wait(lambda: live.steps.idle and live.session.state.index == 1)
        live.accept()
        self.wait(lambda: live.steps.idle and live.session.state.index == 2)
        live.finish()
        return live.layers.objects

    def shown(self) -> set[str]:
        return {layer.name for layer in self.viewer.layers if layer.visible}


def test_the_time_point_follows_the_slider_and_the_slider_the_time_point(open_dock: Open, wait: Wait) -> None:
    movie = Movie(open_dock, wait)
    time = movie.dock.setup.picture.time
    movie.go(3)
    assert time.value() == 3
    time.point.setValue(1)
    assert movie.frame == 1
    live = movie.start()
    assert live.layers.image.name == "movie · time 1"
    assert "Time point 1 of movie is refined, wherever the slider is" in movie.dock.panel.message.text()


def test_objects_of_a_time_point_are_shown_at_it_alone_and_stay(open_dock: Open, wait: Wait) -> None:
    movie = Movie(open_dock, wait)
    first = movie.accept(1)
    kept = first.data.copy()
    assert kept.any()
    assert {"movie", first.name} <= movie.shown()
    assert "movie · time 1" not in movie.shown()
    other = movie.accept(3)
    assert first.name not in movie.shown()
    movie.go(1)
    assert first.name in movie.shown()
    assert other.name not in movie.shown()
    np.testing.assert_array_equal(first.data, kept)

    live = movie.start()
    movie.go(4)  # the slider may move meanwhile
    assert live.layers.scribbles.visible
    live.finish()
    assert movie.frame == 1, "what was refined is shown over its own frame"


def test_all_frames_together_are_refined_in_view(open_dock: Open, wait: Wait) -> None:
    movie = Movie(open_dock, wait)
    first = movie.accept(1)
    movie.dock.setup.picture.time.together.setChecked(True)
    live = movie.start()
    assert live.layers.image == movie.layer
    assert movie.layer.visible
    assert not {first.name, "movie · time 1"} & movie.shown()
    for frame in (0, 4):
        movie.go(frame)
        live.layers.scribbles.paint((frame, 16 + frame, 16), LESION)
        wait(lambda: live.steps.idle and not live.release.isActive())
    assert live.layers.mask.data[[0, 4]].any((1, 2)).all()
    status = movie.dock.panel.status.text()
    assert "um^2" in status, "time is no length, so frames have areas"
    for _ in range(2):
        live.undo()
    wait(lambda: live.steps.idle)
    assert not live.layers.scribbles.data.any()
    assert not live.layers.mask.data.any()
    assert first.data.any()
