//! One pass over the memory of several tensors: what optimizers update parameters with.
//!
//! An update is written as a formula for one element ([`Update`]); [`update`] runs it over all of
//! them, vectorised for the CPU at hand, in several threads where there is much to do, without
//! recording and without temporary memory. Chunks depend on the size alone, and elements on
//! nothing but themselves, so the bits do not depend on the threads.

use crate::dtype::Stored;
use crate::ops::elementwise::{copy_into, to_contiguous};
use crate::storage::{Read, Write};
use crate::tensor::Tensor;
use crate::{DType, Result, bail};
use flambeau_cpu::simd::{Task, dispatch};
use flambeau_cpu::threads::parallel_chunks_mut;
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::panic::Location;

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 14;

/// A type that updates compute in: `f32` or `f64`.
pub trait Real:
    Stored
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// A number of the program in this type.
    fn of(v: f64) -> Self;
    /// `self * a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// Without its sign.
    fn abs(self) -> Self;
    /// Whether it is no number.
    fn is_nan(self) -> bool;
    /// The larger one; NaN where one of them is.
    #[inline(always)]
    fn maximum(self, other: Self) -> Self {
        if self > other || self.is_nan() {
            self
        } else {
            other
        }
    }
}

macro_rules! real {
    ($($t:ident),*) => {$(
        impl Real for $t {
            #[inline(always)]
            fn of(v: f64) -> $t { v as $t }
            #[inline(always)]
            fn mul_add(self, a: $t, b: $t) -> $t { $t::mul_add(self, a, b) }
            #[inline(always)]
            fn sqrt(self) -> $t { $t::sqrt(self) }
            #[inline(always)]
            fn abs(self) -> $t { $t::abs(self) }
            #[inline(always)]
            fn is_nan(self) -> bool { $t::is_nan(self) }
        }
    )*};
}
real!(f32, f64);

/// A formula that changes one element of each of `W` tensors by those of `R` others.
pub trait Update<const W: usize, const R: usize>: Sync {
    /// Changes the elements `write`. Mark it `#[inline(always)]`.
    fn element<T: Real>(&self, write: [T; W], read: [T; R]) -> [T; W];
}

/// Runs `formula` in place over all elements of `write`. All tensors have one shape and one
/// floating-point type; f16 and bf16 are computed in f32. Counts as an in-place operation named
/// `op`, outside of every graph.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_core::fused::{Real, Update, update};
/// /// p - lr * g
/// struct Descend(f64);
/// impl Update<1, 1> for Descend {
///     #[inline(always)]
///     fn element<T: Real>(&self, [p]: [T; 1], [g]: [T; 1]) -> [T; 1] {
///         [p - T::of(self.0) * g]
///     }
/// }
/// let p = Tensor::new([1.0f32, 2.0])?;
/// update("descend", [&p], [&Tensor::new([10.0f32, 20.0])?], &Descend(0.1))?;
/// assert_eq!(p.to_vec::<f32>()?, [0.0, 0.0]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where shapes or types differ or are not floating point, two of the written tensors share
/// memory, or one cannot be written in place.
#[track_caller]
pub fn update<const W: usize, const R: usize>(
    op: &'static str,
    write: [&Tensor; W],
    read: [&Tensor; R],
    formula: &impl Update<W, R>,
) -> Result<()> {
    let location = Location::caller();
    let Some(&first) = write.first() else {
        return Ok(());
    };
    let dtype = first.dtype();
    if !dtype.is_floating_point() {
        bail!(
            op,
            "a {dtype} tensor cannot be updated; it must be of a floating-point type"
        );
    }
    for t in write.iter().chain(&read) {
        if t.shape() != first.shape() || t.dtype() != dtype {
            bail!(
                op,
                "all tensors must be alike: got {:?} {} beside {:?} {dtype}",
                t.shape(),
                t.dtype(),
                first.shape()
            );
        }
    }
    for (i, t) in write.iter().enumerate() {
        t.check_inplace(op)?;
        if write[..i].iter().any(|other| other.shares_storage(t)) {
            bail!(op, "two of the tensors to be updated share memory");
        }
    }
    let direct = matches!(dtype, DType::F32 | DType::F64)
        && write.iter().chain(&read).all(|t| t.is_contiguous())
        && !read
            .iter()
            .any(|r| write.iter().any(|w| w.shares_storage(r)));
    if direct {
        run(dtype, write, read, formula);
    } else {
        let lane = if dtype == DType::F64 {
            dtype
        } else {
            DType::F32
        };
        let copies = |t: &Tensor| to_contiguous(op, t, lane);
        let staged = write.map(copies);
        let sources = read.map(copies);
        let (mut w, mut r) = (write.map(Tensor::clone), read.map(Tensor::clone));
        for (to, from) in w.iter_mut().zip(staged).chain(r.iter_mut().zip(sources)) {
            *to = from?;
        }
        run(lane, w.each_ref(), r.each_ref(), formula);
        for (result, target) in w.iter().zip(write) {
            copy_into(&to_contiguous(op, result, dtype)?, target)?;
        }
    }
    for t in write {
        t.0.storage.bump_version();
        crate::autograd::note_writer(&t.0.storage, op, location);
    }
    Ok(())
}

fn run<const W: usize, const R: usize>(
    lane: DType,
    write: [&Tensor; W],
    read: [&Tensor; R],
    formula: &impl Update<W, R>,
) {
    let n = write.first().map_or(0, |t| t.numel());
    let (mut w, r) = lock(write, read);
    if lane == DType::F64 {
        pass::<f64, W, R>(n, &mut w, &r, formula);
    } else {
        pass::<f32, W, R>(n, &mut w, &r, formula);
    }
}

/// Waits for one lock and only tries the others, giving all back where one is taken: so it never
/// waits while it holds one, which is storage's rule.
fn lock<'a, const W: usize, const R: usize>(
    write: [&'a Tensor; W],
    read: [&'a Tensor; R],
) -> ([Write<'a>; W], [Read<'a>; R]) {
    loop {
        let mut first = true;
        let w = write.map(|t| {
            if std::mem::take(&mut first) {
                Some(t.write())
            } else {
                t.try_write()
            }
        });
        let r = read.map(|t| t.try_read());
        if w.iter().all(Option::is_some) && r.iter().all(Option::is_some) {
            let all = "every lock was just seen to be held";
            return (w.map(|g| g.expect(all)), r.map(|g| g.expect(all)));
        }
        drop((w, r));
        std::thread::yield_now();
    }
}

fn pass<T: Real, const W: usize, const R: usize>(
    n: usize,
    write: &mut [Write<'_>; W],
    read: &[Read<'_>; R],
    formula: &impl Update<W, R>,
) {
    let read: [&[T]; R] = read.each_ref().map(|r| &r.slice::<T>()[..n]);
    let write: [&mut [T]; W] = write.each_mut().map(|w| &mut w.slice::<T>()[..n]);
    if n <= GRAIN {
        return dispatch(Chunk {
            write,
            read,
            formula,
        });
    }
    let mut rest = write.map(|w| w.chunks_mut(GRAIN));
    let mut chunks: Vec<[&mut [T]; W]> = (0..n.div_ceil(GRAIN))
        .map(|_| rest.each_mut().map(|w| w.next().unwrap_or_default()))
        .collect();
    parallel_chunks_mut(&mut chunks, 1, |i, chunk| {
        for write in chunk {
            let len = write.first().map_or(0, |w| w.len());
            let read = read.map(|r| &r[i * GRAIN..i * GRAIN + len]);
            let write = write.each_mut().map(|w| &mut **w);
            dispatch(Chunk {
                write,
                read,
                formula,
            });
        }
    });
}

struct Chunk<'a, T, F, const W: usize, const R: usize> {
    write: [&'a mut [T]; W],
    read: [&'a [T]; R],
    formula: &'a F,
}

/// Elements brought into registers at a time: results are stored only after all are loaded, so
/// that the compiler need not prove that the slices do not overlap.
const BLOCK: usize = 32;

impl<T: Real, F: Update<W, R>, const W: usize, const R: usize> Task for Chunk<'_, T, F, W, R> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let Chunk {
            write,
            read,
            formula,
        } = self;
        let n = write.first().map_or(0, |w| w.len());
        let mut at = 0;
        while at + BLOCK <= n {
            let mut w = [[T::default(); BLOCK]; W];
            let mut r = [[T::default(); BLOCK]; R];
            for k in 0..W {
                w[k].copy_from_slice(&write[k][at..at + BLOCK]);
            }
            for k in 0..R {
                r[k].copy_from_slice(&read[k][at..at + BLOCK]);
            }
            for i in 0..BLOCK {
                let mut old = [T::default(); W];
                let mut other = [T::default(); R];
                for k in 0..W {
                    old[k] = w[k][i];
                }
                for k in 0..R {
                    other[k] = r[k][i];
                }
                let new = formula.element(old, other);
                for k in 0..W {
                    w[k][i] = new[k];
                }
            }
            for k in 0..W {
                write[k][at..at + BLOCK].copy_from_slice(&w[k]);
            }
            at += BLOCK;
        }
        for i in at..n {
            let mut old = [T::default(); W];
            let mut other = [T::default(); R];
            for k in 0..W {
                old[k] = write[k][i];
            }
            for k in 0..R {
                other[k] = read[k][i];
            }
            let new = formula.element(old, other);
            for k in 0..W {
                write[k][i] = new[k];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    /// p - 0.5 g and m + g.
    struct Both;
    impl Update<2, 1> for Both {
        #[inline(always)]
        fn element<T: Real>(&self, [p, m]: [T; 2], [g]: [T; 1]) -> [T; 2] {
            [p - T::of(0.5) * g, m + g]
        }
    }

    #[test]
    fn every_layout_and_type_gives_the_formula() -> Result<()> {
        for n in [0, 1, 31, 32, 100, 40_000] {
            let g: Vec<f32> = (0..n).map(|i| (i % 7) as f32).collect();
            let (p, m) = (Tensor::ones([n])?, Tensor::zeros([n])?);
            update("both", [&p, &m], [&Tensor::from_slice(&g, [n])?], &Both)?;
            assert!(
                p.to_vec::<f32>()?
                    .iter()
                    .zip(&g)
                    .all(|(p, g)| *p == 1.0 - 0.5 * g)
            );
            assert_eq!(m.to_vec::<f32>()?, g);
            assert_eq!(p.version(), 1);
        }
        // A transposed view, a gradient that is the parameter itself, and a half type.
        let base = Tensor::new([[1.0f64, 2.0, 3.0], [4.0, 5.0, 6.0]])?;
        let (p, m) = (base.t()?, Tensor::zeros_with([3, 2], DType::F64)?);
        update("both", [&p, &m], [&p], &Both)?;
        assert_eq!(base.to_vec::<f64>()?, [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]);
        assert_eq!(m.to_vec::<f64>()?, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let one = Tensor::ones_with([3], DType::BF16)?;
        update(
            "both",
            [&one, &Tensor::zeros_with([3], DType::BF16)?],
            [&one],
            &Both,
        )?;
        assert_eq!(one.to_vec::<bf16>()?, [bf16::from_f32(0.5); 3]);
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_an_error() -> Result<()> {
        let (a, b) = (Tensor::ones([2])?, Tensor::ones([3])?);
        assert!(update("both", [&a, &b], [&a], &Both).is_err());
        assert!(update("both", [&a, &a], [&a], &Both).is_err());
        let i = Tensor::ones_with([2], DType::I64)?;
        let j = i.copy()?;
        assert!(update("both", [&i, &j], [&i], &Both).is_err());
        Ok(())
    }
}
