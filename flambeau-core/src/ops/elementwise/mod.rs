//! Elementwise operations.
//!
//! A kernel is a loop over contiguous chunks in one of four lanes: `f32` (for f16, bf16 and f32),
//! `f64`, `i32` (for bool and the integers up to 32 bits) and `i64`. This file brings operands of
//! any layout, broadcast and type to such chunks, so a row of the tables in `unary`, `binary` and
//! `compare` is all that a new operation takes.

pub(crate) mod activation;
pub(crate) mod binary;
pub(crate) mod choose;
pub(crate) mod compare;
pub(crate) mod divide;
pub(crate) mod pairs;
pub(crate) mod power;
mod special;
pub(crate) mod unary;

use crate::autograd::is_grad_enabled;
use crate::dtype::{Element, Stored};
use crate::shape::broadcast_strides;
use crate::storage::Read;
use crate::tensor::Tensor;
use crate::{DType, Result, with_stored};
use flambeau_cpu::threads::parallel_chunks_mut;
use smallvec::SmallVec;

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 15;
/// Elements gathered at a time where an operand is not laid out as the kernel wants it.
const CHUNK: usize = 1024;

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
}

macro_rules! lane {
    ($($t:ty, $d:ident, $to:ident);*) => {$(
        impl Lane for $t {
            const DTYPE: DType = DType::$d;
            #[inline(always)]
            fn load<S: Stored>(s: S) -> $t { s.$to() }
        }
    )*};
}
lane!(f32, F32, to_f32; f64, F64, to_f64; i32, I32, to_i32; i64, I64, to_i64);

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
                Some((size, stride)) if *stride == d * s => (*size, *stride) = (*size * d, s),
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

    /// Elements `start..start + out.len()` of the row-major order.
    fn gather<C: Lane>(&self, start: usize, out: &mut [C]) {
        with_stored!(self.dtype, S => gather(self.read.slice::<S>(), &self.dims, start, out, C::load::<S>));
    }
}

#[inline(always)]
fn gather<S: Stored, C>(
    src: &[S],
    dims: &[(usize, usize)],
    start: usize,
    out: &mut [C],
    convert: impl Fn(S) -> C,
) {
    let (&(inner, stride), outer) = dims
        .split_last()
        .expect("a source has at least one dimension");
    let (mut row, mut column) = (start / inner, start % inner);
    let mut done = 0;
    while done < out.len() {
        let mut base = column * stride;
        let mut rest = row;
        for &(size, stride) in outer.iter().rev() {
            base += rest % size * stride;
            rest /= size;
        }
        let len = (inner - column).min(out.len() - done);
        let piece = &mut out[done..done + len];
        match stride {
            0 => {
                let v = src[base];
                piece.iter_mut().for_each(|o| *o = convert(v));
            }
            1 => piece
                .iter_mut()
                .zip(&src[base..base + len])
                .for_each(|(o, &v)| *o = convert(v)),
            _ => piece
                .iter_mut()
                .zip(src[base..].iter().step_by(stride))
                .for_each(|(o, &v)| *o = convert(v)),
        }
        done += len;
        column = 0;
        row += 1;
    }
}

/// Runs `$body` with `$t` standing for what storage holds for a type that no kernel writes as it is.
macro_rules! with_narrow {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            DType::F16 => {
                type $t = half::f16;
                $body
            }
            DType::BF16 => {
                type $t = half::bf16;
                $body
            }
            DType::I16 => {
                type $t = i16;
                $body
            }
            DType::I8 => {
                type $t = i8;
                $body
            }
            DType::U8 | DType::Bool => {
                type $t = u8;
                $body
            }
            // A wide result of another lane; no operation asks for one.
            other => crate::bail!("elementwise", "no kernel writes {other} here"),
        }
    };
}

/// What a kernel writes: a lane, or `u8` for truth values (0 or 1).
pub(crate) trait KernelResult: Stored {
    /// Whether `dtype` is stored as this type.
    fn stores(dtype: DType) -> bool;
    /// Into another stored type.
    fn convert<S: Stored>(self) -> S;
}

macro_rules! result {
    ($($t:ty, [$($d:ident)|*], $from:ident($as:ty));*) => {$(
        impl KernelResult for $t {
            fn stores(dtype: DType) -> bool { matches!(dtype, $(DType::$d)|*) }
            #[inline(always)]
            fn convert<S: Stored>(self) -> S { S::$from(self as $as) }
        }
    )*};
}
result!(f32, [F32], from_f32(f32); f64, [F64], from_f64(f64); i32, [I32], from_i32(i32); i64, [I64], from_i64(i64);
    u8, [U8 | Bool], from_i32(i32));

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
    let sources = inputs.map(|t| Source::new(t, shape));
    if D::stores(dtype) {
        return Tensor::build::<D>(op, shape, dtype, |out| {
            parallel_chunks_mut(out, GRAIN, |i, out| {
                let len = out.len();
                blocks(&sources, i * GRAIN, len, usize::MAX, &mut |at, chunks| {
                    kernel(chunks, &mut out[at..at + chunks[0].len()])
                });
            });
        });
    }
    let boolean = dtype == DType::Bool;
    with_narrow!(dtype, S => Tensor::build::<S>(op, shape, dtype, |out| {
        parallel_chunks_mut(out, GRAIN, |i, out| {
            let len = out.len();
            blocks(&sources, i * GRAIN, len, CHUNK, &mut |at, chunks| {
                let mut results = [D::default(); CHUNK];
                let results = &mut results[..chunks[0].len()];
                kernel(chunks, results);
                for (o, &mut r) in out[at..].iter_mut().zip(results) {
                    *o = if boolean { S::from_i32(r.to_bool() as i32) } else { r.convert() };
                }
            });
        });
    }))
}

/// Calls `sink(at, operands)` for consecutive pieces of the `len` elements from `start` on, at
/// most `limit` elements each; `at` counts from `start`. Operands that lie as the kernel wants
/// them are passed as they are, others gathered in pieces of [`CHUNK`].
fn blocks<C: Lane, const N: usize>(
    sources: &[Source; N],
    start: usize,
    len: usize,
    limit: usize,
    sink: &mut dyn FnMut(usize, [&[C]; N]),
) {
    let direct: [Option<&[C]>; N] = std::array::from_fn(|i| sources[i].direct::<C>());
    if direct.iter().all(Option::is_some) {
        let mut at = 0;
        while at < len {
            let (from, piece) = (start + at, limit.min(len - at));
            sink(
                at,
                direct.map(|d| &d.unwrap_or_default()[from..from + piece]),
            );
            at += piece;
        }
    } else if len <= 64 {
        gathered::<C, N, 64>(sources, &direct, start, len, sink);
    } else {
        gathered::<C, N, CHUNK>(sources, &direct, start, len, sink);
    }
}

fn gathered<C: Lane, const N: usize, const B: usize>(
    sources: &[Source; N],
    direct: &[Option<&[C]>; N],
    start: usize,
    len: usize,
    sink: &mut dyn FnMut(usize, [&[C]; N]),
) {
    let mut buffers = [[C::default(); B]; N];
    let mut at = 0;
    while at < len {
        let (from, piece) = (start + at, B.min(len - at));
        for i in 0..N {
            // An operand that is one element throughout is gathered once.
            let constant = sources[i].dims.len() == 1 && sources[i].dims[0].1 == 0;
            if direct[i].is_none() && !(constant && at > 0) {
                sources[i].gather(from, &mut buffers[i][..piece]);
            }
        }
        let chunks = std::array::from_fn(|i| match direct[i] {
            Some(d) => &d[from..from + piece],
            None => &buffers[i][..piece],
        });
        sink(at, chunks);
        at += piece;
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

/// The elements of `x`, converted, as a new contiguous tensor without history.
pub(crate) fn to_contiguous(op: &'static str, x: &Tensor, dtype: DType) -> Result<Tensor> {
    if dtype == x.dtype() {
        let source = Source::new(x, x.shape());
        return with_stored!(dtype, S => Tensor::build::<S>(op, x.shape(), dtype, |out| {
            let src = source.read.slice::<S>();
            parallel_chunks_mut(out, GRAIN, |i, out| gather(src, &source.dims, i * GRAIN, out, |v| v));
        }));
    }
    fn convert<C: Lane + KernelResult>(
        op: &'static str,
        x: &Tensor,
        dtype: DType,
    ) -> Result<Tensor> {
        map::<C, C, 1>(op, x.shape(), dtype, [x], &|[x], out| {
            out.copy_from_slice(x)
        })
    }
    fn truth<C: Lane>(op: &'static str, x: &Tensor) -> Result<Tensor> {
        map::<C, u8, 1>(op, x.shape(), DType::Bool, [x], &|[x], out| {
            out.iter_mut()
                .zip(x)
                .for_each(|(o, v)| *o = u8::from(v.to_bool()));
        })
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
    // Contiguous first: it frees the read lock and whatever memory both share.
    let x = to_contiguous("copy_", x, x.dtype())?;
    let dims: SmallVec<[(usize, usize); 6]> = target
        .shape()
        .iter()
        .copied()
        .zip(target.strides().iter().copied())
        .collect();
    with_stored!(x.dtype(), S => {
        let read = x.read();
        let src = &read.slice::<S>()[..x.numel()];
        let mut write = target.write();
        scatter(src, &dims, write.slice::<S>());
    });
    Ok(())
}

/// Distributes contiguous elements over strided places.
fn scatter<S: Copy>(src: &[S], dims: &[(usize, usize)], out: &mut [S]) {
    let Some((&(inner, stride), outer)) = dims.split_last() else {
        if let Some(&v) = src.first() {
            out[0] = v;
        }
        return;
    };
    if src.is_empty() {
        return;
    }
    for (row, src) in src.chunks_exact(inner).enumerate() {
        let (mut base, mut rest) = (0, row);
        for &(size, stride) in outer.iter().rev() {
            base += rest % size * stride;
            rest /= size;
        }
        if stride == 1 {
            out[base..base + inner].copy_from_slice(src);
        } else {
            out[base..]
                .iter_mut()
                .step_by(stride.max(1))
                .zip(src)
                .for_each(|(o, &v)| *o = v);
        }
    }
}
