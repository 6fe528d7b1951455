"""Damage to the bytes of a file, all of it following from one random generator."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

Random = np.random.Generator
HEADER = 1024
HUGE = (2**15 - 1, 2**16 - 1, 2**24, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1)


def flip_bits(data: bytes, rng: Random) -> bytes:
    out = bytearray(data)
    reach = len(out) if rng.random() < 0.5 else min(HEADER, len(out))
    for place in rng.integers(0, reach, rng.integers(1, 17)):
        out[place] ^= 1 << int(rng.integers(8))
    return bytes(out)


def truncate(data: bytes, rng: Random) -> bytes:
    return data[: int(rng.integers(1, max(len(data), 2)))]


def overwrite(data: bytes, rng: Random) -> bytes:
    out = bytearray(data)
    start, length = int(rng.integers(len(out))), int(rng.integers(1, 257))
    end = min(start + length, len(out))
    out[start:end] = bytes([int(rng.choice([0, 255]))]) * (end - start)
    return bytes(out)


def huge_number(data: bytes, rng: Random) -> bytes:
    """Put a huge size where a header may hold one: over an integer, or over decimal digits."""
    out, value = bytearray(data), int(rng.choice(np.array(HUGE, np.uint64)))
    numbers = list(re.finditer(rb"\d+", data[: 4 * HEADER]))
    if numbers and rng.random() < 0.5:
        found = numbers[int(rng.integers(len(numbers)))]
        out[found.start() : found.end()] = str(value).encode()
        return bytes(out)
    width = int(rng.choice([2, 4, 8]))
    start = int(rng.integers(max(min(HEADER, len(out)) - width, 1)))
    out[start : start + width] = (value & (256**width - 1)).to_bytes(width, str(rng.choice(["little", "big"])))
    return bytes(out)


def cut_out(data: bytes, rng: Random) -> bytes:
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 129))
    return data[:start] + data[start + length :] or b"\0"


def repeat(data: bytes, rng: Random) -> bytes:
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 129))
    return data[: start + length] + data[start:]


def noise(data: bytes, rng: Random) -> bytes:
    return rng.bytes(int(rng.integers(1, len(data) + 1)))


def empty(data: bytes, rng: Random) -> bytes:
    return b""


OPERATIONS: tuple[Callable[[bytes, Random], bytes], ...] = (
    *(flip_bits, huge_number) * 4, *(truncate, overwrite) * 2, cut_out, repeat, noise,
)  # fmt: skip


def mutate(data: bytes, seed: int, index: int, suffixes: list[str]) -> tuple[bytes, str]:
    """Return damaged bytes and the suffix to give them (empty for the true one)."""
    rng = np.random.default_rng([seed, index])
    if index == 0:
        return b"", ""
    if rng.random() < 0.05:
        return data, str(rng.choice(suffixes))
    for _ in range(int(rng.integers(1, 4))):
        data = OPERATIONS[int(rng.integers(len(OPERATIONS)))](data, rng) or b"\0"
    return data, ""
