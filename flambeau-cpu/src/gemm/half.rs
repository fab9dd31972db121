//! Half types: conversions, and packing by way of `f32` where the CPU does not multiply them.

use super::kernel::{Half, Kernels, PackFn, Piece};

pub(super) const BF16: Half = Half {
    widen: widen_bf16,
    narrow: narrow_bf16,
};

pub(super) const F16: Half = Half {
    widen: widen_f16,
    narrow: narrow_f16,
};

/// The kernels of a half type that is widened to `f32` while it is packed.
pub(super) const fn widened(by: Kernels, half: &'static Half) -> Kernels {
    Kernels {
        element: 2,
        direct: &[],
        dots: &[],
        rows: None,
        half: Some(half),
        widened: true,
        ..by
    }
}

crate::simd_fn! {
    fn widen_bf16(x: &[u16], out: &mut [f32]) {
        for (o, &x) in out.iter_mut().zip(x) {
            *o = f32::from_bits(u32::from(x) << 16);
        }
    }

    /// Rounds to nearest, ties to even; NaN stays NaN.
    fn narrow_bf16(x: &[f32], out: &mut [u16]) {
        for (o, &x) in out.iter_mut().zip(x) {
            let bits = x.to_bits();
            let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
            *o = if x.is_nan() { (bits >> 16) as u16 | 0x40 } else { rounded };
        }
    }

    fn widen_f16(x: &[u16], out: &mut [f32]) {
        // Multiplying moves the exponent's bias, and brings denormal numbers in order too.
        let rebias = f32::from_bits((254 - 15) << 23);
        for (o, &x) in out.iter_mut().zip(x) {
            let (sign, rest) = (u32::from(x & 0x8000) << 16, u32::from(x & 0x7fff));
            let finite = (f32::from_bits(rest << 13) * rebias).to_bits();
            let value = if rest >= 0x7c00 { 0x7f80_0000 | rest << 13 } else { finite };
            *o = f32::from_bits(value | sign);
        }
    }

    /// Rounds to nearest, ties to even; NaN stays NaN.
    fn narrow_f16(x: &[f32], out: &mut [u16]) {
        for (o, &x) in out.iter_mut().zip(x) {
            let bits = x.to_bits();
            let (sign, size) = ((bits >> 16 & 0x8000) as u16, bits & 0x7fff_ffff);
            // Below 2^-14 the sum with 0.5 leaves the rounded multiple of 2^-24 in the low bits.
            let small = (f32::from_bits(size) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
            let odd = size >> 13 & 1;
            let normal = size.wrapping_sub(112 << 23).wrapping_add(0xfff + odd) >> 13;
            let finite = if size < 113 << 23 { small } else { normal };
            let value = if size >= 143 << 23 { 0x7c00 } else { finite };
            let value = if size > 255 << 23 { 0x7e00 } else { value };
            *o = value as u16 | sign;
        }
    }
}

/// As [`super::kernel::pack`], for elements of a half type and by way of a small buffer: `pack`
/// puts their `f32` values in place.
///
/// # Safety
/// As `pack`.
pub(super) unsafe fn pack(
    half: &Half,
    pack: PackFn,
    k: usize,
    pieces: &[Piece],
    src: *const u8,
    (row, col): (usize, usize),
    dst: *mut u8,
) {
    let mut buffer = [0.0f32; 2048];
    for piece in pieces {
        let whole = Piece {
            first: 0,
            to: 0,
            ..*piece
        };
        let depth = buffer.len() / piece.width;
        for p in (0..k).step_by(depth) {
            let n = depth.min(k - p);
            // Runs of neighbours: across the piece, or along k.
            let across = col == 2;
            let (runs, length) = if across {
                (n, piece.width)
            } else {
                (piece.width, n)
            };
            for run in 0..runs {
                let (r, c) = if across { (p + run, 0) } else { (p, run) };
                let out = &mut buffer[run * length..][..length];
                // SAFETY: the caller vouches for the elements at `src`.
                unsafe {
                    let from = src.add(r * row + (piece.first + c) * col);
                    if across || row == 2 {
                        (half.widen)(std::slice::from_raw_parts(from.cast(), length), out);
                    } else {
                        for (i, out) in out.iter_mut().enumerate() {
                            let one = *from.add(i * row).cast::<u16>();
                            (half.widen)(&[one], std::slice::from_mut(out));
                        }
                    }
                }
            }
            let strides = if across {
                (4 * length, 4)
            } else {
                (4, 4 * length)
            };
            // SAFETY: the buffer holds the piece's elements; the caller vouches for the room.
            unsafe {
                let to = dst.add(4 * (piece.to + p * piece.stride));
                pack(n, &[whole], buffer.as_ptr().cast(), strides, to);
            }
        }
    }
}
