//! Pooling.

use super::{blocks, flat};
use crate::{Launch, Pod, Ptr, Type, Unit};

/// The windows of a pooling over `[planes, D, H, W, inner]`: `Pool` in `pool.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Pool {
    planes: i64,
    inner: i64,
    divisor: i64,
    input: [i32; 3],
    output: [i32; 3],
    kernel: [i32; 3],
    stride: [i32; 3],
    padding: [i32; 3],
    dilation: [i32; 3],
    adaptive: i32,
    include_pad: i32,
}

// SAFETY: integers whose sizes leave no padding; the C++ struct has the same fields.
unsafe impl Pod for Pool {}

fn ints(v: [usize; 3]) -> [i32; 3] {
    v.map(|v| v as i32)
}

impl Pool {
    /// Windows of one size. Each size is that of depth, height and width.
    pub fn fixed(
        planes: usize,
        [input, output]: [[usize; 3]; 2],
        [kernel, stride, padding, dilation]: [[usize; 3]; 4],
    ) -> Pool {
        Pool {
            planes: planes as i64,
            inner: 1,
            divisor: 0,
            input: ints(input),
            output: ints(output),
            kernel: ints(kernel),
            stride: ints(stride),
            padding: ints(padding),
            dilation: ints(dilation),
            adaptive: 0,
            include_pad: 1,
        }
    }

    /// Windows that share the input among the outputs.
    pub fn adaptive(planes: usize, sizes: [[usize; 3]; 2]) -> Pool {
        let ones = [1; 3];
        Pool {
            adaptive: 1,
            ..Pool::fixed(planes, sizes, [ones; 4])
        }
    }

    /// What an average divides by: whether padding counts, and a number instead of the size.
    pub fn average(self, include_pad: bool, divisor: Option<i64>) -> Pool {
        Pool {
            include_pad: i32::from(include_pad),
            divisor: divisor.unwrap_or(0),
            ..self
        }
    }

    /// Of planes of which `inner` at a time, a sample's channels, are innermost.
    pub fn innermost(self, inner: usize) -> Pool {
        let inner = inner.max(1) as i64;
        Pool {
            planes: self.planes / inner,
            inner,
            ..self
        }
    }

    fn launch(
        &self,
        ty: Type,
        entry: &'static str,
        size: [i32; 3],
        ptrs: &[Ptr],
    ) -> Option<Launch> {
        let maps = (self.planes * self.inner) as usize;
        let n = maps * size.iter().map(|&s| s as usize).product::<usize>();
        let unit = Unit::new("pool.cu")
            .define("ELEMENT", ty.name())
            .define("ACC", ty.accumulate().name());
        let mut launch = (n > 0).then(|| flat(unit, entry, blocks(n)))?;
        for &ptr in ptrs {
            launch.args.push(ptr);
        }
        launch.args.push(*self);
        Some(launch)
    }

    /// Maxima and (where not 0) their places in the plane, `i64`.
    pub fn max_forward(&self, ty: Type, x: Ptr, out: Ptr, indices: Ptr) -> Option<Launch> {
        self.launch(ty, "max_pool", self.output, &[x, out, indices])
    }

    /// The input's gradient.
    pub fn max_backward(&self, ty: Type, grad: Ptr, indices: Ptr, out: Ptr) -> Option<Launch> {
        self.launch(ty, "max_pool_backward", self.input, &[grad, indices, out])
    }

    /// Averages.
    pub fn avg_forward(&self, ty: Type, x: Ptr, out: Ptr) -> Option<Launch> {
        self.launch(ty, "avg_pool", self.output, &[x, out])
    }

    /// The input's gradient.
    pub fn avg_backward(&self, ty: Type, grad: Ptr, out: Ptr) -> Option<Launch> {
        self.launch(ty, "avg_pool_backward", self.input, &[grad, out])
    }
}
