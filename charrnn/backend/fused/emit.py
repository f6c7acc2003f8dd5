"""A few words to write loops over vectors with: what the kernels of this folder are spelled in.

``Kernel`` builds one function in LLVM's intermediate representation. Arguments are pointers and
64-bit integers; sizes and strides count elements. A ``Value`` is an integer, a real number or a
vector of them, and takes Python's operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from charrnn.backend.fused.shape import Shape

I64, POINTER = ir.IntType(64), ir.PointerType()


class Value:
    """An SSA value of a kernel."""

    def __init__(self, kernel: Kernel, llvm: Any) -> None:
        self.kernel, self.llvm = kernel, llvm

    def _binary(self, other: Any, integer: str, real: str, *, swap: bool = False) -> Value:
        a, b = self.llvm, self.kernel.like(other, self.llvm.type).llvm
        if swap:
            a, b = b, a
        kind = getattr(a.type, "element", a.type)
        build = getattr(self.kernel.builder, integer if isinstance(kind, ir.IntType) else real)
        return Value(self.kernel, build(a, b))

    def __add__(self, other: Any) -> Value:
        return self._binary(other, "add", "fadd")

    def __sub__(self, other: Any) -> Value:
        return self._binary(other, "sub", "fsub")

    def __rsub__(self, other: Any) -> Value:
        return self._binary(other, "sub", "fsub", swap=True)

    def __mul__(self, other: Any) -> Value:
        return self._binary(other, "mul", "fmul")

    def __truediv__(self, other: Any) -> Value:
        return self._binary(other, "sdiv", "fdiv")

    def __rtruediv__(self, other: Any) -> Value:
        return self._binary(other, "sdiv", "fdiv", swap=True)

    def __floordiv__(self, other: Any) -> Value:
        return self._binary(other, "sdiv", "fdiv")

    __radd__, __rmul__ = __add__, __mul__

    def __and__(self, other: Value) -> Value:
        return Value(self.kernel, self.kernel.builder.and_(self.llvm, other.llvm))

    def compare(self, how: str, other: Any) -> Value:
        """``how`` is one of < <= > >= == !=; false where a real number is not one."""
        b = self.kernel.like(other, self.llvm.type).llvm
        kind = getattr(self.llvm.type, "element", self.llvm.type)
        builder = self.kernel.builder
        if isinstance(kind, ir.IntType):
            return Value(self.kernel, builder.icmp_signed(how, self.llvm, b))
        return Value(self.kernel, builder.fcmp_ordered(how, self.llvm, b))

    def where(self, yes: Any, no: Any) -> Any:
        """Of a condition: ``yes`` where it holds, else ``no``; one is a Value, or both Pointers."""
        if isinstance(yes, Pointer):
            chosen = self.kernel.builder.select(self.llvm, yes.llvm, no.llvm)
            return Pointer(self.kernel, chosen, yes.kind)
        model = yes if isinstance(yes, Value) else no
        a, b = (self.kernel.like(v, model.llvm.type).llvm for v in (yes, no))
        return Value(self.kernel, self.kernel.builder.select(self.llvm, a, b))


class Variable:
    """A value that changes, for loops that carry one; becomes a register."""

    def __init__(self, kernel: Kernel, value: Value) -> None:
        self.kernel, self.type = kernel, value.llvm.type
        with kernel.builder.goto_entry_block():
            self.slot = kernel.builder.alloca(self.type)
        self.set(value)

    def set(self, value: Value) -> None:
        self.kernel.builder.store(value.llvm, self.slot)

    def get(self) -> Value:
        return Value(self.kernel, self.kernel.builder.load(self.slot, typ=self.type))


class Pointer:
    """Where an array of ``kind`` begins; ``pointer + n`` is n elements on."""

    def __init__(self, kernel: Kernel, llvm: Any, kind: Any) -> None:
        self.kernel, self.llvm, self.kind = kernel, llvm, kind

    def __add__(self, offset: Any) -> Pointer:
        index = self.kernel.like(offset, I64).llvm
        moved = self.kernel.builder.gep(self.llvm, [index], source_etype=self.kind)
        return Pointer(self.kernel, moved, self.kind)

    @property
    def _align(self) -> int:
        return {"i64": 8, "double": 8, "float": 4, "i16": 2}[str(self.kind)]

    def given(self) -> Value:
        """Whether it points anywhere."""
        builder = self.kernel.builder
        address = builder.ptrtoint(self.llvm, I64)
        return Value(self.kernel, builder.icmp_unsigned("!=", address, I64(0)))

    def load(self) -> Value:
        """One element."""
        loaded = self.kernel.builder.load(self.llvm, typ=self.kind, align=self._align)
        return Value(self.kernel, loaded)

    def store(self, value: Value) -> None:
        """Write what ``value`` is, one element or a vector."""
        self.kernel.builder.store(value.llvm, self.llvm, align=self._align)

    def vector(self, mask: Value | None = None) -> Value:
        """A vector; 0 where there is a mask that does not hold."""
        kernel, kind = self.kernel, ir.VectorType(self.kind, self.kernel.shape.width)
        if mask is None:
            loaded = kernel.builder.load(self.llvm, typ=kind, align=self._align)
            return Value(kernel, loaded)
        load = kernel.intrinsic(
            "llvm.masked.load", kind, [POINTER, mask.llvm.type, kind], suffix=[kind, POINTER]
        )
        zero = ir.Constant(kind, None)
        call = kernel.builder.call(load, [self.llvm, mask.llvm, zero])
        return Value(kernel, call)

    def store_vector(self, value: Value, mask: Value | None = None) -> None:
        """Write a vector, where the mask holds."""
        if mask is None:
            self.store(value)
            return
        kernel, kind = self.kernel, value.llvm.type
        store = kernel.intrinsic(
            "llvm.masked.store", ir.VoidType(), [kind, POINTER, mask.llvm.type], [kind, POINTER]
        )
        kernel.builder.call(store, [value.llvm, self.llvm, mask.llvm])


class Kernel:
    """A function under construction, a context that ends with its ``return``.

    ``pointers`` and ``integers`` name its arguments, in this order; a pointer is to the real
    numbers of ``shape.dtype`` unless its name is followed by a type: ``ids:i64``.
    """

    def __init__(
        self, module: ir.Module, shape: Shape, name: str, pointers: str = "", integers: str = ""
    ) -> None:
        self.module, self.shape = module, shape
        self.real = ir.FloatType() if shape.dtype.itemsize == 4 else ir.DoubleType()
        self.vector_type = ir.VectorType(self.real, shape.width)
        names = [n.partition(":")[::2] for n in pointers.split()]
        types = [POINTER] * len(names) + [I64] * len(integers.split())
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), name)
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        kinds = {"": self.real, "i64": I64, "u16": ir.IntType(16), "f64": ir.DoubleType()}
        args = iter(self.function.args)
        self.arguments: dict[str, Any] = {n: Pointer(self, next(args), kinds[k]) for n, k in names}
        self.arguments |= {n: Value(self, next(args)) for n in integers.split()}

    def __getitem__(self, names: str) -> Any:
        """An argument, or a list of several."""
        found = [self.arguments[name.partition(":")[0]] for name in names.split()]
        return found if len(found) > 1 else found[0]

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *error: object) -> None:
        self.builder.ret_void()

    # Values

    def like(self, value: Any, kind: Any) -> Value:
        """``value`` as the LLVM type ``kind``: Python numbers and scalars are spread."""
        if isinstance(value, Value):
            if value.llvm.type == kind or not isinstance(kind, ir.VectorType):
                return value
            return self.splat(value)
        if isinstance(kind, ir.VectorType):
            return Value(self, ir.Constant(kind, [kind.element(value)] * kind.count))
        return Value(self, kind(value))

    def real_vector(self, number: float) -> Value:
        return self.like(number, self.vector_type)

    def splat(self, scalar: Value) -> Value:
        """A vector of the same element everywhere."""
        kind = ir.VectorType(scalar.llvm.type, self.shape.width)
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar.llvm, I64(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.shape.width), None)
        return Value(self, self.builder.shuffle_vector(first, undefined, zeros))

    def lanes(self, count: Any) -> Value:
        """A mask: the first ``count`` elements of a vector."""
        kind = ir.VectorType(I64, self.shape.width)
        numbers = ir.Constant(kind, [I64(n) for n in range(self.shape.width)])
        return Value(self, numbers).compare("<", self.like(count, I64))

    def address(self, pointer: Pointer) -> Value:
        """A pointer as a number ..."""
        return Value(self, self.builder.ptrtoint(pointer.llvm, I64))

    def pointer(self, address: Value) -> Pointer:
        """... and back."""
        return Pointer(self, self.builder.inttoptr(address.llvm, POINTER), self.real)

    def double(self, number: float) -> Value:
        return Value(self, ir.DoubleType()(number))

    def as_double(self, x: Value) -> Value:
        """A real number, or a vector of them, in double precision."""
        kind: Any = ir.DoubleType()
        if isinstance(x.llvm.type, ir.VectorType):
            kind = ir.VectorType(kind, x.llvm.type.count)
        return x if x.llvm.type == kind else Value(self, self.builder.fpext(x.llvm, kind))

    def as_integer(self, x: Value) -> Value:
        """A whole number that is a real one, as an integer."""
        return Value(self, self.builder.fptosi(x.llvm, I64))

    def minimum(self, a: Value, b: Any) -> Value:
        return a.compare("<", b).where(a, b)  # type: ignore[no-any-return]

    def maximum(self, a: Value, b: Any) -> Value:
        """The larger; ``b`` where one is not a number."""
        return a.compare(">", b).where(a, b)  # type: ignore[no-any-return]

    # Control

    @contextmanager
    def loop(self, start: Any, stop: Any, step: int = 1) -> Iterator[Value]:
        """The body once for each of range(start, stop, step)."""
        builder, stop = self.builder, self.like(stop, I64).llvm
        head, body, end = (builder.append_basic_block(n) for n in ("head", "body", "end"))
        before = builder.block
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(I64)
        index.add_incoming(self.like(start, I64).llvm, before)
        builder.cbranch(builder.icmp_signed("<", index, stop), body, end)
        builder.position_at_end(body)
        yield Value(self, index)
        index.add_incoming(builder.add(index, I64(step)), builder.block)
        builder.branch(head)
        builder.position_at_end(end)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """The body where ``condition`` holds."""
        with self.builder.if_then(condition.llvm):
            yield

    @contextmanager
    def either(self, condition: Value) -> Iterator[Any]:
        """A pair of contexts: what is done where ``condition`` holds, and where it does not."""
        with self.builder.if_else(condition.llvm) as branches:
            yield branches

    def each_vector(self, count: Value, body: Callable[[Value, Value | None], None]) -> None:
        """``body(start, mask)`` for all vectors of ``count`` elements; the last has a mask."""
        width = self.shape.width
        whole = count // width * width
        with self.loop(0, whole, width) as start:
            body(start, None)
        with self.when(whole.compare("<", count)):
            body(whole, self.lanes(count - whole))

    def call(self, function: Any, *arguments: Any) -> None:
        """Call another kernel, or the address of one of the same arguments."""
        values = [
            a.llvm if isinstance(a, Value | Pointer) else a if hasattr(a, "type") else I64(a)
            for a in arguments
        ]
        self.builder.call(function, values)

    def prefetch(self, place: Pointer) -> None:
        """Have the line of the cache that it is in brought in, where there is such memory."""
        kinds = [POINTER, *[ir.IntType(32)] * 3]
        function = self.intrinsic("llvm.prefetch", ir.VoidType(), kinds, [POINTER])
        numbers = [ir.IntType(32)(n) for n in (0, 3, 1)]  # to read, into the first level, data
        self.builder.call(function, [place.llvm, *numbers])

    def intrinsic(self, name: str, result: Any, arguments: list[Any], suffix: list[Any]) -> Any:
        """The function that LLVM calls ``name`` for these types."""
        marks = ["p0" if t == POINTER else _mangled(t) for t in suffix]
        full = ".".join([name, *marks])
        found = self.module.globals.get(full)
        return found or ir.Function(self.module, ir.FunctionType(result, arguments), full)

    # Arithmetic

    def _of_reals(self, name: str, *values: Value) -> Value:
        kind = values[0].llvm.type
        function = self.intrinsic(name, kind, [kind] * len(values), [kind])
        return Value(self, self.builder.call(function, [v.llvm for v in values]))

    def fma(self, a: Value, b: Any, c: Any) -> Value:
        """a * b + c, rounded once where the machine can."""
        kind = a.llvm.type
        return self._of_reals("llvm.fmuladd", a, self.like(b, kind), self.like(c, kind))

    def sqrt(self, x: Value) -> Value:
        return self._of_reals("llvm.sqrt", x)

    def log(self, x: Value) -> Value:
        return self._of_reals("llvm.log", x)

    def sum(self, vector: Value) -> Value:
        """All elements of a vector added up, pairwise."""
        return self._halved(vector, lambda a, b: a + b)

    def max(self, vector: Value) -> Value:
        """The largest element of a vector."""
        return self._halved(vector, self.maximum)

    def _halved(self, vector: Value, combine: Callable[[Value, Value], Value]) -> Value:
        width = vector.llvm.type.count
        while width > 1:
            width //= 2
            halves = [
                Value(
                    self,
                    self.builder.shuffle_vector(
                        vector.llvm,
                        vector.llvm,
                        ir.Constant(ir.VectorType(ir.IntType(32), width), list(part)),
                    ),
                )
                for part in (range(width), range(width, 2 * width))
            ]
            vector = combine(*halves)
        return Value(self, self.builder.extract_element(vector.llvm, I64(0)))

    def expm1_parts(self, x: Value) -> tuple[Value, Value]:
        """(s, p) with exp(x) = s + s * p, for x that is not above 88 (float64: 709).

        x = k ln 2 + r with k whole and |r| <= ln 2 / 2 gives s = 2^k and p = exp(r) - 1, a Taylor
        polynomial (Cody & Waite 1980). Below the smallest normal number s is that number.
        """
        single = self.shape.dtype.itemsize == 4
        mantissa, bias, terms = (23, 127, 7) if single else (52, 1023, 13)
        x = x.compare("<", -bias * math.log(2) + 1).where(-bias * math.log(2) + 1, x)
        # Adding 1.5 * 2^mantissa rounds to a whole number, which is then in the lowest bits.
        shift = 1.5 * 2.0**mantissa
        shifted = self.fma(x, 1 / math.log(2), shift)
        k = shifted - shift
        # ln 2 in two parts: k times the first, which has few digits, is exact.
        digits = 2.0 ** (9 if single else 32)
        high = math.floor(math.log(2) * digits) / digits
        low = math.log(2) - high + 2.319046813846299e-17  # what ln 2 has beyond a double
        r = self.fma(k, -low, self.fma(k, -high, x))
        # By pairs of terms: half as many operations wait for each other.
        square = r * r
        p = self.fma(r, 1 / math.factorial(terms), 1 / math.factorial(terms - 1))
        for n in range(terms - 2, 1, -2):
            pair = self.fma(r, 1 / math.factorial(n), 1 / math.factorial(n - 1))
            p = self.fma(p, square, pair)
        p = self.fma(p, square, r)
        bits = ir.VectorType(ir.IntType(8 * self.shape.dtype.itemsize), self.shape.width)
        whole = Value(self, self.builder.bitcast(shifted.llvm, bits)) + bias
        moved = self.builder.shl(whole.llvm, self.like(mantissa, bits).llvm)
        return Value(self, self.builder.bitcast(moved, self.vector_type)), p

    def exp(self, x: Value) -> Value:
        """e^x for vectors that are nowhere above 88 (float64: 709)."""
        s, p = self.expm1_parts(x)
        return self.fma(s, p, s)

    def tanh(self, x: Value) -> Value:
        """-m / (m + 2) with m = exp(-2 |x|) - 1, which keeps all digits near 0."""
        magnitude = self._of_reals("llvm.fabs", x)
        s, p = self.expm1_parts(magnitude * -2.0)
        m = self.fma(s, p, s - 1.0)
        return self._of_reals("llvm.copysign", (m * -1.0) / (m + 2.0), x)


def _mangled(kind: Any) -> str:
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{_mangled(kind.element)}"
    return {"float": "f32", "double": "f64"}.get(str(kind), str(kind))
