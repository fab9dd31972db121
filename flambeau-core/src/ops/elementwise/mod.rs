//! Elementwise operations.
//!
//! A kernel is a loop over contiguous chunks in one of four lanes: `f32` (for f16, bf16 and f32),
//! `f64`, `i32` (for bool and the integers up to 32 bits) and `i64`. This file brings operands of
//! any layout, broadcast and type to such chunks, so a row of the tables in `unary`, `binary` and
//! `compare` is all that a new operation takes.

pub(crate) mod activation;
pub(crate) mod binary;
pub(crate) mod choose;
pub(crate) mod clamp;
pub(crate) mod compare;
pub(crate) mod divide;
mod gate;
mod hot;
pub(crate) mod pairs;
pub(crate) mod power;
mod products;
pub(crate) mod unary;

use crate::autograd::is_grad_enabled;
use crate::dtype::{Element, Stored};
use crate::format::result_strides;
use crate::shape::{Shape, Strides, broadcast_strides, contiguous_strides, memory_order};
use crate::storage::Read;
use crate::tensor::Tensor;
use crate::{DType, Result, Scalar, cuda, with_stored};
use flambeau_cpu::alloc::{cast, cast_mut};
use flambeau_cpu::copy::{Axis, copy_strided};
use flambeau_cpu::threads::parallel_chunks_mut;
use smallvec::SmallVec;
use std::ops::Range;

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 15;
/// Elements gathered at a time where an operand is not laid out as the kernel wants it.
const CHUNK: usize = 512;

/// What an operation does with its operands' type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Integers and bool become `f32` first.
    Float,
    /// It is kept.
    Same,
    /// It is kept, and bool refused.
    Number,
}

impl Kind {
    /// Whether the result of operands of `dtype` has that type too, and there is one.
    fn keeps(self, dtype: DType) -> bool {
        match self {
            Kind::Float => dtype.is_floating_point(),
            Kind::Same => true,
            Kind::Number => dtype != DType::Bool,
        }
    }
}

/// What an in-place operation on `x` with a rule that reads `x` computes from: a copy where it will
/// be recorded, for the rule wants the elements that are about to be overwritten.
pub(crate) fn original(x: &Tensor, others: &[&Tensor]) -> Result<Tensor> {
    if is_grad_enabled() && (x.tracked() || others.iter().any(|t| t.tracked())) {
        x.copy()
    } else {
        Ok(x.clone())
    }
}

/// A type kernels compute in.
pub(crate) trait Lane: Stored {
    const DTYPE: DType;
    fn load<S: Stored>(s: S) -> Self;
    /// [`load`](Lane::load) of each element of `x`, into `out`.
    fn load_slice<S: Stored>(x: &[S], out: &mut [Self]);
}

macro_rules! lane {
    ($($t:ty, $d:ident, $to:ident, |$x:ident, $out:ident| $slice:expr);*) => {$(
        impl Lane for $t {
            const DTYPE: DType = DType::$d;
            #[inline(always)]
            fn load<S: Stored>(s: S) -> $t { s.$to() }
            fn load_slice<S: Stored>($x: &[S], $out: &mut [$t]) { $slice }
        }
    )*};
}
lane!(
    f32, F32, to_f32, |x, out| S::widen(x, out);
    f64, F64, to_f64, |x, out| convert_slice(x, out, S::to_f64);
    i32, I32, to_i32, |x, out| S::whole32(x, out);
    i64, I64, to_i64, |x, out| S::whole64(x, out)
);

/// The lane in which elements of `dtype` are computed.
pub(crate) const fn lane_of(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 | DType::F32 => DType::F32,
        DType::F64 => DType::F64,
        DType::I64 => DType::I64,
        _ => DType::I32,
    }
}

/// An operand, read along the row-major order of the result's elements.
struct Source<'a> {
    read: Read<'a>,
    dtype: DType,
    /// Size and stride of the dimensions after merging, outermost first.
    dims: SmallVec<[(usize, usize); 6]>,
}

impl<'a> Source<'a> {
    fn new(t: &'a Tensor, shape: &[usize]) -> Source<'a> {
        let strides = broadcast_strides(t.shape(), t.strides(), shape);
        let mut dims: SmallVec<[(usize, usize); 6]> = SmallVec::new();
        for (&d, &s) in shape.iter().zip(&strides) {
            match dims.last_mut() {
                _ if d == 1 => {}
                // Wrapping: where a size is 0, the others may multiply to more than memory holds.
                Some((size, stride)) if *stride == d.wrapping_mul(s) => {
                    (*size, *stride) = (size.wrapping_mul(d), s);
                }
                _ => dims.push((d, s)),
            }
        }
        if dims.is_empty() {
            dims.push((1, 1));
        }
        Source {
            read: t.read(),
            dtype: t.dtype(),
            dims,
        }
    }

    /// The elements as they stand, where they are contiguous and of lane `C`.
    fn direct<C: Lane>(&self) -> Option<&[C]> {
        (self.dtype == C::DTYPE && self.dims.len() == 1 && self.dims[0].1 == 1)
            .then(|| self.read.slice::<C>())
    }

    /// Elements in a row of the innermost dimension, and how far they lie apart.
    fn last(&self) -> (usize, usize) {
        self.dims[self.dims.len() - 1]
    }

    /// Where element `i` lies.
    fn place(&self, i: usize) -> usize {
        let (mut rest, mut at) = (i, 0);
        for &(size, stride) in self.dims.iter().rev() {
            at += rest % size * stride;
            rest /= size;
        }
        at
    }

    /// Elements `start..start + len` as they stand, where they are contiguous and of lane `C`.
    fn piece<C: Lane>(&self, start: usize, len: usize) -> Option<&[C]> {
        let (size, stride) = self.last();
        let fits = self.dtype == C::DTYPE && stride == 1 && start % size + len <= size;
        fits.then(|| &self.read.slice::<C>()[self.place(start)..][..len])
    }

    /// Elements `start..start + out.len()` of the row-major order.
    fn gather<C: Lane>(&self, start: usize, out: &mut [C]) {
        let stride = self.last().1;
        if self.dtype == C::DTYPE {
            let x = self.read.slice::<C>();
            return self.runs(start, out.len(), &mut |at, place| {
                let (out, x) = (&mut out[at], &x[place..]);
                match stride {
                    0 => out.fill(x[0]),
                    1 => out.copy_from_slice(&x[..out.len()]),
                    _ => flambeau_cpu::copy::every(x, stride, out),
                }
            });
        }
        with_stored!(self.dtype, S => {
            let x = self.read.slice::<S>();
            self.runs(start, out.len(), &mut |at, place| {
                let (out, x) = (&mut out[at], &x[place..]);
                match stride {
                    0 => out.fill(C::load(x[0])),
                    _ => convert_spaced(x, stride, out),
                }
            })
        });
    }

    /// Calls `f(at, place)` for the runs along the last dimension that make up elements
    /// `start..start + len`: those number `at`, counted from `start`, begin at `place` of the memory.
    fn runs(&self, start: usize, len: usize, f: &mut dyn FnMut(Range<usize>, usize)) {
        let (inner, stride) = self.last();
        let outer = &self.dims[..self.dims.len() - 1];
        let (mut column, mut rest, mut base) = (start % inner, start / inner, 0);
        let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, outer.len());
        for (i, &(size, step)) in index.iter_mut().zip(outer).rev() {
            *i = rest % size;
            rest /= size;
            base += *i * step;
        }
        let mut at = 0;
        while at < len {
            let end = at + (inner - column).min(len - at);
            f(at..end, base + column * stride);
            (at, column) = (end, 0);
            for (i, &(size, step)) in index.iter_mut().zip(outer).rev() {
                *i += 1;
                base += step;
                if *i < size {
                    break;
                }
                base -= size * step;
                *i = 0;
            }
        }
    }
}

/// Every `stride`-th element of `x`, converted, into `out`.
fn convert_spaced<S: Stored, C: Lane>(x: &[S], stride: usize, out: &mut [C]) {
    if stride == 1 {
        return C::load_slice(&x[..out.len()], out);
    }
    let mut near = [S::default(); 128];
    for (i, out) in out.chunks_mut(near.len()).enumerate() {
        let near = &mut near[..out.len()];
        flambeau_cpu::copy::every(&x[i * 128 * stride..], stride, near);
        C::load_slice(near, out);
    }
}

/// `f` of each element of `x`, into `out`.
pub(crate) fn convert_slice<S: Copy, T>(x: &[S], out: &mut [T], f: impl Fn(S) -> T) {
    flambeau_cpu::simd::dispatch(
        #[inline(always)]
        || out.iter_mut().zip(x).for_each(|(o, &v)| *o = f(v)),
    );
}

/// What a kernel writes: a lane, or `u8` for truth values (0 or 1).
pub(crate) trait KernelResult: Stored {
    /// Whether `dtype` is stored as this type.
    fn stores(dtype: DType) -> bool;
    /// What stores such results as a narrower type.
    fn narrowing(op: &'static str, dtype: DType) -> Result<Narrowing<Self>>;
}

/// Writes each element of a slice, converted, to the memory of as many.
type Narrowing<D> = fn(&[D], &mut [u8]);

macro_rules! result {
    ($($t:ty: $($d:ident)|* $(, $narrow:ident => |$x:ident, $out:ident| $store:expr)*;)*) => {$(
        impl KernelResult for $t {
            fn stores(dtype: DType) -> bool { matches!(dtype, $(DType::$d)|*) }
            fn narrowing(op: &'static str, dtype: DType) -> Result<Narrowing<$t>> {
                match dtype {
                    $(DType::$narrow => Ok(|$x, $out| $store),)*
                    // No operation asks for one.
                    other => crate::bail!(op, "no kernel writes {other} here"),
                }
            }
        }
    )*};
}
result!(
    f32: F32,
        F16 => |x, out| Stored::narrow(x, cast_mut::<half::f16>(out)),
        BF16 => |x, out| Stored::narrow(x, cast_mut::<half::bf16>(out));
    f64: F64;
    i32: I32,
        I16 => |x, out| convert_slice(x, cast_mut(out), |v| v as i16),
        I8 => |x, out| convert_slice(x, cast_mut(out), |v| v as i8),
        U8 => |x, out| convert_slice(x, out, |v| v as u8),
        Bool => |x, out| convert_slice(x, out, |v| u8::from(v != 0));
    i64: I64;
    u8: U8 | Bool;
);

/// Computes a chunk of results from chunks of operands.
pub(crate) type Kernel<'a, C, D, const N: usize> = &'a (dyn Fn([&[C]; N], &mut [D]) + Sync);

/// A new tensor whose elements `kernel` computes from the operands', broadcast to `shape` and
/// converted to lane `C`. The kernel writes `D`, which is then stored as `dtype`.
pub(crate) fn map<C: Lane, D: KernelResult, const N: usize>(
    op: &'static str,
    shape: &[usize],
    dtype: DType,
    inputs: [&Tensor; N],
    kernel: Kernel<'_, C, D, N>,
) -> Result<Tensor> {
    // Few elements that lie as the kernel wants them: nothing to plan or to share out.
    let n = crate::shape::numel(shape);
    let plain = |t: &Tensor| t.dtype() == C::DTYPE && t.shape() == shape && t.is_contiguous();
    if n <= GRAIN && D::stores(dtype) && inputs.iter().all(|t| plain(t)) {
        let reads = inputs.map(Tensor::read);
        return Tensor::build::<D>(op, shape, dtype, |out| {
            kernel(reads.each_ref().map(|r| &r.slice::<C>()[..n]), out);
        });
    }
    if let Some(order) = common_order(shape, inputs) {
        return in_order::<C, D, N>(op, shape, dtype, inputs, &order, kernel);
    }
    let copies = rows_first(op, shape, inputs)?;
    let sources = std::array::from_fn(|i| {
        let t = copies[i].as_ref().unwrap_or(inputs[i]);
        Some(Source::new(t, shape))
    });
    if D::stores(dtype) {
        return Tensor::build::<D>(op, shape, dtype, |out| write(&sources, out, kernel));
    }
    let narrow = D::narrowing(op, dtype)?;
    Tensor::build::<u8>(op, shape, dtype, |out| {
        write_as(&sources, out, dtype, narrow, kernel)
    })
}

/// The order of dimensions under which the result is contiguous, where that is not as they stand.
fn common_order<const N: usize>(shape: &[usize], inputs: [&Tensor; N]) -> Option<Shape> {
    memory_order(shape, &result_strides(shape, &inputs)?)
}

/// [`map`] with a result that is contiguous in another `order` of dimensions.
fn in_order<C: Lane, D: KernelResult, const N: usize>(
    op: &'static str,
    shape: &[usize],
    dtype: DType,
    inputs: [&Tensor; N],
    order: &[usize],
    kernel: Kernel<'_, C, D, N>,
) -> Result<Tensor> {
    let turned = |t: &Tensor| match t.numel() {
        1 => t.detach().view(()),
        _ if t.shape() == shape => t.detach().permute(order),
        _ => t.detach().expand(shape)?.permute(order),
    };
    let mut views: SmallVec<[Tensor; 3]> = SmallVec::new();
    for t in inputs {
        views.push(turned(t)?);
    }
    let sizes: Shape = order.iter().map(|&d| shape[d]).collect();
    let out = map::<C, D, N>(
        op,
        &sizes,
        dtype,
        std::array::from_fn(|i| &views[i]),
        kernel,
    )?;
    let mut strides = Strides::from_elem(0, shape.len());
    for (&d, &stride) in order.iter().zip(out.strides()) {
        strides[d] = stride;
    }
    let (storage, shape) = (out.0.storage.clone(), Shape::from_slice(shape));
    Ok(Tensor::make(storage, shape, strides, 0, dtype, None))
}

/// [`map`] into the memory of `target`, which may be among the inputs and is of type `dtype`. False,
/// with nothing done, where that cannot be: another operand shares the memory, or a thread is
/// using it.
pub(crate) fn map_in_place<C: Lane, D: KernelResult, const N: usize>(
    op: &'static str,
    target: &Tensor,
    inputs: [&Tensor; N],
    kernel: Kernel<'_, C, D, N>,
) -> Result<bool> {
    let (shape, dtype) = (target.shape(), target.dtype());
    let itself = inputs.map(|t| {
        t.shares_storage(target)
            && (t.shape(), t.strides(), t.0.offset) == (shape, target.strides(), target.0.offset)
    });
    let clash = (inputs.iter().zip(itself)).any(|(t, same)| !same && t.shares_storage(target));
    if clash || !target.is_contiguous() {
        return Ok(false);
    }
    let copies = rows_first(op, shape, inputs)?;
    let sources = std::array::from_fn(|i| {
        let t = copies[i].as_ref().unwrap_or(inputs[i]);
        (!itself[i]).then(|| Source::new(t, shape))
    });
    // Never waited for: the operands are locked already.
    let Some(mut guard) = target.0.storage.try_write(target.0.offset) else {
        return Ok(false);
    };
    let n = target.numel();
    if D::stores(dtype) {
        write(&sources, &mut guard.slice::<D>()[..n], kernel);
    } else {
        write_as(
            &sources,
            guard.bytes(n, dtype),
            dtype,
            D::narrowing(op, dtype)?,
            kernel,
        );
    }
    Ok(true)
}

/// Runs `f` over the rows of `target`, in any order and on several threads, long ones in pieces.
/// False, with nothing done, where elements do not lie in rows, or a thread is using the memory.
pub(crate) fn in_place_rows<S: Stored>(target: &Tensor, f: impl Fn(&mut [S]) + Sync) -> bool {
    let Some(rows) = rows_of(target) else {
        return false;
    };
    // Never waited for: operands are locked already.
    let Some(mut guard) = target.0.storage.try_write(target.0.offset) else {
        return false;
    };
    let span = rows
        .iter()
        .map(|(n, stride)| (n - 1) * stride)
        .sum::<usize>()
        + 1;
    each_row(&mut guard.slice::<S>()[..span], &rows, &f);
    true
}

/// Size and stride of the dimensions of `target`, the innermost of which is a row; nothing where
/// elements do not lie in rows that are worth a call each.
fn rows_of(target: &Tensor) -> Option<SmallVec<[(usize, usize); 6]>> {
    if target.is_empty() {
        return None;
    }
    let mut dims: SmallVec<[(usize, usize); 6]> = (target.shape().iter().copied())
        .zip(target.strides().iter().copied())
        .filter(|d| d.0 != 1)
        .collect();
    dims.sort_unstable_by_key(|d| std::cmp::Reverse(d.1));
    let mut rows: SmallVec<[(usize, usize); 6]> = SmallVec::new();
    for (size, stride) in dims {
        match rows.last_mut() {
            Some(outer) if outer.1 == size * stride => *outer = (outer.0 * size, stride),
            _ => rows.push((size, stride)),
        }
    }
    if rows.is_empty() {
        rows.push((1, 1));
    }
    let &(row, 1) = rows.last()? else {
        return None;
    };
    let apart = |w: &[(usize, usize)]| w[0].1 >= w[1].0 * w[1].1;
    let worth = rows.len() == 1 || row >= ROW / 4;
    (worth && rows.windows(2).all(apart)).then_some(rows)
}

/// Calls `f` for the rows of `out` that lie as [`rows_of`] says.
fn each_row<S: Stored>(out: &mut [S], rows: &[(usize, usize)], f: &(dyn Fn(&mut [S]) + Sync)) {
    fn walk<S>(out: &mut [S], dims: &[(usize, usize)], f: &(dyn Fn(&mut [S]) + Sync)) {
        match dims {
            [(size, _)] => f(&mut out[..*size]),
            [(size, stride), inner @ ..] => {
                (out.chunks_mut(*stride).take(*size)).for_each(|part| walk(part, inner, f));
            }
            [] => {}
        }
    }
    match rows {
        [(_, stride), inner @ ..] if !inner.is_empty() => {
            let each = inner.iter().map(|d| d.0).product::<usize>();
            let some = (GRAIN / each).max(1);
            parallel_chunks_mut(out, stride * some, |_, part| {
                (part.chunks_mut(*stride)).for_each(|part| walk(part, inner, f));
            });
        }
        _ => parallel_chunks_mut(out, GRAIN, |_, part| f(part)),
    }
}

/// Copies of the operands whose rows lie across memory, as a transpose's do: reading those element
/// by element would touch a cache line for each.
fn rows_first<const N: usize>(
    op: &'static str,
    shape: &[usize],
    inputs: [&Tensor; N],
) -> Result<[Option<Tensor>; N]> {
    let mut out = [const { None }; N];
    for (out, t) in out.iter_mut().zip(inputs) {
        if t.shape() == shape && !t.is_contiguous() && t.numel() > CHUNK {
            let (_, stride) = Source::new(t, shape).last();
            if stride >= 8 {
                *out = Some(to_contiguous(op, t, t.dtype())?);
            }
        }
    }
    Ok(out)
}

/// Where the results of a kernel go, piece by piece.
trait Sink<C, const N: usize> {
    /// The elements number `at` that stand there before the kernel writes them.
    fn load(&self, at: Range<usize>, into: &mut [C]);
    /// The kernel's results for the operands of elements `at`.
    fn write(&mut self, operands: [&[C]; N], at: Range<usize>);
}

/// Memory of the kernel's own results.
struct Plain<'a, C, D, const N: usize> {
    out: &'a mut [D],
    kernel: Kernel<'a, C, D, N>,
}

impl<C: Lane, D: Stored, const N: usize> Sink<C, N> for Plain<'_, C, D, N> {
    fn load(&self, at: Range<usize>, into: &mut [C]) {
        C::load_slice(&self.out[at], into);
    }
    fn write(&mut self, operands: [&[C]; N], at: Range<usize>) {
        (self.kernel)(operands, &mut self.out[at]);
    }
}

/// Memory of another type.
struct Converted<'a, C, D, const N: usize> {
    out: &'a mut [u8],
    dtype: DType,
    narrow: Narrowing<D>,
    results: [D; CHUNK],
    kernel: Kernel<'a, C, D, N>,
}

impl<C: Lane, D: KernelResult, const N: usize> Sink<C, N> for Converted<'_, C, D, N> {
    fn load(&self, at: Range<usize>, into: &mut [C]) {
        with_stored!(self.dtype, S => C::load_slice(&cast::<S>(self.out)[at], into));
    }
    fn write(&mut self, operands: [&[C]; N], at: Range<usize>) {
        let (results, size) = (&mut self.results[..at.len()], self.dtype.size());
        (self.kernel)(operands, results);
        let out = &mut self.out[at.start * size..at.end * size];
        (self.narrow)(results, out);
    }
}

/// Memory for the operand itself, as another type.
struct Narrowed<'a, C> {
    out: &'a mut [u8],
    size: usize,
    narrow: Narrowing<C>,
}

impl<C: Lane> Sink<C, 1> for Narrowed<'_, C> {
    fn load(&self, _: Range<usize>, _: &mut [C]) {
        unreachable!("an operand of a conversion has a source");
    }
    fn write(&mut self, [x]: [&[C]; 1], at: Range<usize>) {
        (self.narrow)(x, &mut self.out[at.start * self.size..at.end * self.size]);
    }
}

/// Runs `kernel` over all of `out`, on several threads. An operand without a source is what `out`
/// holds.
fn write<C: Lane, D: Stored, const N: usize>(
    sources: &[Option<Source>; N],
    out: &mut [D],
    kernel: Kernel<'_, C, D, N>,
) {
    parallel_chunks_mut(out, GRAIN, |i, out| {
        let len = out.len();
        let mut sink = Plain { out, kernel };
        blocks(sources, i * GRAIN, len, usize::MAX, &mut sink);
    });
}

/// The same, storing the results as `dtype` in its memory.
fn write_as<C: Lane, D: KernelResult, const N: usize>(
    sources: &[Option<Source>; N],
    out: &mut [u8],
    dtype: DType,
    narrow: Narrowing<D>,
    kernel: Kernel<'_, C, D, N>,
) {
    parallel_chunks_mut(out, GRAIN * dtype.size(), |i, out| {
        let len = out.len() / dtype.size();
        let mut sink = Converted {
            out,
            dtype,
            narrow,
            results: [D::default(); CHUNK],
            kernel,
        };
        blocks(sources, i * GRAIN, len, CHUNK, &mut sink);
    });
}

/// Has `sink` write `len` elements, whose first is number `start` of the operands, at most `limit` at
/// a time. Operands that lie as the kernel wants them are passed as they are, others gathered in
/// pieces of [`CHUNK`].
fn blocks<C: Lane, const N: usize>(
    sources: &[Option<Source>; N],
    start: usize,
    len: usize,
    limit: usize,
    sink: &mut dyn Sink<C, N>,
) {
    let direct: [Option<&[C]>; N] =
        std::array::from_fn(|i| sources[i].as_ref().and_then(Source::direct::<C>));
    if direct.iter().any(Option::is_none) {
        return gathered(sources, start, len, sink);
    }
    let mut at = 0;
    while at < len {
        let end = len.min(at.saturating_add(limit));
        let operands = direct.map(|d| &d.unwrap_or_default()[start + at..start + end]);
        sink.write(operands, at..end);
        at = end;
    }
}

/// Rows this long are worth a call of the kernel each; shorter ones are gathered several at a time.
const ROW: usize = 64;

fn gathered<C: Lane, const N: usize>(
    sources: &[Option<Source>; N],
    start: usize,
    len: usize,
    sink: &mut dyn Sink<C, N>,
) {
    // The longest run along which each operand is a row, or the same element again and again.
    let row = (sources.iter().flatten().map(|s| s.last().0).min()).unwrap_or(usize::MAX);
    // A few elements need no memory of their own.
    let mut buffers: [SmallVec<[C; 64]>; N] =
        std::array::from_fn(|_| SmallVec::from_elem(C::default(), len.min(CHUNK)));
    let mut at = 0;
    while at < len {
        let from = start + at;
        let mut n = CHUNK.min(len - at);
        if row >= ROW {
            n = n.min(row - from % row);
        }
        let mut pieces: [Option<&[C]>; N] = [None; N];
        for i in 0..N {
            let buffer = &mut buffers[i][..n];
            match &sources[i] {
                None => sink.load(at..at + n, buffer),
                Some(source) => {
                    pieces[i] = source.piece(from, n);
                    // An operand that is one element throughout is gathered once.
                    let constant = source.dims.len() == 1 && source.dims[0].1 == 0;
                    if pieces[i].is_none() && !(constant && at > 0) {
                        source.gather(from, buffer);
                    }
                }
            }
        }
        let operands = std::array::from_fn(|i| pieces[i].unwrap_or(&buffers[i][..n]));
        sink.write(operands, at..at + n);
        at += n;
    }
}

/// One element as a Rust number.
pub(crate) fn cast_one<S: Stored, T: Element>(v: S) -> T {
    let converted = match T::DTYPE {
        DType::Bool => T::Stored::from_i32(v.to_bool() as i32),
        d if d.is_integer() => T::Stored::from_i64(v.to_i64()),
        _ => T::Stored::from_f64(v.to_f64()),
    };
    T::restore(converted)
}

/// Runs `$body` with `$t` standing for a type that storage holds, of the size of `$dtype`'s: what
/// only moves elements is compiled for each size once.
macro_rules! with_size {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype.size() {
            1 => {
                type $t = u8;
                $body
            }
            2 => {
                type $t = i16;
                $body
            }
            4 => {
                type $t = i32;
                $body
            }
            _ => {
                type $t = i64;
                $body
            }
        }
    };
}
pub(crate) use with_size;

/// The dimensions of a copy between strides.
pub(crate) fn axes(shape: &[usize], from: &[usize], to: &[usize]) -> SmallVec<[Axis; 6]> {
    let strides = from.iter().zip(to);
    (shape.iter().zip(strides))
        .map(|(&size, (&from, &to))| Axis { size, from, to })
        .collect()
}

/// The elements of `x`, converted, as a new contiguous tensor without history.
pub(crate) fn to_contiguous(op: &'static str, x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.on_cuda() {
        return cuda::convert(op, x, dtype);
    }
    // Truth values are 0 and 1 already.
    let same = dtype == x.dtype() || (x.dtype() == DType::Bool && dtype.size() == 1);
    if same && x.is_contiguous() {
        let read = x.read();
        return with_size!(dtype, S => Tensor::build::<S>(op, x.shape(), dtype, |out| {
            let x = read.slice::<S>();
            parallel_chunks_mut(out, GRAIN, |i, out| out.copy_from_slice(&x[i * GRAIN..][..out.len()]));
        }));
    }
    if same {
        let axes = axes(x.shape(), x.strides(), &contiguous_strides(x.shape()));
        let read = x.read();
        return with_size!(dtype, S => Tensor::build::<S>(op, x.shape(), dtype, |out| {
            copy_strided(read.slice::<S>(), out, &axes)
        }));
    }
    fn convert<C: Lane + KernelResult>(
        op: &'static str,
        x: &Tensor,
        dtype: DType,
    ) -> Result<Tensor> {
        let copy = rows_first(op, x.shape(), [x])?;
        let source = Source::new(copy[0].as_ref().unwrap_or(x), x.shape());
        if C::stores(dtype) {
            return Tensor::build::<C>(op, x.shape(), dtype, |out| {
                parallel_chunks_mut(out, GRAIN, |i, out| source.gather(i * GRAIN, out));
            });
        }
        let (sources, narrow) = ([Some(source)], C::narrowing(op, dtype)?);
        Tensor::build::<u8>(op, x.shape(), dtype, |out| {
            let size = dtype.size();
            parallel_chunks_mut(out, GRAIN * size, |i, out| {
                let len = out.len() / size;
                let mut sink = Narrowed { out, size, narrow };
                blocks::<C, 1>(&sources, i * GRAIN, len, usize::MAX, &mut sink);
            });
        })
    }
    fn truth<C: Lane>(op: &'static str, x: &Tensor) -> Result<Tensor> {
        map::<C, u8, 1>(op, x.shape(), DType::Bool, [x], &|[x], out| {
            convert_slice(x, out, |v| u8::from(v.to_bool()));
        })
    }
    if dtype == DType::Bool && x.dtype().size() == 1 && x.is_contiguous() {
        let read = x.read();
        return with_stored!(x.dtype(), S => Tensor::build::<u8>(op, x.shape(), dtype, |out| {
            let x = read.slice::<S>();
            parallel_chunks_mut(out, GRAIN, |i, out| {
                convert_slice(&x[i * GRAIN..][..out.len()], out, |v| v.to_bool() as u8);
            });
        }));
    }
    // Truth is decided in the source's lane, other values are converted to the result's.
    match (
        dtype,
        lane_of(if dtype == DType::Bool {
            x.dtype()
        } else {
            dtype
        }),
    ) {
        (DType::Bool, DType::F32) => truth::<f32>(op, x),
        (DType::Bool, DType::F64) => truth::<f64>(op, x),
        (DType::Bool, DType::I64) => truth::<i64>(op, x),
        (DType::Bool, _) => truth::<i32>(op, x),
        (_, DType::F32) => convert::<f32>(op, x, dtype),
        (_, DType::F64) => convert::<f64>(op, x, dtype),
        (_, DType::I64) => convert::<i64>(op, x, dtype),
        _ => convert::<i32>(op, x, dtype),
    }
}

/// Writes the elements of `x` into `target`, of the same shape and type but any layout.
pub(crate) fn copy_into(x: &Tensor, target: &Tensor) -> Result<()> {
    if x.on_cuda() || target.on_cuda() {
        let x = x.to_device(target.device())?;
        if target.on_cuda() {
            if !cuda::copy_into(&x, target)? {
                // A copy shares no memory, and nobody else writes to it.
                let x = to_contiguous("copy_", &x, x.dtype())?;
                while !cuda::copy_into(&x, target)? {
                    std::thread::yield_now();
                }
            }
            return Ok(());
        }
        return copy_into(&x, target);
    }
    if !x.shares_storage(target) {
        let axes = axes(x.shape(), x.strides(), target.strides());
        let read = x.read();
        // Never waited for while the source is locked.
        if let Some(mut write) = target.0.storage.try_write(target.0.offset) {
            with_size!(x.dtype(), S => copy_strided(read.slice::<S>(), write.slice::<S>(), &axes));
            return Ok(());
        }
    }
    // A copy is locked by nobody else, and does not change while it is read.
    let x = to_contiguous("copy_", x, x.dtype())?;
    let axes = axes(x.shape(), x.strides(), target.strides());
    let read = x.read();
    let mut write = target.write();
    with_size!(x.dtype(), S => copy_strided(read.slice::<S>(), write.slice::<S>(), &axes));
    Ok(())
}

/// Every element of `target` as `value`, without history. False, with nothing done, where a thread
/// is using the memory or it does not lie in rows.
pub(crate) fn fill_in_place(target: &Tensor, value: Scalar) -> bool {
    if target.on_cuda() {
        return false;
    }
    with_stored!(target.dtype(), S => {
        let value = match (target.dtype(), value) {
            (DType::Bool, v) => S::from_i32((v.to_f64() != 0.0) as i32),
            (_, Scalar::Float(v)) => S::from_f64(v),
            (_, v) => S::from_i64(v.to_i64()),
        };
        in_place_rows(target, |out: &mut [S]| {
            flambeau_cpu::simd::dispatch(
                #[inline(always)]
                || out.fill(value),
            );
        })
    })
}
