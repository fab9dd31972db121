//! The inner loops, written once over [`Vector`] and compiled for each kind of vector.

// Indices over registers: what varies together is plainer with them than with zipped iterators.
#![allow(clippy::needless_range_loop)]

use super::GemmScalar;

/// A SIMD vector. Its methods are `unsafe` because they may need CPU features; the ones that take
/// pointers also need the memory they name.
pub(super) trait Vector: Copy {
    type Scalar: GemmScalar;
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
    /// `dst[c * dst_stride + r] = src[r * stride + c]` for `r < rows`, `c < cols`, both at most
    /// BLOCK. May write up to BLOCK elements at each `dst[c * dst_stride]`.
    unsafe fn transpose(
        src: *const Self::Scalar,
        stride: usize,
        rows: usize,
        cols: usize,
        dst: *mut Self::Scalar,
        dst_stride: usize,
    );
}

/// What a tile kernel is told: `c = alpha * a * b + beta * c` on a tile of `c`.
pub(super) struct Tile<T> {
    pub k: usize,
    pub alpha: T,
    pub a: *const T,
    /// Ignored by kernels for packed `a`, in which a column's elements are neighbours.
    pub a_strides: (usize, usize),
    /// Rows of `b` and `c` are contiguous.
    pub b: *const T,
    pub b_stride: usize,
    pub beta: T,
    pub c: *mut T,
    pub c_stride: usize,
    /// Width of the tile: more than `(NV - 1) * LANES`, at most `NV * LANES`.
    pub cols: usize,
}

/// A tile of `MR` rows and up to `NV` vectors: `MR * NV` running sums in registers.
///
/// # Safety
/// The CPU must have the features of `V`; `t` must describe memory that may be read and written.
#[inline(always)]
pub(super) unsafe fn tile<V: Vector, const MR: usize, const NV: usize, const PACKED: bool>(
    t: &Tile<V::Scalar>,
) {
    // SAFETY: the caller vouches for the elements of the three matrices; nothing else is
    // touched: the last vector of a row is cut to the tile's width, and the pointers that step
    // beyond the end after the last round are not read.
    unsafe {
        let (row, col) = match PACKED {
            true => (1, MR),
            false => t.a_strides,
        };
        let zero = V::splat(V::Scalar::ZERO);
        let last = t.cols - (NV - 1) * V::LANES;
        let mut acc = [[zero; NV]; MR];
        let (mut a, mut b) = (t.a, t.b);
        for _ in 0..t.k {
            let mut bv = [zero; NV];
            for v in 0..NV - 1 {
                bv[v] = V::load(b.add(v * V::LANES));
            }
            bv[NV - 1] = V::load_first(b.add((NV - 1) * V::LANES), last);
            for i in 0..MR {
                let av = V::splat(*a.add(i * row));
                for v in 0..NV {
                    acc[i][v] = av.mul_add(bv[v], acc[i][v]);
                }
            }
            a = a.wrapping_add(col);
            b = b.wrapping_add(t.b_stride);
        }
        let (alpha, beta) = (V::splat(t.alpha), V::splat(t.beta));
        for i in 0..MR {
            for v in 0..NV {
                let c = t.c.add(i * t.c_stride + v * V::LANES);
                let n = if v == NV - 1 { last } else { V::LANES };
                let mut sum = acc[i][v].mul(alpha);
                if t.beta != V::Scalar::ZERO {
                    sum = beta.mul_add(V::load_first(c, n), sum);
                }
                if v == NV - 1 {
                    sum.store_first(c, n);
                } else {
                    sum.store(c);
                }
            }
        }
    }
}

/// What a dot kernel is told: rows of `a` times columns of `b`, both contiguous along `k`.
pub(super) struct Dots<T> {
    pub k: usize,
    pub alpha: T,
    pub a: *const T,
    pub a_stride: usize,
    pub b: *const T,
    pub b_stride: usize,
    pub beta: T,
    pub c: *mut T,
    pub c_stride: usize,
    /// Number of columns of `b`.
    pub n: usize,
}

/// `MR` rows times all columns, four columns at a time, vectors running along `k`. For operands
/// whose transposition would cost more than the product.
///
/// # Safety
/// As [`tile`].
#[inline(always)]
pub(super) unsafe fn dots<V: Vector, const MR: usize>(t: &Dots<V::Scalar>) {
    // SAFETY: the caller vouches for the matrices. Columns past the last are read as the last
    // and dropped; loads at the end of a row are cut to its length.
    unsafe {
        let zero = V::splat(V::Scalar::ZERO);
        let whole = t.k - t.k % V::LANES;
        for j in (0..t.n).step_by(4) {
            let cols = (t.n - j).min(4);
            let mut b = [t.b; 4];
            for x in 0..4 {
                b[x] = t.b.add((j + x.min(cols - 1)) * t.b_stride);
            }
            let mut acc = [[zero; 4]; MR];
            let mut p = 0;
            while p < whole {
                let mut bv = [zero; 4];
                for x in 0..4 {
                    bv[x] = V::load(b[x].add(p));
                }
                for i in 0..MR {
                    let av = V::load(t.a.add(i * t.a_stride + p));
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
                    let av = V::load_first(t.a.add(i * t.a_stride + p), rest);
                    for x in 0..4 {
                        acc[i][x] = av.mul_add(bv[x], acc[i][x]);
                    }
                }
            }
            for i in 0..MR {
                let sums = V::sum4(acc[i]);
                for x in 0..cols {
                    let c = t.c.add(i * t.c_stride + j + x);
                    let sum = t.alpha * sums[x];
                    *c = match t.beta == V::Scalar::ZERO {
                        true => sum,
                        false => sum + t.beta * *c,
                    };
                }
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

/// Copies pieces of `k` rows whose elements are `(row, col)` apart in `src`.
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
    src: *const V::Scalar,
    (row, col): (usize, usize),
    dst: *mut V::Scalar,
) {
    // SAFETY: the caller vouches for the source and the room in `dst`.
    unsafe {
        if col == 1 {
            for p in 0..k {
                for piece in pieces {
                    let s = src.add(p * row + piece.first);
                    // Rows far apart are beyond what the hardware foresees.
                    V::prefetch(s.wrapping_add(8 * row));
                    V::prefetch(s.wrapping_add(8 * row + piece.width - 1));
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
            if row != 1 {
                for p in 0..k {
                    for i in 0..piece.width {
                        *d.add(p * piece.stride + i) = *s.add(p * row + i * col);
                    }
                }
                continue;
            }
            // Last block first: what it writes past the rows' ends, the first one mends.
            for i in (0..piece.width).step_by(V::BLOCK).rev() {
                for p in (0..k).step_by(V::BLOCK) {
                    V::transpose(
                        s.add(i * col + p),
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

pub(super) type TileFn<T> = unsafe fn(&Tile<T>);
pub(super) type DotsFn<T> = unsafe fn(&Dots<T>);
pub(super) type PackFn<T> = unsafe fn(usize, &[Piece], *const T, (usize, usize), *mut T);

/// The kernels of one kind of vector.
pub struct Kernels<T: 'static> {
    pub(super) lanes: usize,
    /// `tiles[nv - 1][mr - 1]`. The first two widths have the same number of rows, the wider ones
    /// fewer.
    pub(super) tiles: [&'static [TileFn<T>]; 4],
    /// The same for packed `a`, up to two vectors wide.
    pub(super) packed: [&'static [TileFn<T>]; 2],
    /// `dots[mr - 1]`.
    pub(super) dots: &'static [DotsFn<T>],
    pub(super) pack: PackFn<T>,
}

/// Defines a static [`Kernels`] for a vector type, in functions with the features named.
macro_rules! kernels {
    ($(#[$feature:meta])* $name:ident: $v:ty, tall [$($mr:literal)*], wide [$($wide:literal)*], dots [$($dot:literal)*]) => {
        pub static $name: Kernels<<$v as Vector>::Scalar> = {
            type T = <$v as Vector>::Scalar;

            // SAFETY (all three): the caller's duties are those of the function called.
            $(#[$feature])*
            unsafe fn tile<const MR: usize, const NV: usize, const PACKED: bool>(t: &Tile<T>) {
                // SAFETY: as above.
                unsafe { kernel::tile::<$v, MR, NV, PACKED>(t) }
            }

            $(#[$feature])*
            unsafe fn dots<const MR: usize>(t: &Dots<T>) {
                // SAFETY: as above.
                unsafe { kernel::dots::<$v, MR>(t) }
            }

            $(#[$feature])*
            unsafe fn pack(
                k: usize,
                pieces: &[Piece],
                src: *const T,
                strides: (usize, usize),
                dst: *mut T,
            ) {
                // SAFETY: as above.
                unsafe { kernel::pack::<$v>(k, pieces, src, strides, dst) }
            }

            Kernels {
                lanes: <$v as Vector>::LANES,
                tiles: [
                    &[$(tile::<$mr, 1, false>),*],
                    &[$(tile::<$mr, 2, false>),*],
                    &[$(tile::<$wide, 3, false>),*],
                    &[$(tile::<$wide, 4, false>),*],
                ],
                packed: [&[$(tile::<$mr, 1, true>),*], &[$(tile::<$mr, 2, true>),*]],
                dots: &[$(dots::<$dot>),*],
                pack,
            }
        };
    };
}
pub(super) use kernels;
