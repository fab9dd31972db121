//! Matrix products.

use super::{Operand, Place, Slice, SliceMut, elementwise, run, same};
use crate::device::{Buffer, Device};
use crate::error::{Result, fail};
use crate::kernels::{Expr, Matrix, Params, matmul};
use crate::vendor::{self, Blas, Gemm};
use crate::{MAX_DIMS, Ptr, Type, row_major};
use smallvec::SmallVec;

/// `out = alpha * a @ b + beta * out + bias` of a batch of matrices of one type: `a` `[batch.., m, k]`,
/// `b` `[batch.., k, n]`, with strides of 0 where they are broadcast, `out` contiguous
/// `[batch.., m, n]`, `bias` `[n]`.
///
/// Floating-point types go to cuBLASLt where it is there, which reads transposed operands where they
/// lie; what has no stride of 1 is copied for it.
///
/// # Errors
/// Where sizes or types do not fit, or there are too many dimensions.
pub fn product(
    a: &Slice<'_>,
    b: &Slice<'_>,
    [alpha, beta]: [f64; 2],
    bias: Option<&Slice<'_>>,
    out: &mut SliceMut<'_>,
) -> Result<()> {
    let (device, ty) = (out.device(), out.place.ty);
    same(device, &[a, b])?;
    let (x, y, z) = (a.place, b.place, out.place);
    let (&[ref batch @ .., m, k], &[ref b_batch @ .., l, n]) = (x.shape, y.shape) else {
        fail!("a product of {:?} and {:?}", x.shape, y.shape);
    };
    let fits = k == l && batch == b_batch && z.shape == [batch, &[m, n]].concat();
    if !fits || batch.len() > MAX_DIMS || [x.ty, y.ty] != [ty; 2] {
        fail!(
            "a product of {:?} and {:?} as {:?}",
            x.shape,
            y.shape,
            z.shape
        );
    }
    let to = out.flat(ty, z.numel())?;
    let added = match bias {
        Some(bias) => {
            same(device, &[bias])?;
            bias.flat(ty, n)?
        }
        None => 0,
    };
    let operands = [a, b].map(|s| Matrices::of(s, batch.len()));
    let factors = [alpha, beta];
    if ty.is_float()
        && z.numel() * k > 0
        && let Some(blas) = device.blas()
    {
        let whole = Whole {
            device,
            blas,
            ty,
            batch,
            sizes: [m, n, k],
            factors,
            out: to,
        };
        // SAFETY: operands and result were checked to lie within their buffers; the result is borrowed
        // exclusively.
        if unsafe { whole.run(operands, added)? } {
            return device.started();
        }
        if let Some(bias) = bias {
            // SAFETY: as above.
            if unsafe { whole.run(operands, 0)? } {
                return add_to_rows(bias, out);
            }
        }
    }
    let [x, y] = operands.map(|o| o.matrix());
    let launch = matmul((ty, ty), batch, [m, n, k], x, y, factors, added, to);
    // SAFETY: as above.
    unsafe { run(device, launch) }
}

/// Adds `bias` to every row of `out`.
fn add_to_rows(bias: &Slice<'_>, out: &mut SliceMut<'_>) -> Result<()> {
    let mut strides: SmallVec<[usize; 6]> = SmallVec::from_elem(0, out.place.shape.len());
    if let (Some(last), Some(&step)) = (strides.last_mut(), bias.place.strides.last()) {
        *last = step;
    }
    let place = Place {
        shape: out.place.shape,
        strides: &strides,
        ..bias.place
    };
    let rows = Slice::new(bias.buffer, place)?;
    let (sum, operands) = (
        Expr::binary("a + b"),
        [Operand::Target, Operand::Elements(rows)],
    );
    let compute = out.place.ty.compute();
    elementwise(sum, compute, out, &operands, Params::default())
}

/// An operand: a batch of matrices, with the strides of everything.
#[derive(Clone, Copy, Debug)]
struct Matrices<'a> {
    slice: Slice<'a>,
    batches: &'a [usize],
    row: usize,
    column: usize,
}

impl<'a> Matrices<'a> {
    fn of(slice: &Slice<'a>, dims: usize) -> Matrices<'a> {
        let (batches, last) = slice.place.strides.split_at(dims);
        let (row, column) = (last[0], last[1]);
        Matrices {
            slice: *slice,
            batches,
            row,
            column,
        }
    }

    fn matrix(&self) -> Matrix<'a> {
        Matrix {
            ptr: self.slice.view().ptr,
            batches: self.batches,
            row: self.row,
            column: self.column,
        }
    }
}

/// A copy of an operand whose matrices follow each other, row by row; those that are broadcast once.
struct Packed {
    buffer: Buffer,
    strides: SmallVec<[usize; 6]>,
}

impl Packed {
    fn of(device: &'static Device, from: &Slice<'_>) -> Result<Packed> {
        let place = from.place;
        let (front, dims) = (place.shape.len() - 2, place.strides.iter().zip(place.shape));
        let sizes: SmallVec<[usize; 6]> = (dims.enumerate())
            .map(|(d, (&s, &n))| if d < front && s == 0 { 1 } else { n })
            .collect();
        let mut strides = row_major(&sizes);
        let mut buffer = device.allocate(sizes.iter().product::<usize>() * place.ty.size())?;
        let elements = Slice::new(
            from.buffer,
            Place {
                shape: &sizes,
                ..place
            },
        )?;
        let to = Place {
            offset: 0,
            shape: &sizes,
            strides: &strides,
            ..place
        };
        let mut to = SliceMut::new(&mut buffer, to)?;
        let operands = [Operand::Elements(elements)];
        elementwise(
            Expr::COPY,
            place.ty.compute(),
            &mut to,
            &operands,
            Params::default(),
        )?;
        for (stride, (&size, &whole)) in strides.iter_mut().zip(sizes.iter().zip(place.shape)) {
            if size != whole {
                *stride = 0;
            }
        }
        Ok(Packed { buffer, strides })
    }

    fn slice<'a>(&'a self, from: &Slice<'a>) -> Result<Slice<'a>> {
        let strides = &self.strides;
        Slice::new(
            &self.buffer,
            Place {
                offset: 0,
                strides,
                ..from.place
            },
        )
    }
}

/// How the library takes a row-major view of a matrix, with so many elements from row to row and from
/// column to column: as it lies, or transposed. `None` where neighbours lie side by side in neither.
fn taken([rows, columns]: [usize; 2], [row, column]: [usize; 2]) -> Option<(bool, usize)> {
    let lies = |[rows, columns]: [usize; 2], [row, column]: [usize; 2]| {
        let leading = if rows == 1 { columns } else { row };
        ((column == 1 || columns == 1) && leading >= columns).then_some(leading)
    };
    let as_it_is = lies([rows, columns], [row, column]).map(|l| (false, l));
    as_it_is.or_else(|| lies([columns, rows], [column, row]).map(|l| (true, l)))
}

/// What an address is a multiple of, up to what libraries care for.
fn alignment(address: Ptr) -> u32 {
    1 << address.trailing_zeros().min(8)
}

/// As many calls as a batch is cut into before its operands are copied to one.
const CALLS: usize = 16;

/// A product for cuBLASLt.
struct Whole<'a> {
    device: &'static Device,
    blas: &'a Blas,
    ty: Type,
    batch: &'a [usize],
    sizes: [usize; 3],
    factors: [f64; 2],
    out: Ptr,
}

/// A batch whose dimensions joined: one that a call takes, others that are walked over. Of each the size
/// and the elements from one to the next of the operands and the result.
struct Batch {
    /// Rows, columns and terms of a product: a batch may be more rows.
    sizes: [usize; 3],
    /// From a row of the left operand to the next.
    row: usize,
    one: (usize, [usize; 3]),
    others: SmallVec<[(usize, [usize; 3]); 4]>,
}

impl Whole<'_> {
    /// Whether the library did it.
    ///
    /// # Safety
    /// Operands and result lie within their buffers; the result is borrowed exclusively.
    unsafe fn run(&self, operands: [Matrices<'_>; 2], bias: Ptr) -> Result<bool> {
        let [m, n, k] = self.sizes;
        let shapes = [[m, k], [k, n]];
        let ready = |o: &Matrices<'_>, i: usize| taken(shapes[i], [o.row, o.column]).is_some();
        let many = self
            .batch(&operands)
            .others
            .iter()
            .map(|o| o.0)
            .product::<usize>()
            > CALLS;
        let pack = |i: usize| -> Result<Option<Packed>> {
            let from = &operands[i].slice;
            let copy = !ready(&operands[i], i) || (many && !from.place.is_contiguous());
            copy.then(|| Packed::of(self.device, from)).transpose()
        };
        let packed = [pack(0)?, pack(1)?];
        let mut operands = operands;
        for (operand, packed) in operands.iter_mut().zip(&packed) {
            if let Some(packed) = packed {
                *operand = Matrices::of(&packed.slice(&operand.slice)?, self.batch.len());
            }
        }
        // SAFETY: the caller's; copies are held until the calls are on the stream.
        unsafe { self.calls(&operands, bias) }
    }

    /// # Safety
    /// As [`run`](Self::run).
    unsafe fn calls(&self, operands: &[Matrices<'_>; 2], bias: Ptr) -> Result<bool> {
        let batch = self.batch(operands);
        let [m, n, k] = batch.sizes;
        let b = &operands[1];
        let a = taken([m, k], [batch.row, operands[0].column]);
        let (Some(a), Some(b)) = (a, taken([k, n], [b.row, b.column])) else {
            return Ok(false);
        };
        let (count, steps) = batch.one;
        let operand = |(transposed, leading), step| vendor::Operand {
            transposed,
            leading,
            step,
        };
        let starts = [
            operands[0].slice.view().ptr,
            operands[1].slice.view().ptr,
            self.out,
        ];
        let aligned = |i: usize| {
            let steps = batch
                .others
                .iter()
                .map(|o| (o.1[i] * self.ty.size()) as Ptr);
            alignment(steps.fold(starts[i], |all, step| all | step))
        };
        // Row-major matrices are the library's transposed ones, and (a b)^T is b^T a^T.
        let gemm = Gemm {
            ty: self.ty,
            sizes: [n, m, k],
            batch: (count, steps[2]),
            a: operand(b, steps[1]),
            b: operand(a, steps[0]),
            bias: bias != 0,
            alignments: [aligned(1), aligned(0), aligned(2), alignment(bias)],
        };
        let calls: usize = batch.others.iter().map(|o| o.0).product();
        for call in 0..calls {
            let (mut rest, mut at) = (call, starts);
            for &(size, steps) in batch.others.iter().rev() {
                for (at, step) in at.iter_mut().zip(steps) {
                    *at += (rest % size * step * self.ty.size()) as Ptr;
                }
                rest /= size;
            }
            let [a, b, out] = at;
            let places = [b, a, bias, out];
            // SAFETY: the caller's: each call's matrices are among those of the operands.
            if !unsafe { (self.blas).run(self.device, &gemm, places, self.factors)? } {
                // What was done before is done again, unless it was added to.
                if call > 0 && self.factors[1] != 0.0 {
                    fail!("there is no memory for cuBLASLt to finish a batch of {calls} products");
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn batch(&self, operands: &[Matrices<'_>; 2]) -> Batch {
        let [a, b] = operands;
        let mut sizes = self.sizes;
        let [m, n, k] = sizes;
        let out = row_major(&[self.batch, &[m, n]].concat());
        let mut dims: SmallVec<[(usize, [usize; 3]); 4]> = SmallVec::new();
        for (i, &d) in self.batch.iter().enumerate().filter(|&(_, &d)| d != 1) {
            let steps = [a.batches[i], b.batches[i], out[i]];
            match dims.last_mut() {
                Some(last) if last.1 == steps.map(|s| d * s) => *last = (last.0 * d, steps),
                _ => dims.push((d, steps)),
            }
        }
        let mut row = a.row;
        // One right operand for all: the batch is more rows.
        if let Some(&(d, [a_step, 0, _])) = dims.last()
            && (m == 1 || a_step == m * row)
        {
            let rows = if m == 1 { a_step } else { row };
            if taken([m * d, k], [rows, a.column]).is_some() {
                (row, sizes[0]) = (rows, m * d);
                dims.pop();
            }
        }
        let largest = (0..dims.len()).max_by_key(|&i| dims[i].0);
        let one = largest.map_or((1, [0; 3]), |i| dims.remove(i));
        Batch {
            sizes,
            row,
            one,
            others: dims,
        }
    }
}
