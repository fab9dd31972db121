//! One pass over the memory of several tensors: what optimizers update parameters with.
//!
//! An update is written as a formula for one element ([`Update`]); [`update`] runs it over all of
//! them, and a [`Pass`] the updates of many tensors together: vectorised for the CPU at hand, in
//! several threads where there is much to do, without recording and without temporary memory.
//! Elements depend on nothing but themselves, so the bits do not depend on the threads.

use crate::cuda::{Traced, trace};
use crate::dtype::Stored;
use crate::format::same_places;
use crate::ops::elementwise::{copy_into, to_contiguous};
use crate::storage::{Read, Write};
use crate::tensor::Tensor;
use crate::{DType, Device, MemoryFormat, Result, bail};
use flambeau_cpu::simd::{Task, dispatch};
use flambeau_cpu::threads::parallel_chunks_mut;
use smallvec::SmallVec;
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::panic::Location;

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 14;
/// Bytes below which one thread does it all: they fit the cache of a core, and what the next
/// forward pass on this thread would have to fetch back from another core costs more than the
/// update.
const ALONE: usize = 2 << 20;

/// A type that updates compute in: `f32` or `f64`; or a symbol that writes the formula down for a CUDA
/// device. So a formula must not depend on what elements are.
pub trait Real:
    Copy
    + Default
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
    /// The larger one; NaN where one of them is.
    fn maximum(self, other: Self) -> Self;
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
            fn maximum(self, other: $t) -> $t {
                if self > other || self.is_nan() { self } else { other }
            }
        }
    )*};
}
real!(f32, f64);

/// A formula that changes one element of each of `W` tensors by those of `R` others. It holds its
/// constants by value, so that each loop can keep them in registers.
pub trait Update<const W: usize, const R: usize>: Copy + Send + Sync {
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
/// #[derive(Clone, Copy)]
/// struct Descend(f64);
/// impl Update<1, 1> for Descend {
///     #[inline(always)]
///     fn element<T: Real>(&self, [p]: [T; 1], [g]: [T; 1]) -> [T; 1] {
///         [p - T::of(self.0) * g]
///     }
/// }
/// let p = Tensor::new([1.0f32, 2.0])?;
/// update("descend", [&p], [&Tensor::new([10.0f32, 20.0])?], Descend(0.1))?;
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
    formula: impl Update<W, R>,
) -> Result<()> {
    if check(op, &write, &read)? {
        let mut pass = Pass::new();
        pass.push(op, write, read, formula, Location::caller());
        return pass.run();
    }
    crate::cuda::skip::refuse(op)?;
    let dtype = write[0].dtype();
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
    update(op, w.each_ref(), r.each_ref(), formula)?;
    for (result, target) in w.iter().zip(write) {
        copy_into(&to_contiguous(op, result, dtype)?, target)?;
        note(target, op, Location::caller());
    }
    Ok(())
}

/// Whether the tensors can be updated where they lie; an error where they cannot be at all.
#[track_caller]
fn check(op: &'static str, write: &[&Tensor], read: &[&Tensor]) -> Result<bool> {
    let Some(&first) = write.first() else {
        bail!(op, "there is no tensor to be updated");
    };
    let dtype = first.dtype();
    if !dtype.is_floating_point() {
        bail!(
            op,
            "a {dtype} tensor cannot be updated; it must be of a floating-point type"
        );
    }
    for t in write.iter().chain(read) {
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
    if write.iter().chain(read).any(|t| t.on_cuda()) {
        crate::cuda::one_device(op, &[write, read].concat())?;
    }
    Ok(
        (matches!(dtype, DType::F32 | DType::F64) || first.on_cuda())
            && first.is_contiguous_format(MemoryFormat::Preserve)
            && (write.iter().chain(read))
                .all(|t| same_places(t.shape(), t.strides(), first.strides()))
            && !read
                .iter()
                .any(|r| write.iter().any(|w| w.shares_storage(r))),
    )
}

/// Counts the write to `t`.
fn note(t: &Tensor, op: &'static str, location: &'static Location<'static>) {
    t.0.storage.bump_version();
    crate::autograd::note_writer(&t.0.storage, op, location);
}

/// Updates gathered to be run together: one loop over the memory of all, instead of one for each,
/// most of which would be too short to share out.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_core::fused::{Pass, Real, Update};
/// #[derive(Clone, Copy)]
/// struct Halve;
/// impl Update<1, 0> for Halve {
///     #[inline(always)]
///     fn element<T: Real>(&self, [p]: [T; 1], []: [T; 0]) -> [T; 1] {
///         [p * T::of(0.5)]
///     }
/// }
/// let (a, b) = (Tensor::new([1.0f32, 2.0])?, Tensor::new([8.0f64])?);
/// let mut pass = Pass::new();
/// pass.add("halve", [&a], [], Halve)?;
/// pass.add("halve", [&b], [], Halve)?;
/// pass.run()?;
/// assert_eq!((a.to_vec::<f32>()?, b.to_vec::<f64>()?), (vec![0.5, 1.0], vec![4.0]));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Default)]
pub struct Pass<'a> {
    jobs: Vec<Box<dyn Job + 'a>>,
}

impl<'a> Pass<'a> {
    /// Without updates.
    pub fn new() -> Pass<'a> {
        Pass::default()
    }

    /// Adds what [`update`] does; what cannot be done where the tensors lie is done at once.
    ///
    /// # Errors
    /// As [`update`].
    #[track_caller]
    pub fn add<const W: usize, const R: usize>(
        &mut self,
        op: &'static str,
        write: [&Tensor; W],
        read: [&Tensor; R],
        formula: impl Update<W, R> + 'a,
    ) -> Result<()> {
        if check(op, &write, &read)? {
            self.push(op, write, read, formula, Location::caller());
            Ok(())
        } else {
            update(op, write, read, formula)
        }
    }

    fn push<const W: usize, const R: usize>(
        &mut self,
        op: &'static str,
        write: [&Tensor; W],
        read: [&Tensor; R],
        formula: impl Update<W, R> + 'a,
        location: &'static Location<'static>,
    ) {
        self.jobs.push(Box::new(Planned {
            op,
            location,
            write: write.map(Tensor::clone),
            read: read.map(Tensor::clone),
            formula,
        }));
    }

    /// Runs the updates: at the same time where none writes what another one reads or writes, else
    /// in order.
    ///
    /// # Errors
    /// Where a CUDA device fails.
    #[track_caller]
    pub fn run(self) -> Result<()> {
        let mut memory: SmallVec<[(usize, bool); 64]> = SmallVec::new();
        for job in &self.jobs {
            memory.extend(job.written().iter().map(|t| (t.0.storage.address(), true)));
            memory.extend(job.read().iter().map(|t| (t.0.storage.address(), false)));
        }
        memory.sort_unstable();
        let clash = |pair: &[(usize, bool)]| pair[0].0 == pair[1].0 && (pair[0].1 || pair[1].1);
        if memory.windows(2).any(clash) {
            self.jobs.chunks(1).try_for_each(together)?;
        } else {
            together(&self.jobs)?;
        }
        for job in &self.jobs {
            let (op, location) = job.source();
            job.written().iter().for_each(|t| note(t, op, location));
        }
        Ok(())
    }
}

/// An update that waits for its pass.
trait Job {
    fn on_cuda(&self) -> bool {
        self.written().iter().any(Tensor::on_cuda)
    }
    fn written(&self) -> &[Tensor];
    fn read(&self) -> &[Tensor];
    fn source(&self) -> (&'static str, &'static Location<'static>);
    /// The formula for a CUDA device.
    fn traced(&self) -> Traced;
    /// Cuts the work into pieces; takes as many guards as it has tensors.
    fn cut<'g>(
        &'g self,
        write: &mut std::slice::IterMut<'g, Write<'_>>,
        read: &mut std::slice::Iter<'g, Read<'_>>,
        pieces: &mut Vec<Piece<'g>>,
    );
}

/// Some of the elements of an update; `None` once done.
type Piece<'g> = Option<Box<dyn FnOnce() + Send + 'g>>;

/// Runs updates that do not touch each other's memory.
fn together(jobs: &[Box<dyn Job + '_>]) -> Result<()> {
    if jobs.iter().any(|job| job.on_cuda()) {
        return on_devices(jobs);
    }
    if let Some(job) = jobs.first() {
        crate::cuda::skip::refuse(job.source().0)?;
    }
    on_host(&jobs.iter().map(|job| &**job).collect::<Vec<_>>());
    Ok(())
}

/// The same where some are on CUDA devices: those of one formula in one launch.
#[cold]
fn on_devices(jobs: &[Box<dyn Job + '_>]) -> Result<()> {
    type Alike<'j, 'a> = (Traced, DType, Device, Vec<&'j (dyn Job + 'a)>);
    let (on_cuda, others): (Vec<_>, Vec<_>) =
        jobs.iter().map(|job| &**job).partition(|job| job.on_cuda());
    let mut kinds: Vec<Alike<'_, '_>> = Vec::new();
    for job in on_cuda {
        let (traced, first) = (job.traced(), &job.written()[0]);
        let key = (traced, first.dtype(), first.device());
        match kinds
            .iter_mut()
            .find(|k| (&k.0, k.1, k.2) == (&key.0, key.1, key.2))
        {
            Some(kind) => kind.3.push(job),
            None => kinds.push((key.0, key.1, key.2, vec![job])),
        }
    }
    for (traced, _, _, jobs) in &kinds {
        let write: Vec<&Tensor> = jobs.iter().flat_map(|job| job.written()).collect();
        let read: Vec<&Tensor> = jobs.iter().flat_map(|job| job.read()).collect();
        let counts: Vec<_> = jobs
            .iter()
            .map(|j| (j.written().len(), j.read().len()))
            .collect();
        let (mut w, r) = lock(&write, &read);
        crate::cuda::update(
            jobs[0].source().0,
            traced,
            &counts,
            (&write, &mut w),
            (&read, &r),
        )?;
    }
    if let Some(job) = others.first() {
        crate::cuda::skip::refuse(job.source().0)?;
        on_host(&others);
    }
    Ok(())
}

fn on_host(jobs: &[&(dyn Job + '_)]) {
    let write: SmallVec<[&Tensor; 32]> = jobs.iter().flat_map(|job| job.written()).collect();
    let read: SmallVec<[&Tensor; 32]> = jobs.iter().flat_map(|job| job.read()).collect();
    let bytes: usize = write.iter().chain(&read).map(|t| t.nbytes()).sum();
    let (mut write, read) = lock(&write, &read);
    let (mut write, mut read) = (write.iter_mut(), read.iter());
    let mut pieces = Vec::new();
    for job in jobs {
        job.cut(&mut write, &mut read, &mut pieces);
    }
    let grain = if bytes < ALONE { pieces.len() } else { 1 };
    parallel_chunks_mut(&mut pieces, grain, |_, pieces| {
        pieces
            .iter_mut()
            .filter_map(Option::take)
            .for_each(|piece| piece());
    });
}

struct Planned<F, const W: usize, const R: usize> {
    op: &'static str,
    location: &'static Location<'static>,
    write: [Tensor; W],
    read: [Tensor; R],
    formula: F,
}

impl<F: Update<W, R>, const W: usize, const R: usize> Job for Planned<F, W, R> {
    fn written(&self) -> &[Tensor] {
        &self.write
    }

    fn read(&self) -> &[Tensor] {
        &self.read
    }

    fn source(&self) -> (&'static str, &'static Location<'static>) {
        (self.op, self.location)
    }

    fn traced(&self) -> Traced {
        trace(&self.formula)
    }

    fn cut<'g>(
        &'g self,
        write: &mut std::slice::IterMut<'g, Write<'_>>,
        read: &mut std::slice::Iter<'g, Read<'_>>,
        pieces: &mut Vec<Piece<'g>>,
    ) {
        let taken = "there is a guard for each tensor";
        let write: [&'g mut Write<'_>; W] = std::array::from_fn(|_| write.next().expect(taken));
        let read: [&'g Read<'_>; R] = std::array::from_fn(|_| read.next().expect(taken));
        if self.write[0].dtype() == DType::F64 {
            cut::<f64, F, W, R>(self.write[0].numel(), write, read, self.formula, pieces);
        } else {
            cut::<f32, F, W, R>(self.write[0].numel(), write, read, self.formula, pieces);
        }
    }
}

fn cut<'g, T: Real + Stored, F: Update<W, R> + 'g, const W: usize, const R: usize>(
    n: usize,
    write: [&'g mut Write<'_>; W],
    read: [&'g Read<'_>; R],
    formula: F,
    pieces: &mut Vec<Piece<'g>>,
) {
    let mut write = write.map(|w| w.slice::<T>()[..n].chunks_mut(GRAIN));
    let mut read = read.map(|r| r.slice::<T>()[..n].chunks(GRAIN));
    pieces.extend((0..n.div_ceil(GRAIN)).map(|_| {
        let chunk = Chunk {
            write: write.each_mut().map(|w| w.next().unwrap_or_default()),
            read: read.each_mut().map(|r| r.next().unwrap_or_default()),
            formula,
        };
        let piece: Box<dyn FnOnce() + Send + 'g> = Box::new(move || dispatch(chunk));
        Some(piece)
    }));
}

/// Waits for one lock and only tries the others, giving all back where one is taken: so it never
/// waits while it holds one, which is storage's rule.
pub(crate) fn lock<'t>(
    write: &[&'t Tensor],
    read: &[&'t Tensor],
) -> (Guards<Write<'t>>, Guards<Read<'t>>) {
    loop {
        let waited = write.iter().take(1).map(|t| Some(t.write()));
        let tried = write.iter().skip(1).map(|t| t.try_write());
        let w: Option<Guards<Write<'t>>> = waited.chain(tried).collect();
        let r: Option<Guards<Read<'t>>> = match w {
            Some(_) => read.iter().map(|t| t.try_read()).collect(),
            None => None,
        };
        if let (Some(w), Some(r)) = (w, r) {
            return (w, r);
        }
        std::thread::yield_now();
    }
}

pub(crate) type Guards<G> = SmallVec<[G; 8]>;

struct Chunk<'a, T, F, const W: usize, const R: usize> {
    write: [&'a mut [T]; W],
    read: [&'a [T]; R],
    formula: F,
}

/// Elements brought into registers at a time: results are stored only after all are loaded, so
/// that the compiler need not prove that the slices do not overlap.
const BLOCK: usize = 16;

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
    #[derive(Clone, Copy)]
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
            update("both", [&p, &m], [&Tensor::from_slice(&g, [n])?], Both)?;
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
        update("both", [&p, &m], [&p], Both)?;
        assert_eq!(base.to_vec::<f64>()?, [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]);
        assert_eq!(m.to_vec::<f64>()?, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let one = Tensor::ones_with([3], DType::BF16)?;
        update(
            "both",
            [&one, &Tensor::zeros_with([3], DType::BF16)?],
            [&one],
            Both,
        )?;
        assert_eq!(one.to_vec::<bf16>()?, [bf16::from_f32(0.5); 3]);
        Ok(())
    }

    #[test]
    fn a_pass_gives_what_single_updates_give_in_their_order() -> Result<()> {
        let sizes = [3, 40_000, 0, 400_000];
        let ramp = |n: usize| (0..n).map(|i| (i % 11) as f32).collect::<Vec<_>>();
        let tensors = || -> Result<Vec<(Tensor, Tensor, Tensor)>> {
            let one = |&n: &usize| {
                Ok((
                    Tensor::ones([n])?,
                    Tensor::zeros([n])?,
                    Tensor::from_slice(&ramp(n), [n])?,
                ))
            };
            sizes.iter().map(one).collect()
        };
        let (single, joined) = (tensors()?, tensors()?);
        let mut pass = Pass::new();
        for ((p, m, g), (q, n, h)) in single.iter().zip(&joined) {
            update("both", [p, m], [g], Both)?;
            pass.add("both", [q, n], [h], Both)?;
        }
        pass.run()?;
        for ((p, m, _), (q, n, _)) in single.iter().zip(&joined) {
            assert_eq!(p.to_vec::<f32>()?, q.to_vec::<f32>()?);
            assert_eq!(m.to_vec::<f32>()?, n.to_vec::<f32>()?);
            assert_eq!((q.version(), n.version()), (1, 1));
        }
        // The second update reads what the first one writes.
        let (a, b, c) = (Tensor::ones([2])?, Tensor::ones([2])?, Tensor::ones([2])?);
        let (d, e) = (Tensor::zeros([2])?, Tensor::zeros([2])?);
        let mut pass = Pass::new();
        pass.add("both", [&a, &d], [&b], Both)?;
        pass.add("both", [&c, &e], [&a], Both)?;
        pass.run()?;
        assert_eq!(a.to_vec::<f32>()?, [0.5; 2]);
        assert_eq!(c.to_vec::<f32>()?, [0.75; 2]);
        assert_eq!(e.to_vec::<f32>()?, [0.5; 2]);
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_an_error() -> Result<()> {
        let (a, b) = (Tensor::ones([2])?, Tensor::ones([3])?);
        assert!(update("both", [&a, &b], [&a], Both).is_err());
        assert!(update("both", [&a, &a], [&a], Both).is_err());
        let i = Tensor::ones_with([2], DType::I64)?;
        let j = i.copy()?;
        assert!(update("both", [&i, &j], [&i], Both).is_err());
        Ok(())
    }
}
