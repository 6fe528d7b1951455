"""Run the stages of a pipeline side by side: generators joined by bounded queues."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
END = object()
POLL = 0.1  # seconds between looks at the stop flag


def prefetch(items: Iterator[T], depth: int) -> Generator[T, None, None]:
    """Yield `items`, computed ahead in a thread, at most `depth` waiting.

    An error of the thread is raised here. Closing this generator stops the thread and closes `items` in it.
    """
    waiting: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()
    thread = threading.Thread(target=_fill, args=(items, waiting, stop), daemon=True, name="medseg-stage")
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is END:
                return
            yield item
    finally:
        stop.set()
        thread.join()


def ordered_map(function: Callable[[T], R], items: Iterator[T], threads: int) -> Generator[R, None, None]:
    """Yield ``function(item)`` in the order of `items`, computed by `threads` threads; few items are held at a time."""
    running: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads, "medseg-map") as pool:
        try:
            for item in items:
                running.append(pool.submit(function, item))
                if len(running) > 2 * threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
            close(items)


def batched(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to `size` items."""
    while batch := list(islice(items, size)):
        yield batch


def close(items: Iterator[Any]) -> None:
    """Close `items` if it is a generator."""
    if isinstance(items, Generator):
        items.close()


def _fill(items: Iterator[Any], waiting: queue.Queue, stop: threading.Event) -> None:
    """Put items into the queue until they end or `stop` is set; an error goes to whoever takes them."""

    def put(item: Any, error: BaseException | None = None) -> bool:
        while not stop.is_set():
            try:
                waiting.put((item, error), timeout=POLL)
                return True
            except queue.Full:
                continue
        return False

    try:
        for item in items:
            if not put(item):
                break
    except BaseException as error:  # handed to the consumer, which raises it
        put(None, error)
    finally:
        close(items)
        put(END)
