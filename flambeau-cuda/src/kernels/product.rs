//! Matrix products and convolutions without a library.

use super::{BLOCK, Launches, Memory, Reduce, flat, part_count, reduce};
use crate::{Launch, Layout, Pod, Ptr, Type, Unit, View};

/// Rows and columns of the tile that a block computes.
const TILE: usize = 64;

/// One operand of a product: a matrix for each batch.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The first element.
    pub ptr: Ptr,
    /// The strides of the batch dimensions; 0 where it is broadcast.
    pub batches: &'a [usize],
    /// From a row to the next.
    pub row: usize,
    /// From a column to the next.
    pub column: usize,
}

/// `Product` of `matmul.cu`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Sizes {
    sizes: [i64; 4],
    strides: [i64; 4],
    alpha: f64,
    beta: f64,
}

// SAFETY: numbers of eight bytes, as in the C++ struct.
unsafe impl Pod for Sizes {}

/// `out = alpha * a @ b + beta * out + bias`, `out` contiguous `[batch…, m, n]` of type `to`; `bias`
/// `[n]` of that type, or 0. Integers in 64 bits, wrapping. `None` where there is no result; `k` of 0
/// gives zeros and the bias.
///
/// # Panics
/// If the batches do not join to few enough dimensions.
#[allow(clippy::too_many_arguments)]
pub fn matmul(
    (ty, to): (Type, Type),
    batch: &[usize],
    [m, n, k]: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    [alpha, beta]: [f64; 2],
    bias: Ptr,
    out: Ptr,
) -> Option<Launch> {
    let batches: usize = batch.iter().product();
    if batches * m * n == 0 {
        return None;
    }
    let layout = Layout::new(batch, [a.batches, b.batches]);
    let layout = layout.unwrap_or_else(|| panic!("batches of {batch:?} do not join"));
    let deep = |yes: bool| if yes { "1" } else { "0" };
    let unit = Unit::new("matmul.cu")
        .define("ELEMENT", ty.name())
        .define("ACC", ty.accumulate().name())
        .define("OUT", to.name())
        .define("A_DEEP", deep(a.column <= a.row))
        .define("B_DEEP", deep(b.row < b.column));
    let tiles = m.div_ceil(TILE) * n.div_ceil(TILE);
    let mut launch = flat(unit, "matmul", tiles as u32);
    launch.grid[1] = batches.min(65535) as u32;
    let sizes = Sizes {
        sizes: [batches, m, n, k].map(|v| v as i64),
        strides: [a.row, a.column, b.row, b.column].map(|v| v as i64),
        alpha,
        beta,
    };
    let args = launch.args.push(a.ptr).push(b.ptr).push(bias).push(out);
    args.push(sizes).push(layout);
    Some(launch)
}

/// The geometry of a convolution: `Conv` of `conv.cu`. Fewer than three dimensions have sizes of 1
/// in front.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Conv {
    batch: i64,
    in_channels: i32,
    out_channels: i32,
    groups: i32,
    input: [i32; 3],
    output: [i32; 3],
    kernel: [i32; 3],
    stride: [i32; 3],
    padding: [i32; 3],
    dilation: [i32; 3],
    channels_last: i32,
}

// SAFETY: integers whose sizes leave no padding; the C++ struct has the same fields.
unsafe impl Pod for Conv {}

impl Conv {
    /// Of so many samples, channels in and out, and groups, with the spatial sizes of input, output
    /// and kernel, and the steps.
    pub fn new(
        batch: usize,
        [in_channels, out_channels, groups]: [usize; 3],
        sizes: [[usize; 3]; 3],
        steps: [[usize; 3]; 3],
    ) -> Conv {
        let ints = |v: [usize; 3]| v.map(|v| v as i32);
        let [input, output, kernel] = sizes.map(ints);
        let [stride, padding, dilation] = steps.map(ints);
        Conv {
            batch: batch as i64,
            in_channels: in_channels as i32,
            out_channels: out_channels as i32,
            groups: groups as i32,
            input,
            output,
            kernel,
            stride,
            padding,
            dilation,
            channels_last: 0,
        }
    }

    /// Of maps and weights whose channels are innermost.
    pub fn channels_last(self, last: bool) -> Conv {
        Conv {
            channels_last: i32::from(last),
            ..self
        }
    }

    fn launch(&self, ty: [Type; 2], entry: &'static str, m: usize, n: usize) -> Launch {
        let unit = Unit::new("conv.cu")
            .define("ELEMENT", ty[0].name())
            .define("W", ty[1].name())
            .define("ACC", ty[0].accumulate().name());
        let tiles = m.div_ceil(TILE) * n.div_ceil(TILE);
        let mut launch = flat(unit, entry, tiles as u32);
        launch.block[0] = BLOCK;
        launch.grid[1] = self.groups as u32;
        launch
    }

    /// The output of `x`, weight and bias (which may be 0). `types`: of the maps, of weight and
    /// bias.
    pub fn forward(&self, types: [Type; 2], x: Ptr, [w, bias]: [Ptr; 2], y: Ptr) -> Option<Launch> {
        let (outs, n) = (
            self.out_channels / self.groups,
            self.batch as usize * volume(self.output),
        );
        let mut launch = (outs as usize * n > 0)
            .then(|| self.launch(types, "conv_forward", outs as usize, n))?;
        launch.args.push(x).push(w).push(bias).push(y).push(*self);
        Some(launch)
    }

    /// The gradient of the input; the forward of a transposed convolution, which may have a bias for
    /// each of its channels.
    pub fn data(
        &self,
        types: [Type; 2],
        grad: Ptr,
        [w, bias]: [Ptr; 2],
        out: Ptr,
    ) -> Option<Launch> {
        let (ins, n) = (
            self.in_channels / self.groups,
            self.batch as usize * volume(self.input),
        );
        let mut launch =
            (ins as usize * n > 0).then(|| self.launch(types, "conv_data", ins as usize, n))?;
        launch
            .args
            .push(grad)
            .push(w)
            .push(bias)
            .push(out)
            .push(*self);
        Some(launch)
    }

    /// The gradient of the weight.
    pub fn weight(
        &self,
        types: [Type; 2],
        [x, grad]: [Ptr; 2],
        out: Ptr,
        memory: Memory<'_>,
    ) -> Launches {
        let (outs, ins) = (
            self.out_channels / self.groups,
            self.in_channels / self.groups,
        );
        let n = ins as usize * volume(self.kernel);
        let size = self.out_channels as usize * n;
        if size == 0 {
            return Launches::new();
        }
        let terms = self.batch as usize * volume(self.output);
        // Parts long enough to outweigh writing and adding them, few enough to be added quickly.
        let (pieces, piece) = part_count(terms, 2048, 64);
        let acc = types[0].accumulate();
        let parts = if pieces > 1 {
            memory(pieces * size * acc.size())
        } else {
            0
        };
        let mut launch = self.launch(types, "conv_weight", outs as usize, n);
        launch.grid[2] = pieces as u32;
        let args = launch.args.push(x).push(grad).push(out).push(parts);
        args.push(*self).push(piece as i64);
        let mut launches = Launches::from_iter([launch]);
        if pieces > 1 {
            let strides = [size, 1];
            let x = View {
                ptr: parts,
                ty: acc,
                strides: &strides,
            };
            let sum = reduce(
                Reduce::Sum,
                &[pieces, size],
                &[0],
                x,
                (out, types[1]),
                0,
                memory,
            );
            launches.extend(sum.unwrap_or_default());
        }
        launches
    }
}

fn volume(size: [i32; 3]) -> usize {
    size.iter().map(|&s| s as usize).product()
}
