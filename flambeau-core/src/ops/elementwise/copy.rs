//! Copies: to other types, and between layouts.

use super::map::{KernelResult, Narrowed, blocks, map};
use super::source::{Source, rows_first};
use super::{GRAIN, Lane, UNIT, convert_slice, lane_of};
use crate::dtype::Stored;
use crate::shape::contiguous_strides;
use crate::tensor::Tensor;
use crate::{DType, Result, cuda, with_stored};
use flambeau_cpu::copy::{Axis, copy_strided};
use flambeau_cpu::threads::parallel_slices_mut;
use smallvec::SmallVec;

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
            parallel_slices_mut(out, UNIT, GRAIN, |start, out| {
                out.copy_from_slice(&x[start..][..out.len()])
            });
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
                parallel_slices_mut(out, UNIT, GRAIN, |start, out| source.at(start).gather(out));
            });
        }
        let (sources, narrow) = ([Some(source)], C::narrowing(op, dtype)?);
        Tensor::build::<u8>(op, x.shape(), dtype, |out| {
            let size = dtype.size();
            parallel_slices_mut(out, UNIT * size, GRAIN * size, |start, out| {
                let len = out.len() / size;
                let mut sink = Narrowed { out, size, narrow };
                blocks::<C, 1>(&sources, start / size, len, usize::MAX, &mut sink);
            });
        })
    }
    fn truth<C: Lane>(op: &'static str, x: &Tensor) -> Result<Tensor> {
        map::<C, u8, 1>(op, x.shape(), DType::Bool, [x], &|[x], out| {
            convert_slice(x, out, |v| u8::from(v.to_bool()));
        })
    }
    if dtype == DType::Bool && x.dtype().size() <= 2 && x.is_contiguous() {
        let read = x.read();
        return with_stored!(x.dtype(), S => Tensor::build::<u8>(op, x.shape(), dtype, |out| {
            let x = read.slice::<S>();
            parallel_slices_mut(out, UNIT, GRAIN, |start, out| {
                convert_slice(&x[start..][..out.len()], out, |v| v.to_bool() as u8);
            });
        }));
    }
    // No lane is as narrow as these: what lies together takes no way through one.
    if dtype.is_integer() && dtype.size() <= 2 && x.is_contiguous() {
        let read = x.read();
        macro_rules! whole {
            ($d:ty, $to:ident) => {
                with_stored!(x.dtype(), S => Tensor::build::<$d>(op, x.shape(), dtype, |out| {
                    let x = read.slice::<S>();
                    parallel_slices_mut(out, UNIT, GRAIN, |start, out| {
                        S::$to(&x[start..][..out.len()], out)
                    });
                }))
            };
        }
        return match dtype.size() {
            1 => whole!(i8, whole8),
            _ => whole!(i16, whole16),
        };
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
