//! The inner loops, written once over [`Vector`] and compiled for each kind of vector.

// Indices over registers: what varies together is plainer with them than with zipped iterators.
#![allow(clippy::needless_range_loop)]

use super::Real;

/// A SIMD vector. Its methods are `unsafe` because they may need CPU features; the ones that take
/// pointers also need the memory they name.
pub(super) trait Vector: Copy {
    type Scalar: Real;
    const LANES: usize;
    /// Rows and columns that [`Vector::transpose`] takes.
    const BLOCK: usize;

    /// Asks for a cache line; any address will do.
    #[inline(always)]
    unsafe fn prefetch(p: *const Self::Scalar) {
        let _ = p;
    }
    unsafe fn splat(x: Self::Scalar) -> Self;
    unsafe fn load(p: *const Self::Scalar) -> Self;
    /// Loads the first `n <= LANES` elements and touches no others; the rest is 0.
    unsafe fn load_first(p: *const Self::Scalar, n: usize) -> Self;
    unsafe fn store(self, p: *mut Self::Scalar);
    /// Stores the first `n <= LANES` elements and touches no others.
    unsafe fn store_first(self, p: *mut Self::Scalar, n: usize);
    /// `self * x + y`.
    unsafe fn mul_add(self, x: Self, y: Self) -> Self;
    unsafe fn mul(self, x: Self) -> Self;
    /// The sums of four vectors' lanes.
    unsafe fn sum4(v: [Self; 4]) -> [Self::Scalar; 4];
    /// `dst[c * dst_stride + r] = src[c]` in row `r < rows` of `src`, `c < cols`, both at most BLOCK;
    /// rows of `src` are `stride` bytes apart. May write up to BLOCK elements at each
    /// `dst[c * dst_stride]`.
    unsafe fn transpose(
        src: *const Self::Scalar,
        stride: usize,
        rows: usize,
        cols: usize,
        dst: *mut Self::Scalar,
        dst_stride: usize,
    );
}

/// What a tile kernel is told: `c = alpha * a * b + beta * d` on a tile of `c`. Distances are in
/// bytes.
pub(super) struct Tile {
    /// Elements along `k`.
    pub k: usize,
    pub alpha: f64,
    pub a: *const u8,
    /// From row to row, and from step to step along `k` (of one element, or of a pair).
    pub a_row: usize,
    pub a_step: usize,
    /// Rows (of elements, or packed pairs) are contiguous.
    pub b: *const u8,
    pub b_step: usize,
    /// Where 0, `d` is not read.
    pub beta: f64,
    pub d: Mat,
    /// Rows are contiguous.
    pub c: *mut u8,
    pub c_row: usize,
    /// `c` and `d` are of the half type: for kernels that [narrow](Kernels::narrows).
    pub half: bool,
    /// Height of the tile: `MR`.
    pub rows: usize,
    /// Width of the tile: more than `(NV - 1) * LANES`, at most `NV * LANES`.
    pub cols: usize,
}

/// A matrix in memory. The distances of its rows and columns are in bytes.
#[derive(Clone, Copy)]
pub(super) struct Mat {
    pub at: *mut u8,
    pub row: usize,
    pub col: usize,
}

impl Mat {
    /// The address of an element; valid where it is one of the matrix.
    #[inline(always)]
    pub fn at(self, row: usize, col: usize) -> *mut u8 {
        self.at.wrapping_add(row * self.row + col * self.col)
    }

    /// The matrix that begins at an element.
    #[inline(always)]
    pub fn from(self, row: usize, col: usize) -> Mat {
        Mat {
            at: self.at(row, col),
            ..self
        }
    }

    #[inline(always)]
    pub fn turned(self) -> Mat {
        Mat {
            at: self.at,
            row: self.col,
            col: self.row,
        }
    }
}

/// A tile of `MR` rows and up to `NV` vectors: `MR * NV` running sums in registers.
///
/// # Safety
/// The CPU must have the features of `V`; `t` must describe memory that may be read and written.
#[inline(always)]
pub(super) unsafe fn tile<V: Vector, const MR: usize, const NV: usize>(t: &Tile) {
    // SAFETY: the caller vouches for the elements of the matrices; nothing else is touched: the
    // last vector of a row is cut to the tile's width, and the pointers that step beyond the end
    // after the last round are not read.
    unsafe {
        let zero = V::splat(V::Scalar::ZERO);
        let last = t.cols - (NV - 1) * V::LANES;
        let mut acc = [[zero; NV]; MR];
        let (mut a, mut b) = (t.a, t.b);
        // Asked for now, what is written after a long sum is there by then.
        if t.k >= 128 {
            for i in 0..MR {
                let c: *const V::Scalar = t.c.add(i * t.c_row).cast();
                for v in 0..NV {
                    V::prefetch(c.wrapping_add(v * V::LANES));
                }
            }
        }
        for _ in 0..t.k {
            let row: *const V::Scalar = b.cast();
            // Unpacked rows far apart are beyond what the hardware foresees.
            let ahead = b.wrapping_add(8 * t.b_step).cast::<V::Scalar>();
            let mut bv = [zero; NV];
            for v in 0..NV - 1 {
                V::prefetch(ahead.wrapping_add(v * V::LANES));
                bv[v] = V::load(row.add(v * V::LANES));
            }
            V::prefetch(ahead.wrapping_add((NV - 1) * V::LANES));
            bv[NV - 1] = V::load_first(row.add((NV - 1) * V::LANES), last);
            for i in 0..MR {
                let av = V::splat(*a.add(i * t.a_row).cast());
                for v in 0..NV {
                    acc[i][v] = av.mul_add(bv[v], acc[i][v]);
                }
            }
            a = a.wrapping_add(t.a_step);
            b = b.wrapping_add(t.b_step);
        }
        finish(t, acc);
    }
}

/// Writes the sums of a tile: `c = alpha * acc + beta * d`.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
pub(super) unsafe fn finish<V: Vector, const MR: usize, const NV: usize>(
    t: &Tile,
    acc: [[V; NV]; MR],
) {
    // SAFETY: the caller vouches for `c` and `d`.
    unsafe {
        let last = t.cols - (NV - 1) * V::LANES;
        let plain = t.alpha == 1.0 && t.beta == 0.0;
        let (alpha, beta) = (V::Scalar::of(t.alpha), V::splat(V::Scalar::of(t.beta)));
        let alpha = V::splat(alpha);
        for i in 0..MR {
            let c: *mut V::Scalar = t.c.add(i * t.c_row).cast();
            let d: *const V::Scalar = t.d.at(i, 0).cast_const().cast();
            for v in 0..NV {
                let n = if v == NV - 1 { last } else { V::LANES };
                let mut sum = acc[i][v];
                if !plain {
                    sum = sum.mul(alpha);
                    if t.beta != 0.0 {
                        let old = match t.d.col {
                            0 => V::splat(*d),
                            _ => V::load_first(d.add(v * V::LANES), n),
                        };
                        sum = beta.mul_add(old, sum);
                    }
                }
                if v == NV - 1 {
                    sum.store_first(c.add(v * V::LANES), n);
                } else {
                    sum.store(c.add(v * V::LANES));
                }
            }
        }
    }
}

/// What a dot kernel is told: rows of `a` times columns of `b`, both contiguous along `k`.
/// Distances are in bytes.
pub(super) struct Dots {
    pub k: usize,
    pub alpha: f64,
    pub a: *const u8,
    pub a_row: usize,
    pub b: *const u8,
    pub b_col: usize,
    /// Where 0, `d` is not read.
    pub beta: f64,
    pub d: Mat,
    pub c: *mut u8,
    pub c_row: usize,
    /// Number of columns of `b`.
    pub n: usize,
}

/// `MR` rows times all columns, four columns at a time, vectors running along `k`. For operands
/// whose transposition would cost more than the product.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
pub(super) unsafe fn dots<V: Vector, const MR: usize>(t: &Dots) {
    // SAFETY: the caller vouches for the matrices. Columns past the last are read as the last
    // and dropped; loads at the end of a row are cut to its length.
    unsafe {
        let zero = V::splat(V::Scalar::ZERO);
        let whole = t.k - t.k % V::LANES;
        for j in (0..t.n).step_by(4) {
            let cols = (t.n - j).min(4);
            let mut b = [t.b.cast::<V::Scalar>(); 4];
            for x in 0..4 {
                b[x] = t.b.add((j + x.min(cols - 1)) * t.b_col).cast();
            }
            let a = |i: usize| t.a.wrapping_add(i * t.a_row).cast::<V::Scalar>();
            let mut acc = [[zero; 4]; MR];
            let mut p = 0;
            while p < whole {
                let mut bv = [zero; 4];
                for x in 0..4 {
                    bv[x] = V::load(b[x].add(p));
                }
                for i in 0..MR {
                    let av = V::load(a(i).add(p));
                    for x in 0..4 {
                        acc[i][x] = av.mul_add(bv[x], acc[i][x]);
                    }
                }
                p += V::LANES;
            }
            if p < t.k {
                let rest = t.k - p;
                let mut bv = [zero; 4];
                for x in 0..4 {
                    bv[x] = V::load_first(b[x].add(p), rest);
                }
                for i in 0..MR {
                    let av = V::load_first(a(i).add(p), rest);
                    for x in 0..4 {
                        acc[i][x] = av.mul_add(bv[x], acc[i][x]);
                    }
                }
            }
            finish_dots(t, j, cols, acc);
        }
    }
}

/// Writes the sums of columns `j..j + cols`.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
pub(super) unsafe fn finish_dots<V: Vector, const MR: usize>(
    t: &Dots,
    j: usize,
    cols: usize,
    acc: [[V; 4]; MR],
) {
    let (alpha, beta) = (V::Scalar::of(t.alpha), V::Scalar::of(t.beta));
    for i in 0..MR {
        // SAFETY: the caller vouches for the elements of `c` and `d`.
        unsafe {
            let sums = V::sum4(acc[i]);
            let c: *mut V::Scalar = t.c.add(i * t.c_row).cast();
            for x in 0..cols {
                let sum = alpha * sums[x];
                *c.add(j + x) = match t.beta == 0.0 {
                    true => sum,
                    false => sum + beta * *t.d.at(i, j + x).cast::<V::Scalar>(),
                };
            }
        }
    }
}

/// What a row kernel is told: it adds the product of `m` rows of `a` to those of `c`, whose rows
/// and `b`'s are contiguous. Distances are in bytes.
pub(super) struct Rows {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Mat,
    pub b: *const u8,
    pub b_row: usize,
    pub c: *mut u8,
    pub c_row: usize,
}

/// Rows of `b` added at a time: streams that the hardware follows.
const STREAMS: usize = 8;

/// A few rows times a large `b`, which is read in long runs and once.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
pub(super) unsafe fn rows<V: Vector>(t: &Rows) {
    let whole = t.k - t.k % STREAMS;
    // SAFETY: handed on.
    unsafe {
        for p in (0..whole).step_by(STREAMS) {
            add_rows::<V, STREAMS>(t, p);
        }
        for p in whole..t.k {
            add_rows::<V, 1>(t, p);
        }
    }
}

/// # Safety
/// As [`tile`].
#[inline(always)]
unsafe fn add_rows<V: Vector, const N: usize>(t: &Rows, p: usize) {
    // SAFETY: the caller vouches for the matrices; the last vector of a row is cut to its end.
    unsafe {
        for j in (0..t.n).step_by(V::LANES) {
            let width = (t.n - j).min(V::LANES);
            let mut bv = [V::splat(V::Scalar::ZERO); N];
            for r in 0..N {
                let row: *const V::Scalar = t.b.add((p + r) * t.b_row).cast();
                bv[r] = V::load_first(row.add(j), width);
            }
            for i in 0..t.m {
                let c: *mut V::Scalar = t.c.add(i * t.c_row).cast();
                let mut sum = V::load_first(c.add(j), width);
                for r in 0..N {
                    let av = V::splat(*t.a.at(i, p + r).cast());
                    sum = av.mul_add(bv[r], sum);
                }
                sum.store_first(c.add(j), width);
            }
        }
    }
}

/// A part of the columns that [`pack`] copies.
#[derive(Clone, Copy, Default)]
pub(super) struct Piece {
    /// The first column and the number of them.
    pub first: usize,
    pub width: usize,
    /// Where the piece starts in `dst`, and the distance of its rows there.
    pub to: usize,
    pub stride: usize,
}

/// Copies pieces of `k` rows whose elements are `(row, col)` bytes apart in `src`.
///
/// Pieces of contiguous rows are copied side by side, row by row, so that memory is read in long
/// runs.
///
/// # Safety
/// As [`tile`]. A row's store may reach up to a vector beyond its end, but for the last row's of
/// pieces of contiguous rows; rows are written in order and pieces too, so `dst` needs a vector's
/// room after the last piece only.
#[inline(always)]
pub(super) unsafe fn pack<V: Vector>(
    k: usize,
    pieces: &[Piece],
    src: *const u8,
    (row, col): (usize, usize),
    dst: *mut u8,
) {
    let size = size_of::<V::Scalar>();
    let dst: *mut V::Scalar = dst.cast();
    // SAFETY: the caller vouches for the source and the room in `dst`.
    unsafe {
        if col == size {
            for p in 0..k {
                for piece in pieces {
                    let s: *const V::Scalar = src.add(p * row).cast();
                    let s = s.add(piece.first);
                    // Rows far apart are beyond what the hardware foresees.
                    V::prefetch(s.wrapping_byte_add(8 * row));
                    V::prefetch(s.wrapping_byte_add(8 * row).wrapping_add(piece.width - 1));
                    let d = dst.add(piece.to + p * piece.stride);
                    let mut i = 0;
                    while i + V::LANES <= piece.width {
                        V::load(s.add(i)).store(d.add(i));
                        i += V::LANES;
                    }
                    if i < piece.width {
                        let rest = V::load_first(s.add(i), piece.width - i);
                        // The next piece's first row may be there already.
                        match p + 1 < k {
                            true => rest.store(d.add(i)),
                            false => rest.store_first(d.add(i), piece.width - i),
                        }
                    }
                }
            }
            return;
        }
        for piece in pieces {
            let (s, d) = (src.add(piece.first * col), dst.add(piece.to));
            if row != size {
                for p in 0..k {
                    for i in 0..piece.width {
                        *d.add(p * piece.stride + i) = *s.add(p * row + i * col).cast();
                    }
                }
                continue;
            }
            // Last block first: what it writes past the rows' ends, the first one mends.
            for i in (0..piece.width).step_by(V::BLOCK).rev() {
                for p in (0..k).step_by(V::BLOCK) {
                    V::transpose(
                        s.add(i * col + p * size).cast(),
                        col,
                        (piece.width - i).min(V::BLOCK),
                        (k - p).min(V::BLOCK),
                        d.add(p * piece.stride + i),
                        piece.stride,
                    );
                }
            }
        }
    }
}

pub(super) type TileFn = unsafe fn(&Tile);
pub(super) type DotsFn = unsafe fn(&Dots);
pub(super) type RowsFn = unsafe fn(&Rows);
pub(super) type PackFn = unsafe fn(usize, &[Piece], *const u8, (usize, usize), *mut u8);

/// How one element type is multiplied with one kind of vector or tile unit. Pointers carry no
/// types here, so that the driver around the kernels is compiled once.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// Bytes of an element of the operands, and of a sum (which is also the size of what is
    /// packed: an element in the sums' type, or a pair of elements).
    pub(super) element: usize,
    pub(super) sum: usize,
    /// Elements along `k` that are packed as one.
    pub(super) pair: usize,
    /// Sums in a vector.
    pub(super) lanes: usize,
    /// `direct[nv - 1][mr - 1]`, for unpacked `b`. The first two widths have the same number of
    /// rows, the wider ones fewer. Empty where `b` is always packed.
    pub(super) direct: &'static [&'static [TileFn]],
    /// The same for packed `b`, one and two vectors wide.
    pub(super) packed: [&'static [TileFn]; 2],
    /// `dots[mr - 1]`; may be empty.
    pub(super) dots: &'static [DotsFn],
    pub(super) rows: Option<RowsFn>,
    pub(super) pack: PackFn,
    /// Of half types: how sums get into `c`.
    pub(super) half: Option<&'static Half>,
    /// Tile kernels other than a unit's write the half type themselves.
    pub(super) narrows: bool,
    /// Half types that are packed as their sums' type, which both operands are then.
    pub(super) widened: bool,
    /// A tile unit's packing of `a`.
    pub(super) unit: Option<Unit>,
}

impl Kernels {
    /// Multiply-adds below which a further thread does not pay.
    pub(super) fn task(&self) -> usize {
        match self.unit {
            // Sixteen times as fast, or more.
            Some(_) => 32 * super::TASK,
            None => super::TASK,
        }
    }
}

/// Conversions of a half type.
#[derive(Debug)]
pub(super) struct Half {
    pub widen: fn(&[u16], &mut [f32]),
    pub narrow: fn(&[f32], &mut [u16]),
}

/// A tile unit takes `a` in row-major panels of `rows` rows, and `k` in multiples of `pairs` pairs,
/// filled with zeros.
#[derive(Clone, Copy)]
pub(super) struct Unit {
    pub rows: usize,
    pub pairs: usize,
    /// Steps along `k` of one pass: a panel of `b` and a tile's rows of `a` lie in the L1 cache
    /// together. The sums are read and written once for each pass.
    pub depth: usize,
    /// Packed units of a block of `a`: a good part of the L2 cache, for a panel comes from beyond.
    pub block: usize,
    pub pack_a: PackFn,
    /// Called on a thread before and after its tiles.
    pub enter: fn(),
    pub leave: fn(),
}

/// Defines the [`Kernels`] of a vector type, in functions with the features named.
macro_rules! kernels {
    ($(#[$feature:meta])* $name:ident: $v:ty, tall [$($mr:literal)*], wide [$($wide:literal)*], dots [$($dot:literal)*]) => {
        pub const $name: Kernels = {
            // SAFETY (all four): the caller's duties are those of the function called.
            $(#[$feature])*
            unsafe fn tile<const MR: usize, const NV: usize>(t: &Tile) {
                // SAFETY: as above.
                unsafe { kernel::tile::<$v, MR, NV>(t) }
            }

            $(#[$feature])*
            unsafe fn dots<const MR: usize>(t: &Dots) {
                // SAFETY: as above.
                unsafe { kernel::dots::<$v, MR>(t) }
            }

            $(#[$feature])*
            unsafe fn rows(t: &Rows) {
                // SAFETY: as above.
                unsafe { kernel::rows::<$v>(t) }
            }

            $(#[$feature])*
            unsafe fn pack(
                k: usize,
                pieces: &[Piece],
                src: *const u8,
                strides: (usize, usize),
                dst: *mut u8,
            ) {
                // SAFETY: as above.
                unsafe { kernel::pack::<$v>(k, pieces, src, strides, dst) }
            }

            const TALL: [&[TileFn]; 2] = [&[$(tile::<$mr, 1>),*], &[$(tile::<$mr, 2>),*]];
            const SIZE: usize = size_of::<<$v as Vector>::Scalar>();
            Kernels {
                element: SIZE,
                sum: SIZE,
                pair: 1,
                lanes: <$v as Vector>::LANES,
                direct: &[TALL[0], TALL[1], &[$(tile::<$wide, 3>),*], &[$(tile::<$wide, 4>),*]],
                packed: TALL,
                dots: &[$(dots::<$dot>),*],
                rows: Some(rows),
                pack,
                half: None,
                narrows: false,
                widened: false,
                unit: None,
            }
        };
    };
}
pub(super) use kernels;
