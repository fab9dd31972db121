//! A plane with its padding around it, in which every window lies whole.

use super::PoolShape;
use crate::alloc::Pod;

/// The sizes of padded planes, and where windows and their elements are in them.
pub(super) struct Canvas {
    /// Sizes of the input, of the canvas, and of the output.
    input: [usize; 3],
    size: [usize; 3],
    pub(super) output: [usize; 3],
    padding: [usize; 3],
    pub(super) stride: [usize; 3],
    /// The elements of a window in the order of the kernel, counted from its first: in the canvas, and
    /// in the input.
    pub(super) taps: Vec<(usize, usize)>,
}

impl Canvas {
    pub(super) fn new(s: &PoolShape) -> Canvas {
        let output = s.valid_output();
        let size = std::array::from_fn(|d| {
            // A last window may hang over the padding.
            let reach = (output[d] - 1) * s.stride[d] + (s.kernel[d] - 1) * s.dilation[d] + 1;
            (s.input[d] + s.padding[d]).max(reach)
        });
        let mut taps = Vec::with_capacity(s.kernel.iter().product());
        let at = |size: [usize; 3], k: [usize; 3]| {
            let [d, h, w] = std::array::from_fn(|a| k[a] * s.dilation[a]);
            (d * size[1] + h) * size[2] + w
        };
        for d in 0..s.kernel[0] {
            for h in 0..s.kernel[1] {
                for w in 0..s.kernel[2] {
                    taps.push((at(size, [d, h, w]), at(s.input, [d, h, w])));
                }
            }
        }
        Canvas {
            input: s.input,
            size,
            output,
            padding: s.padding,
            stride: s.stride,
            taps,
        }
    }

    /// Where the first element of the first window of row `row` of the output lies.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> usize {
        let (d, h) = (row / self.output[1], row % self.output[1]);
        (d * self.stride[0] * self.size[1] + h * self.stride[1]) * self.size[2]
    }

    /// The same in the input; out of it where the window begins in the padding.
    #[inline(always)]
    pub(super) fn row_of_input(&self, row: usize) -> isize {
        let at =
            |axis: usize, o: usize| (o * self.stride[axis]) as isize - self.padding[axis] as isize;
        let (d, h) = (row / self.output[1], row % self.output[1]);
        let [_, height, width] = self.input.map(|n| n as isize);
        (at(0, d) * height + at(1, h)) * width - self.padding[2] as isize
    }

    /// Whether there is nothing around the plane.
    fn is_plane(&self) -> bool {
        self.size == self.input
    }

    /// The rows of the plane: where each is in it, and in the canvas.
    fn rows(&self) -> impl Iterator<Item = (usize, usize)> {
        let [depth, height, width] = self.input;
        (0..depth * height).map(move |row| {
            let (d, h) = (
                row / height + self.padding[0],
                row % height + self.padding[1],
            );
            let at = (d * self.size[1] + h) * self.size[2] + self.padding[2];
            (row * width, at)
        })
    }

    /// The plane `x` with `fill` around it; in `buffer`, unless there is nothing around it.
    #[inline(always)]
    pub(super) fn paint<'a, T: Pod>(&self, x: &'a [T], fill: T, buffer: &'a mut Vec<T>) -> &'a [T] {
        if self.is_plane() {
            return x;
        }
        self.blank(fill, buffer);
        let width = self.input[2];
        for (from, to) in self.rows() {
            buffer[to..to + width].copy_from_slice(&x[from..from + width]);
        }
        buffer
    }

    fn blank<T: Pod>(&self, fill: T, buffer: &mut Vec<T>) {
        buffer.clear();
        buffer.resize(self.size.iter().product(), fill);
    }

    /// Calls `f` with zeros for the canvas, and leaves in `plane` what then stands where it lies.
    #[inline(always)]
    pub(super) fn paint_back<T: Pod + Default>(&self, plane: &mut [T], f: impl FnOnce(&mut [T])) {
        if self.is_plane() {
            plane.fill(T::default());
            return f(plane);
        }
        let mut buffer = Vec::new();
        self.blank(T::default(), &mut buffer);
        f(&mut buffer);
        let width = self.input[2];
        for (from, to) in self.rows() {
            plane[from..from + width].copy_from_slice(&buffer[to..to + width]);
        }
    }
}

/// Runs `$body` with a constant `$b` of outputs of a row of `$width` at a time and a constant `$s`
/// for the step of its windows, 0 for one that is not among the usual ones.
macro_rules! with_block {
    ($width:expr, $stride:expr, |$b:ident, $s:ident| $body:expr) => {{
        macro_rules! of {
            ($blocks:literal, $steps:literal) => {{
                const $b: usize = $blocks;
                const $s: usize = $steps;
                $body
            }};
        }
        match ($width, $stride) {
            (16.., 1) => of!(16, 1),
            (16.., 2) => of!(16, 2),
            (16.., _) => of!(16, 0),
            (4.., 1) => of!(4, 1),
            (4.., 2) => of!(4, 2),
            (4.., _) => of!(4, 0),
            _ => of!(1, 0),
        }
    }};
}
pub(super) use with_block;

/// The firsts of blocks of `block` outputs that make up a row of `width`; the last one may begin in
/// the one before it.
pub(super) fn blocks(width: usize, block: usize) -> impl Iterator<Item = usize> {
    (0..width).step_by(block).map(move |o| o.min(width - block))
}
