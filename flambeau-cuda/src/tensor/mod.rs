//! Tensors in buffers: what launches are made of, checked against the memory that they lie in.

mod check;
mod convolution;
mod elementwise;
mod index;
mod loss;
mod norm;
mod product;
mod random;
mod reduce;
mod update;
mod windows;

pub use check::check;
pub use convolution::Convolution;
pub use elementwise::{Operand, elementwise};
pub use index::{gather, pick, put, scan, scatter, sort};
pub use loss::{ClassLoss, Losses};
pub use norm::{channel_norm, channel_norm_backward, row_norm, row_norm_backward};
pub use product::product;
pub use random::random;
pub use reduce::{reduce, softmax, softmax_backward};
pub use update::{Update, unscale, update};
pub use windows::Windows;

use crate::device::{Buffer, Device};
use crate::error::{Result, fail};
use crate::kernels::{Launches, TooManyDims};
use crate::{Launch, Ptr, Type, View};
use smallvec::SmallVec;

/// Elements of a buffer, to be read.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    buffer: &'a Buffer,
    place: Place<'a>,
}

/// Elements of a buffer, to be written.
#[derive(Debug)]
pub struct SliceMut<'a> {
    buffer: &'a mut Buffer,
    place: Place<'a>,
}

/// Where elements lie in a buffer.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Their type.
    pub ty: Type,
    /// Elements before the first one.
    pub offset: usize,
    /// The sizes of the dimensions.
    pub shape: &'a [usize],
    /// Elements from one to the next along each dimension.
    pub strides: &'a [usize],
}

impl<'a> Place<'a> {
    /// Whether all elements lie within `bytes`.
    fn check(&self, bytes: usize) -> Result<()> {
        let Place {
            ty,
            offset,
            shape,
            strides,
        } = *self;
        if shape.len() != strides.len() {
            fail!("{} sizes and {} strides", shape.len(), strides.len());
        }
        if shape.contains(&0) {
            return Ok(());
        }
        let last = (shape.iter().zip(strides)).try_fold(offset, |end, (&d, &s)| {
            end.checked_add((d - 1).checked_mul(s)?)
        });
        let end = last.and_then(|l| l.checked_add(1)?.checked_mul(ty.size()));
        match end {
            Some(end) if end <= bytes => Ok(()),
            _ => fail!(
                "sizes {shape:?}, strides {strides:?} and offset {offset} reach beyond a buffer of {bytes} bytes"
            ),
        }
    }

    fn is_contiguous(&self) -> bool {
        if self.shape.contains(&0) {
            return true;
        }
        let mut step = 1;
        self.shape.iter().zip(self.strides).rev().all(|(&d, &s)| {
            let fits = d == 1 || s == step;
            step *= d;
            fits
        })
    }

    /// Whether the elements follow each other in memory, in some order of the dimensions.
    fn is_dense(&self) -> bool {
        if self.is_contiguous() {
            return true;
        }
        let sizes = self.shape.iter().copied().zip(self.strides.iter().copied());
        let mut sizes: SmallVec<[(usize, usize); 6]> = sizes.filter(|&(d, _)| d != 1).collect();
        sizes.sort_unstable_by_key(|&(_, s)| s);
        let mut step = 1;
        sizes.into_iter().all(|(d, s)| {
            let fits = s == step;
            step *= d;
            fits
        })
    }

    fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// The address of `n` elements of type `ty` that follow each other, in some order of the dimensions:
    /// that this is the order the work wants, and one for all operands, is the caller's affair.
    fn flat(&self, buffer: &Buffer, ty: Type, n: usize) -> Result<Ptr> {
        if self.ty != ty || self.numel() != n || !self.is_dense() {
            fail!(
                "expected {n} {ty:?} elements that follow each other, got {:?} of sizes {:?} and strides {:?}",
                self.ty,
                self.shape,
                self.strides
            );
        }
        Ok(self.view(buffer).ptr)
    }

    fn view(&self, buffer: &Buffer) -> View<'a> {
        View {
            ptr: buffer.address() + (self.offset * self.ty.size()) as u64,
            ty: self.ty,
            strides: self.strides,
        }
    }
}

impl<'a> Slice<'a> {
    /// The elements at `place`.
    ///
    /// # Errors
    /// Where they reach beyond the buffer.
    pub fn new(buffer: &'a Buffer, place: Place<'a>) -> Result<Slice<'a>> {
        place.check(buffer.len())?;
        Ok(Slice { buffer, place })
    }

    fn view(&self) -> View<'a> {
        self.place.view(self.buffer)
    }

    /// The address of `n` elements of type `ty` that follow each other.
    fn flat(&self, ty: Type, n: usize) -> Result<Ptr> {
        self.place.flat(self.buffer, ty, n)
    }

    pub(crate) fn device(&self) -> &'static Device {
        self.buffer.device()
    }

    /// The address, number and type of elements that follow each other.
    pub(crate) fn whole(&self) -> Result<(Ptr, usize, Type)> {
        let (ty, n) = (self.place.ty, self.place.numel());
        Ok((self.flat(ty, n)?, n, ty))
    }
}

impl<'a> SliceMut<'a> {
    /// The elements at `place`.
    ///
    /// # Errors
    /// Where they reach beyond the buffer.
    pub fn new(buffer: &'a mut Buffer, place: Place<'a>) -> Result<SliceMut<'a>> {
        place.check(buffer.len())?;
        Ok(SliceMut { buffer, place })
    }

    fn view(&self) -> View<'a> {
        self.place.view(self.buffer)
    }

    /// The address of `n` elements of type `ty` that follow each other.
    fn flat(&self, ty: Type, n: usize) -> Result<Ptr> {
        self.place.flat(self.buffer, ty, n)
    }

    pub(crate) fn device(&self) -> &'static Device {
        self.buffer.device()
    }

    /// The address, number and type of elements that follow each other.
    pub(crate) fn whole(&self) -> Result<(Ptr, usize, Type)> {
        let (ty, n) = (self.place.ty, self.place.numel());
        Ok((self.flat(ty, n)?, n, ty))
    }
}

/// Refuses operands on another device.
fn same(device: &Device, slices: &[&Slice<'_>]) -> Result<()> {
    match slices
        .iter()
        .find(|s| !std::ptr::eq(s.buffer.device(), device))
    {
        Some(other) => fail!("operands are on {device:?} and {:?}", other.buffer.device()),
        None => Ok(()),
    }
}

/// Runs launches that were described from checked places.
///
/// # Safety
/// As [`Device::launch`].
unsafe fn run(device: &Device, launches: impl IntoIterator<Item = Launch>) -> Result<()> {
    for launch in launches {
        // SAFETY: the caller's.
        unsafe { device.launch(launch)? };
    }
    Ok(())
}

impl From<TooManyDims> for crate::Error {
    fn from(e: TooManyDims) -> crate::Error {
        crate::Error::new(e.to_string())
    }
}

/// Describes launches by `f`, which may ask for memory to work in, and runs them.
///
/// # Safety
/// As [`Device::launch`], but for that memory.
unsafe fn run_with(
    device: &'static Device,
    f: impl FnOnce(&mut dyn FnMut(usize) -> Ptr) -> Result<Launches>,
) -> Result<()> {
    let (mut held, mut failed) = (Vec::new(), None);
    let launches = f(&mut |bytes| match device.allocate(bytes) {
        Ok(buffer) => {
            held.push(buffer);
            held.last().map_or(0, Buffer::address)
        }
        Err(e) => {
            failed = Some(e);
            0
        }
    })?;
    match failed {
        Some(e) => Err(e),
        // SAFETY: the caller's; the memory given is held until the launches are on the stream, and
        // what is given it next runs after them.
        None => unsafe { run(device, launches) },
    }
}
