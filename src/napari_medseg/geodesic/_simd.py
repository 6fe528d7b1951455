"""Vector instructions of the distance sweeps: sixteen voxels of a row at once, as numba intrinsics.

The compiler does not vectorise minima that report which lanes dropped, hence the explicit code.
All operands live in flat float32 arrays; ``image`` is (n,) or (C, n), where the second form selects
the L2 difference over channels. An edge costs ``a + b g``, or with ``eps`` given (not None) the
harmonic ``a (g + eps) / ((1 - b) (g + eps) + b)``, g being the intensity difference. Cells outside
the grid hold an infinite image, so every path through them costs inf or NaN and loses each comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
BIG = 1e30
_FLOAT, _INT32, _INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)


class _Emitter:
    """Emits LLVM code on vectors of `lanes` floats for one call of an intrinsic."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Sequence[Any], lanes: int = LANES) -> None:
        self.builder, self.lanes = builder, lanes
        self.type = ir.VectorType(_FLOAT, lanes)
        kinds = signature.args[:2]
        arrays = [context.make_array(kind)(context, builder, arg) for kind, arg in zip(kinds, args, strict=False)]
        self.distance, self.image = (array.data for array in arrays)
        self.multichannel = kinds[1].ndim == 2
        if self.multichannel:
            self.channels, self.stride = cgutils.unpack_tuple(builder, arrays[1].shape)
        self.eps = None if isinstance(signature.args[-1], types.NoneType) else self.splat(args[-1])

    def constant(self, value: float) -> Any:
        return ir.Constant(self.type, [value] * self.lanes)

    def shuffle(self, first: Any, second: Any, lanes: Sequence[int]) -> Any:
        return self.builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(_INT32, len(lanes)), list(lanes)))

    def splat(self, scalar: Any) -> Any:
        vector = self.builder.insert_element(ir.Constant(self.type, ir.Undefined), scalar, ir.Constant(_INT32, 0))
        return self.shuffle(vector, vector, [0] * self.lanes)

    def _address(self, array: Any, offset: Any, shift: int) -> Any:
        element = self.builder.gep(array, [self.builder.add(offset, ir.Constant(_INT64, shift))])
        return self.builder.bitcast(element, self.type.as_pointer())

    def load(self, array: Any, offset: Any, shift: int = 0) -> Any:
        vector = self.builder.load(self._address(array, offset, shift))
        vector.align = 4
        return vector

    def store(self, vector: Any, offset: Any) -> None:
        self.builder.store(vector, self._address(self.distance, offset, 0)).align = 4

    def _math(self, name: str, vector: Any) -> Any:
        kind = ir.FunctionType(self.type, [self.type])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.{name}.v{self.lanes}f32")
        return self.builder.call(function, [vector])

    def less(self, new: Any, old: Any) -> Any:
        return self.builder.fcmp_ordered("<", new, old)

    def minimum(self, new: Any, old: Any) -> Any:
        """Lane-wise minimum that keeps `old` where `new` is NaN."""
        return self.builder.select(self.less(new, old), new, old)

    def dropped(self, new: Any, old: Any) -> Any:
        """Bit mask (int64) of the lanes where new < old."""
        return self.builder.zext(self.builder.bitcast(self.less(new, old), ir.IntType(self.lanes)), _INT64)

    def shifted(self, vector: Any, step: int) -> Any:
        """Lane j gets lane j - step, or `BIG` from outside."""
        sources = [j - step if 0 <= j - step < self.lanes else self.lanes for j in range(self.lanes)]
        return self.shuffle(vector, self.constant(BIG), sources)

    def _gap(self, to: Any, source: Any, shift: int) -> Any:
        build = self.builder
        if not self.multichannel:
            return self._math("fabs", build.fsub(self.load(self.image, to), self.load(self.image, source, shift)))
        total = cgutils.alloca_once_value(build, self.constant(0.0))
        with cgutils.for_range(build, self.channels) as loop:
            base = build.mul(loop.index, self.stride)
            there = self.load(self.image, build.add(base, source), shift)
            gap = build.fsub(self.load(self.image, build.add(base, to)), there)
            build.store(build.fadd(build.load(total), build.fmul(gap, gap)), total)
        return self._math("sqrt", build.load(total))

    def cost(self, to: Any, source: Any, a: Any, b: Any, shift: int = 0) -> Any:
        """Cost of the edges from `source` + `shift` to `to`."""
        build, fused = self.builder, ("contract",)
        gap = self._gap(to, source, shift)
        if self.eps is None:
            return build.fadd(a, build.fmul(b, gap, flags=fused), flags=fused)
        gap = build.fadd(gap, self.eps)
        below = build.fadd(build.fmul(build.fsub(self.constant(1.0), b), gap), b)
        return build.fdiv(build.fmul(a, gap), below)


@intrinsic  # type: ignore[untyped-decorator]
def relax(
    typing: Any, distance: Any, image: Any, source: Any, to: Any, a0: Any, b0: Any, a1: Any, b1: Any, eps: Any
) -> Any:
    """Lower the lanes at `to` by the straight and both diagonal edges from the row at `source`.

    Returns the bit mask of the lanes that dropped.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, builder, signature, args)
        source, to = args[2:4]
        straight_a, straight_b, diagonal_a, diagonal_b = map(emit.splat, args[4:8])
        old = best = emit.load(emit.distance, to)
        for shift, a, b in ((0, straight_a, straight_b), (-1, diagonal_a, diagonal_b), (1, diagonal_a, diagonal_b)):
            new = builder.fadd(emit.load(emit.distance, source, shift), emit.cost(to, source, a, b, shift))
            best = emit.minimum(new, best)
        emit.store(best, to)
        return emit.dropped(best, old)

    numbers = [types.int64] * 2 + [types.float32] * 4
    return types.int64(distance, image, *numbers, eps), generate


@intrinsic  # type: ignore[untyped-decorator]
def edge(typing: Any, distance: Any, image: Any, source: Any, to: Any, a: Any, b: Any, eps: Any) -> Any:
    """Return the cost of the one edge from `source` to `to`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, builder, signature, args, lanes=1)
        cost = emit.cost(args[3], args[2], emit.splat(args[4]), emit.splat(args[5]))
        return builder.extract_element(cost, ir.Constant(_INT32, 0))

    numbers = [types.int64] * 2 + [types.float32] * 2
    return types.float32(distance, image, *numbers, eps), generate


@intrinsic  # type: ignore[untyped-decorator]
def lowest(typing: Any, distance: Any, image: Any, at: Any, lanes: Any, eps: Any) -> Any:
    """Return the least distance among the lanes of the bit mask `lanes`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(context, builder, signature, args)
        bits = builder.trunc(args[3], ir.IntType(LANES))
        chosen = builder.bitcast(bits, ir.VectorType(ir.IntType(1), LANES))
        least = builder.select(chosen, emit.load(emit.distance, args[2]), emit.constant(BIG))
        for step in (8, 4, 2, 1):
            turned = emit.shuffle(least, least, [(j + step) % LANES for j in range(LANES)])
            least = emit.minimum(turned, least)
        return builder.extract_element(least, ir.Constant(_INT32, 0))

    return types.float32(distance, image, types.int64, types.int64, eps), generate


def _scan(direction: int) -> Callable[..., Any]:
    def scan(typing: Any, distance: Any, image: Any, at: Any, a: Any, b: Any, eps: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            emit = _Emitter(context, builder, signature, args)
            at = args[2]
            old = emit.load(emit.distance, at)
            cost = emit.cost(at, at, emit.splat(args[3]), emit.splat(args[4]), -direction)
            near = emit.minimum(builder.fadd(emit.load(emit.distance, at, -direction), cost), old)
            mask = cgutils.alloca_once_value(builder, emit.dropped(near, old))
            with builder.if_then(builder.icmp_unsigned("!=", builder.load(mask), ir.Constant(_INT64, 0))):
                for step in (1, 2, 4, 8):
                    near = emit.minimum(builder.fadd(emit.shifted(near, step * direction), cost), near)
                    cost = builder.fadd(cost, emit.shifted(cost, step * direction))
                emit.store(near, at)
                builder.store(emit.dropped(near, old), mask)
            return builder.load(mask)

        return types.int64(distance, image, types.int64, types.float32, types.float32, eps), generate

    scan.__doc__ = """Carry distances along the row through the lanes at `at`, by doubling; return the dropped lanes."""
    return scan


scan_forward = intrinsic(_scan(1))
scan_backward = intrinsic(_scan(-1))
