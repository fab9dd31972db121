//! AMX: `bf16` products by tiles of 16 x 16 sums.
//!
//! The loops are written over [`TileUnit`], so that tests run them, and the packing, on a unit in
//! plain Rust. The CPU's unit is used where CPUID names it, the kernel grants it and it agrees
//! with the portable kernels on a small product at first use. On CPUs without AMX the tests cover the
//! loops and the packing; the instructions are only assembled.

use std::sync::OnceLock;

use super::bf16;
use super::driver::{Problem, run};
use super::half;
use super::kernel::{Kernels, Mat, Piece, Tile, TileFn, Unit};
use super::portable;
use super::unit::TileUnit;

/// Rows and columns of a tile of sums, pairs of elements in a tile of an operand.
const SIDE: usize = 16;

/// A tile kernel (see [`super::kernel::tile`]) of up to 2 x 2 tiles of sums.
///
/// # Safety
/// The unit must be configured. `a` and `b` must be packed for a tile unit: rows of `a` and panels
/// of `b` whole, `k` filled up with zeros.
#[inline(always)]
pub(super) unsafe fn tile<U: TileUnit>(unit: &mut U, t: &Tile) {
    const WIDTH: usize = 2 * SIDE;
    let (low, right) = (t.rows > SIDE, t.cols > SIDE);
    // Whole tiles of sums are read and written where they are.
    let whole = t.rows == WIDTH && t.cols == WIDTH && t.alpha == 1.0;
    let on = whole && t.beta == 1.0 && t.d.col == size_of::<f32>();
    let there = on || whole && t.beta == 0.0;
    // SAFETY: the caller vouches for the unit, the packed operands, and, where the tiles are whole,
    // the sums.
    unsafe {
        if on {
            unit.load_sums::<2, 2>(t.d.at, t.d.row, SIDE * t.d.row);
        } else {
            unit.zero::<0>();
            unit.zero::<1>();
            unit.zero::<2>();
            unit.zero::<3>();
        }
        for step in 0..t.k.div_ceil(2 * SIDE) {
            let a = t.a.add(step * SIDE * t.a_step);
            let b = t.b.add(step * SIDE * t.b_step);
            let both = [a, a.wrapping_add(SIDE * t.a_row)];
            match (low, right) {
                (true, true) => unit.step::<2, 2>(both, t.a_row, b, t.b_step),
                (true, false) => unit.step::<2, 1>(both, t.a_row, b, t.b_step),
                (false, true) => unit.step::<1, 2>([a], t.a_row, b, t.b_step),
                (false, false) => unit.step::<1, 1>([a], t.a_row, b, t.b_step),
            }
        }
        let mut sums = [[0.0f32; WIDTH]; WIDTH];
        let (at, row) = match there {
            true => (t.c, t.c_row),
            false => (sums.as_mut_ptr().cast(), 4 * WIDTH),
        };
        unit.store_sums::<2, 2>(at, row, SIDE * row);
        if !there {
            finish(t, &sums);
        }
    }
}

/// Writes the sums of a tile that is not whole, or with factors.
///
/// # Safety
/// The elements of `c` and, unless `beta` is 0, of `d` are there.
#[inline(always)]
unsafe fn finish<const WIDTH: usize>(t: &Tile, sums: &[[f32; WIDTH]; WIDTH]) {
    let (alpha, beta) = (t.alpha as f32, t.beta as f32);
    for (i, sums) in sums.iter().enumerate().take(t.rows) {
        let mut old = [0.0f32; WIDTH];
        // SAFETY: the caller's; `d` may be `c`, and is read before that is written.
        let c = unsafe {
            if t.beta != 0.0 {
                match t.d.col == size_of::<f32>() {
                    true => t.d.at(i, 0).cast::<f32>().copy_to(old.as_mut_ptr(), t.cols),
                    false => {
                        for (j, old) in old.iter_mut().enumerate().take(t.cols) {
                            *old = *t.d.at(i, j).cast::<f32>();
                        }
                    }
                }
            }
            std::slice::from_raw_parts_mut(t.c.add(i * t.c_row).cast::<f32>(), t.cols)
        };
        for ((c, &sum), &old) in c.iter_mut().zip(sums).zip(&old) {
            *c = alpha * sum + beta * old;
        }
    }
}

/// Packs rows of `a` one after the other, each filled up with zeros to its piece's stride.
///
/// # Safety
/// As [`super::kernel::pack`].
unsafe fn pack_a(
    k: usize,
    pieces: &[Piece],
    src: *const u8,
    (row, col): (usize, usize),
    dst: *mut u8,
) {
    for piece in pieces {
        for i in 0..piece.width {
            // SAFETY: the caller vouches for the source and the room.
            unsafe {
                let s = src.add((piece.first + i) * col);
                let d = dst.add((piece.to + i * piece.stride) * 4).cast::<u16>();
                if row == 2 {
                    s.copy_to_nonoverlapping(d.cast(), 2 * k);
                } else {
                    for p in 0..k {
                        *d.add(p) = s.add(p * row).cast::<u16>().read_unaligned();
                    }
                }
                d.add(k).write_bytes(0, 2 * piece.stride - k);
            }
        }
    }
}

/// The kernels of a tile unit; what is not packed goes by AVX-512-BF16.
pub(super) const fn kernels(tiles: &'static [TileFn; 2 * SIDE], run: [fn(); 2]) -> Kernels {
    Kernels {
        packed: [tiles, tiles],
        unit: Some(Unit {
            rows: 2 * SIDE,
            pairs: SIDE,
            depth: 16 * SIDE,
            block: 256 << 10,
            pack_a,
            enter: run[0],
            leave: run[1],
        }),
        ..bf16::KERNELS
    }
}

/// The CPU's own tiles.
pub(crate) struct Amx;

impl TileUnit for Amx {
    fn enter() -> Amx {
        enter();
        Amx
    }

    fn leave(self) {
        leave();
    }

    #[inline(always)]
    unsafe fn zero<const T: u8>(&mut self) {
        // SAFETY: the caller vouches for the unit; tile registers are no one else's.
        unsafe { std::arch::asm!("tilezero tmm{t}", t = const T, options(nostack)) }
    }

    #[inline(always)]
    unsafe fn load<const T: u8>(&mut self, at: *const u8, stride: usize) {
        // SAFETY: as above, and for the memory.
        unsafe {
            std::arch::asm!(
                "tileloadd tmm{t}, [{at} + {stride}]",
                t = const T, at = in(reg) at, stride = in(reg) stride, options(nostack, readonly)
            );
        }
    }

    #[inline(always)]
    unsafe fn multiply<const C: u8, const A: u8, const B: u8>(&mut self) {
        // SAFETY: as above.
        unsafe {
            std::arch::asm!(
                "tdpbf16ps tmm{c}, tmm{a}, tmm{b}",
                c = const C, a = const A, b = const B, options(nostack)
            );
        }
    }

    #[inline(always)]
    unsafe fn store<const T: u8>(&mut self, at: *mut u8, stride: usize) {
        // SAFETY: as for `load`.
        unsafe {
            std::arch::asm!(
                "tilestored [{at} + {stride}], tmm{t}",
                t = const T, at = in(reg) at, stride = in(reg) stride, options(nostack)
            );
        }
    }
}

/// Configures this thread's tiles: eight of 16 rows of 64 bytes.
fn enter() {
    #[repr(align(64))]
    struct Config([u8; 64]);
    static CONFIG: Config = {
        let mut config = [0; 64];
        config[0] = 1; // the only palette
        let mut t = 0;
        while t < 8 {
            config[16 + 2 * t] = 64; // bytes of a row, low byte
            config[48 + t] = 16; // rows
            t += 1;
        }
        Config(config)
    };
    // SAFETY: called by the kernels of this unit only, which `available` has found to work.
    unsafe {
        std::arch::asm!("ldtilecfg [{at}]", at = in(reg) CONFIG.0.as_ptr(), options(nostack, readonly));
    }
}

fn leave() {
    // SAFETY: as for `enter`.
    unsafe { std::arch::asm!("tilerelease", options(nostack, nomem)) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
unsafe fn amx_tile(t: &Tile) {
    // SAFETY: handed on.
    unsafe { tile(&mut Amx, t) }
}

pub(super) static KERNELS: Kernels = kernels(&[amx_tile; 2 * SIDE], [enter, leave]);

/// Whether the unit may be used, found out once.
pub(crate) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let features = crate::simd::cpu_features();
        let named = ["amx-tile", "amx-bf16"]
            .iter()
            .all(|f| features.contains(f));
        // SAFETY: CPUID names the unit, the kernel grants it.
        named && granted() && unsafe { agree(&KERNELS) }
    })
}

/// Asks the operating system for the tiles' state.
fn granted() -> bool {
    #[cfg(target_os = "linux")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
        const XTILEDATA: libc::c_ulong = 18;
        // SAFETY: a request by number, without pointers; an older kernel refuses it.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Whether the kernels compute one small product as the portable ones do. Its numbers are small
/// integers, whose sums are exact in any order.
///
/// # Safety
/// The CPU must have the kernels' features.
pub(super) unsafe fn agree(kernels: &Kernels) -> bool {
    const M: usize = 37;
    const N: usize = 45;
    const K: usize = 75;
    let fill = |n: usize, by: usize| -> Vec<u16> {
        let value = |i: usize| ::half::bf16::from_f32((i * by % 17) as f32 - 8.0).to_bits();
        (0..n).map(value).collect()
    };
    let (a, b) = (fill(M * K, 5), fill(K * N, 7));
    let product = |kernels: &Kernels| {
        let mut c = vec![0u16; M * N];
        let mat = |at: *const u16, row: usize| Mat {
            at: at.cast_mut().cast(),
            row: 2 * row,
            col: 2,
        };
        let to = mat(c.as_mut_ptr(), N);
        let problem = Problem {
            m: M,
            n: N,
            k: K,
            alpha: 1.0,
            a: mat(a.as_ptr(), K),
            b: mat(b.as_ptr(), N),
            beta: 0.0,
            d: to,
            c: to,
            wide: false,
        };
        // SAFETY: the matrices are as large as the problem says; the caller vouches for the CPU.
        unsafe { run(&problem, kernels, 1) };
        c
    };
    product(kernels) == product(&half::widened(portable::F32, &half::BF16))
}
