//! From a kernel, which takes chunks, to a tensor of its results.

use super::source::{Source, rows_first};
use super::{CHUNK, GRAIN, Lane, ROW, UNIT, convert_slice};
use crate::dtype::Stored;
use crate::format::result_strides;
use crate::ops::format::turned_back;
use crate::shape::{Shape, memory_order};
use crate::tensor::Tensor;
use crate::{DType, Result, with_stored};
use flambeau_cpu::alloc::{cast, cast_mut};
use flambeau_cpu::threads::parallel_slices_mut;
use smallvec::SmallVec;
use std::ops::Range;

/// What a kernel writes: a lane, or `u8` for truth values (0 or 1).
pub(crate) trait KernelResult: Stored {
    /// Whether `dtype` is stored as this type.
    fn stores(dtype: DType) -> bool;
    /// What stores such results as a narrower type.
    fn narrowing(op: &'static str, dtype: DType) -> Result<Narrowing<Self>>;
}

/// Writes each element of a slice, converted, to the memory of as many.
pub(super) type Narrowing<D> = fn(&[D], &mut [u8]);

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
    Ok(turned_back(&out, order))
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

/// Where the results of a kernel go, piece by piece.
pub(super) trait Sink<C, const N: usize> {
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
pub(super) struct Narrowed<'a, C> {
    pub out: &'a mut [u8],
    pub size: usize,
    pub narrow: Narrowing<C>,
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
    parallel_slices_mut(out, UNIT, GRAIN, |start, out| {
        let len = out.len();
        let mut sink = Plain { out, kernel };
        blocks(sources, start, len, usize::MAX, &mut sink);
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
    let size = dtype.size();
    parallel_slices_mut(out, UNIT * size, GRAIN * size, |start, out| {
        let len = out.len() / size;
        let mut sink = Converted {
            out,
            dtype,
            narrow,
            results: [D::default(); CHUNK],
            kernel,
        };
        blocks(sources, start / size, len, CHUNK, &mut sink);
    });
}

/// Has `sink` write `len` elements, whose first is number `start` of the operands, at most `limit` at
/// a time. Operands that lie as the kernel wants them are passed as they are, others gathered in
/// pieces of [`CHUNK`].
pub(super) fn blocks<C: Lane, const N: usize>(
    sources: &[Option<Source>; N],
    start: usize,
    len: usize,
    limit: usize,
    sink: &mut dyn Sink<C, N>,
) {
    let direct: [Option<&[C]>; N] =
        std::array::from_fn(|i| sources[i].as_ref().and_then(Source::direct::<C>));
    if direct.iter().any(Option::is_none) {
        return gathered(sources, start, len, limit, sink);
    }
    let mut at = 0;
    while at < len {
        let end = len.min(at.saturating_add(limit));
        let operands = direct.map(|d| &d.unwrap_or_default()[start + at..start + end]);
        sink.write(operands, at..end);
        at = end;
    }
}

fn gathered<C: Lane, const N: usize>(
    sources: &[Option<Source>; N],
    start: usize,
    len: usize,
    limit: usize,
    sink: &mut dyn Sink<C, N>,
) {
    let mut cursors = sources.each_ref().map(|s| s.as_ref().map(|s| s.at(start)));
    // The longest run along which each operand is a row, or the same element again and again.
    let row = (sources.iter().flatten().map(|s| s.last().0).min()).unwrap_or(usize::MAX);
    let as_they_stand = |s: &Option<Source>| s.as_ref().is_some_and(Source::in_runs::<C>);
    let most = match row >= ROW && sources.iter().all(as_they_stand) {
        true => limit,
        false => CHUNK,
    };
    // A few elements need no memory of their own.
    let mut buffers: [SmallVec<[C; 64]>; N] =
        std::array::from_fn(|_| SmallVec::from_elem(C::default(), len.min(CHUNK)));
    let mut at = 0;
    while at < len {
        let mut n = most.min(len - at);
        if row >= ROW {
            n = cursors.iter().flatten().fold(n, |n, c| n.min(c.left()));
        }
        let mut pieces: [Option<&[C]>; N] = [None; N];
        for i in 0..N {
            match (&mut cursors[i], &sources[i]) {
                (Some(cursor), Some(source)) => {
                    pieces[i] = cursor.piece(n);
                    // An operand that is one element throughout is gathered once.
                    if pieces[i].is_none() && (at == 0 || !source.is_one()) {
                        cursor.gather(&mut buffers[i][..n]);
                    }
                }
                _ => sink.load(at..at + n, &mut buffers[i][..n]),
            }
        }
        let operands = std::array::from_fn(|i| pieces[i].unwrap_or_else(|| &buffers[i][..n]));
        sink.write(operands, at..at + n);
        at += n;
    }
}
