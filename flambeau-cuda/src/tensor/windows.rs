//! Pooling over windows.

use super::{Slice, SliceMut, run, same};
use crate::error::{Result, fail};
use crate::kernels::Pool;
use crate::{Launch, Type};

/// The windows of a pooling over `[planes, D, H, W]`, or `[planes / inner, D, H, W, inner]`.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// Samples times channels.
    pub planes: usize,
    /// How many channels there are where these are innermost in memory, else 1.
    pub inner: usize,
    /// The sizes of a plane.
    pub input: [usize; 3],
    /// The sizes of its result.
    pub output: [usize; 3],
    /// Size, step, padding and dilation of windows of one size; `None` where they share the plane.
    pub fixed: Option<[[usize; 3]; 4]>,
    /// Whether padding counts in an average.
    pub include_pad: bool,
    /// What an average divides by instead of the number of elements.
    pub divisor: Option<i64>,
}

impl Windows {
    fn pool(&self) -> Result<Pool> {
        let sizes = [self.input, self.output];
        let all = sizes.iter().chain(self.fixed.iter().flatten()).flatten();
        if all.into_iter().any(|&v| v > i32::MAX as usize / 4) {
            fail!("windows {self:?} are beyond what kernels count");
        }
        let pool = match self.fixed {
            Some(windows) => Pool::fixed(self.planes, sizes, windows),
            None => Pool::adaptive(self.planes, sizes),
        };
        Ok(pool
            .average(self.include_pad, self.divisor)
            .innermost(self.inner))
    }

    fn inputs(&self) -> usize {
        self.planes * self.input.iter().product::<usize>()
    }

    fn outputs(&self) -> usize {
        self.planes * self.output.iter().product::<usize>()
    }

    /// The maximum of each window and its place in the plane, as `i64`.
    ///
    /// # Errors
    /// Where sizes or types do not fit; so below.
    pub fn max(
        &self,
        x: &Slice<'_>,
        out: &mut SliceMut<'_>,
        indices: &mut SliceMut<'_>,
    ) -> Result<()> {
        let ty = out.place.ty;
        let places = indices.flat(Type::I64, self.outputs())?;
        if !std::ptr::eq(indices.device(), out.device()) {
            fail!("results on {:?} and {:?}", indices.device(), out.device());
        }
        let (from, to) = (x.flat(ty, self.inputs())?, out.flat(ty, self.outputs())?);
        self.run(&[x], self.pool()?.max_forward(ty, from, to, places), out)
    }

    /// The gradient of the maxima's input.
    ///
    /// # Errors
    /// As [`max`](Windows::max).
    pub fn max_backward(
        &self,
        grad: &Slice<'_>,
        indices: &Slice<'_>,
        out: &mut SliceMut<'_>,
    ) -> Result<()> {
        let ty = out.place.ty;
        let places = indices.flat(Type::I64, self.outputs())?;
        let (from, to) = (grad.flat(ty, self.outputs())?, out.flat(ty, self.inputs())?);
        self.run(
            &[grad, indices],
            self.pool()?.max_backward(ty, from, places, to),
            out,
        )
    }

    /// The average of each window.
    ///
    /// # Errors
    /// As [`max`](Windows::max).
    pub fn average(&self, x: &Slice<'_>, out: &mut SliceMut<'_>) -> Result<()> {
        let ty = out.place.ty;
        let (from, to) = (x.flat(ty, self.inputs())?, out.flat(ty, self.outputs())?);
        self.run(&[x], self.pool()?.avg_forward(ty, from, to), out)
    }

    /// The gradient of the averages' input.
    ///
    /// # Errors
    /// As [`max`](Windows::max).
    pub fn average_backward(&self, grad: &Slice<'_>, out: &mut SliceMut<'_>) -> Result<()> {
        let ty = out.place.ty;
        let (from, to) = (grad.flat(ty, self.outputs())?, out.flat(ty, self.inputs())?);
        self.run(&[grad], self.pool()?.avg_backward(ty, from, to), out)
    }

    fn run(
        &self,
        read: &[&Slice<'_>],
        launch: Option<Launch>,
        out: &mut SliceMut<'_>,
    ) -> Result<()> {
        let device = out.device();
        same(device, read)?;
        // SAFETY: all operands were checked to have as many elements as the windows say; results
        // are borrowed exclusively. An index is compared with places, never followed.
        unsafe { run(device, launch) }
    }
}
