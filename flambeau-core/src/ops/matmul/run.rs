//! From tensors to runs of equally spaced products, which the CPU's GEMM or the CUDA device computes.

use crate::dtype::Stored;
use crate::ops::elementwise::to_contiguous;
use crate::shape::{Shape, Strides, broadcast, broadcast_strides};
use crate::tensor::Tensor;
use crate::{DType, Device, Result, bail, cuda};
use flambeau_cpu::gemm::{Add, GemmScalar, Layout, Sizes, gemm_add};
use half::{bf16, f16};
use smallvec::{SmallVec, smallvec};

/// The shape of a product, or why there is none.
pub(super) fn product_shape(op: &'static str, a: &Tensor, b: &Tensor) -> Result<Shape> {
    if a.dtype() != b.dtype() {
        bail!(
            op,
            "expected both to have the same dtype, got lhs {} and rhs {}; convert one with to_dtype",
            a.dtype(),
            b.dtype()
        );
    }
    if a.dtype() == DType::Bool {
        bail!(
            op,
            "there is no matrix product of bool tensors; convert with to_dtype(DType::F32) first"
        );
    }
    let (m, k) = (a.shape()[a.dim() - 2], a.shape()[a.dim() - 1]);
    let (l, n) = (b.shape()[b.dim() - 2], b.shape()[b.dim() - 1]);
    if k != l {
        bail!(
            op,
            "inner dimensions differ: lhs {:?}, rhs {:?}; need {k} == {l}",
            a.shape(),
            b.shape()
        );
    }
    let mut shape = broadcast(op, &a.shape()[..a.dim() - 2], &b.shape()[..b.dim() - 2])?;
    shape.push(m);
    shape.push(n);
    Ok(shape)
}

/// The product as a new tensor. Half types are summed up in `f32` and rounded once, integers wrap.
/// `c` comes with its factor.
pub(super) fn product(
    op: &'static str,
    a: &Tensor,
    b: &Tensor,
    alpha: f64,
    c: Option<(&Tensor, f64)>,
) -> Result<Tensor> {
    let shape = product_shape(op, a, b)?;
    let dtype = a.dtype();
    if a.on_cuda() {
        return cuda::product(op, [a, b], alpha, c, &shape);
    }
    if dtype.is_floating_point() {
        let out = Tensor::empty_with(&shape, (dtype, Device::Cpu))?;
        match dtype {
            DType::F32 => blocks::<f32>(a, b, c, &out, |p| p.multiply(alpha)),
            DType::F64 => blocks::<f64>(a, b, c, &out, |p| p.multiply(alpha)),
            DType::BF16 => blocks::<bf16>(a, b, c, &out, |p| p.multiply(alpha)),
            _ => blocks::<f16>(a, b, c, &out, |p| p.multiply(alpha)),
        }
        return Ok(out);
    }
    let wide = |t: &Tensor| {
        if t.dtype() == DType::I64 {
            Ok(t.clone())
        } else {
            to_contiguous(op, t, DType::I64)
        }
    };
    let out = Tensor::empty_with(&shape, (DType::I64, Device::Cpu))?;
    blocks::<i64>(&wide(a)?, &wide(b)?, None, &out, |p| p.integers());
    if dtype == DType::I64 {
        Ok(out)
    } else {
        to_contiguous(op, &out, dtype)
    }
}

/// Equally spaced products, `out = a @ b + add`; `out` is contiguous.
struct Block<'a, T> {
    sizes: Sizes,
    a: (&'a [T], Layout),
    b: (&'a [T], Layout),
    add: Add<'a, T>,
    out: &'a mut [T],
}

/// The strides of a matrix operand, broadcast to a batch: of the batch, and of the last two
/// dimensions.
fn matrix_strides(t: &Tensor, batch: &[usize]) -> (Strides, Layout) {
    let d = t.dim() - 2;
    let (row, col) = (t.strides()[d], t.strides()[d + 1]);
    let strides = broadcast_strides(&t.shape()[..d], &t.strides()[..d], batch);
    (strides, Layout { batch: 0, row, col })
}

/// Calls `f` for each run of equally spaced products.
fn blocks<T: Stored>(
    a: &Tensor,
    b: &Tensor,
    c: Option<(&Tensor, f64)>,
    out: &Tensor,
    f: impl Fn(Block<'_, T>),
) {
    if out.numel() == 0 {
        return;
    }
    let lead = out.dim() - 2;
    let batch = &out.shape()[..lead];
    let ((a_batch, mut a_layout), (b_batch, mut b_layout)) =
        (matrix_strides(a, batch), matrix_strides(b, batch));
    // What factor 0 multiplies is not read, so that NaN in it does not spread.
    let c = c.filter(|&(_, beta)| beta != 0.0);
    let mut c_strides = match c {
        Some((c, _)) => broadcast_strides(c.shape(), c.strides(), out.shape()),
        None => smallvec![0; out.dim()],
    };
    let (col, row) = (c_strides.pop(), c_strides.pop());
    let mut c_layout = Layout {
        batch: 0,
        row: row.unwrap_or(0),
        col: col.unwrap_or(0),
    };
    let mut sizes = Sizes {
        batch: 1,
        m: out.shape()[lead],
        n: out.shape()[lead + 1],
        k: a.shape()[a.dim() - 1],
    };
    // Size and the operands' strides of the batch dimensions after merging, outermost first.
    let mut dims: SmallVec<[(usize, [usize; 3]); 6]> = SmallVec::new();
    for (i, &d) in batch.iter().enumerate().filter(|&(_, &d)| d != 1) {
        let steps = [a_batch[i], b_batch[i], c_strides[i]];
        match dims.last_mut() {
            Some(last) if last.1 == steps.map(|s| d * s) => *last = (last.0 * d, steps),
            _ => dims.push((d, steps)),
        }
    }
    if let Some(&(d, [a_step, 0, c_step])) = dims.last()
        && (sizes.m == 1 || a_step == sizes.m * a_layout.row && c_step == sizes.m * c_layout.row)
    {
        // One right operand for all: the batch is more rows.
        if sizes.m == 1 {
            (a_layout.row, c_layout.row) = (a_step, c_step);
        }
        sizes.m *= d;
        dims.pop();
    }
    if let Some((d, steps)) = dims.pop() {
        sizes.batch = d;
        [a_layout.batch, b_layout.batch, c_layout.batch] = steps;
    }
    let (a_read, b_read) = (a.read(), b.read());
    let (a, b) = (a_read.slice::<T>(), b_read.slice::<T>());
    let c_read = c.map(|(c, beta)| (c.read(), beta));
    let mut write = out.write();
    let step = sizes.batch * sizes.m * sizes.n;
    for (i, out) in write.slice::<T>().chunks_exact_mut(step).enumerate() {
        let (mut rest, mut at) = (i, [0; 3]);
        for &(d, steps) in dims.iter().rev() {
            for (at, step) in at.iter_mut().zip(steps) {
                *at += rest % d * step;
            }
            rest /= d;
        }
        // Without an inner dimension nothing is read, and there may be nothing at `at`.
        let from = |x, at: usize| match sizes.k {
            0 => &[][..],
            _ => &(x as &[T])[at..],
        };
        f(Block {
            sizes,
            a: (from(a, at[0]), a_layout),
            b: (from(b, at[1]), b_layout),
            add: match &c_read {
                Some((c, beta)) => Add::Other(*beta, &c.slice::<T>()[at[2]..], c_layout),
                None => Add::Nothing,
            },
            out,
        });
    }
}

impl<T: GemmScalar> Block<'_, T> {
    fn multiply(self, alpha: f64) {
        let Sizes { m, n, .. } = self.sizes;
        let to = Layout {
            batch: m * n,
            row: n,
            col: 1,
        };
        let Block { a, b, add, out, .. } = self;
        gemm_add(self.sizes, alpha, a, b, add, (out, to));
    }
}

impl Block<'_, i64> {
    /// The plain loop, modulo 2^64 and so, after narrowing, modulo each type's range.
    fn integers(self) {
        let Sizes { m, n, k, .. } = self.sizes;
        let ((a, a_layout), (b, b_layout)) = (self.a, self.b);
        for (i, row) in self.out.chunks_exact_mut(n).enumerate() {
            let (batch, i) = (i / m, i % m);
            row.fill(0);
            for k in 0..k {
                let x = a[batch * a_layout.batch + i * a_layout.row + k * a_layout.col];
                let from = batch * b_layout.batch + k * b_layout.row;
                for (j, o) in row.iter_mut().enumerate() {
                    *o = o.wrapping_add(x.wrapping_mul(b[from + j * b_layout.col]));
                }
            }
        }
    }
}
