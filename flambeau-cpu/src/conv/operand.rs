//! What the direct kernels multiply, and how maps of each element type become it.
//!
//! Sums are of type `T`, f32 or f64. Maps are stored as `T`, or as bf16 for sums of f32. Operands are
//! values of `T`, or [`Pair`]s of bf16 from two channels or positions, whose two products the
//! CPU's instruction adds to a sum at once.

use half::bf16;

use crate::alloc::Pod;
use crate::float::Float;
use crate::lanes::{Kernel, Lanes, with_lanes};

pub(super) use crate::float::Stored;

/// Multiplication of operands in registers.
///
/// # Safety
/// As [`Lanes`].
#[allow(clippy::missing_safety_doc)]
pub(super) trait Dots<T, L: Lanes<T>, X>: 'static {
    /// `L::N` operands.
    type V: Copy;
    unsafe fn splat(x: X) -> Self::V;
    unsafe fn load(p: *const X) -> Self::V;
    /// `c` plus the products of `a` with `b`.
    unsafe fn dot(a: Self::V, b: Self::V, c: L::V) -> L::V;
    /// How results are stored.
    type Out: Pod;
    /// 0.
    const NONE: Self::Out;
    /// `L::N` sums to `to`.
    unsafe fn put(sums: L::V, to: *mut Self::Out);
    /// The sums of `a` and `b` in turns.
    unsafe fn put_turns(a: L::V, b: L::V, to: *mut Self::Out);
}

/// A computation written over [`Lanes`] and [`Dots`].
pub(super) trait DotKernel<T, X> {
    /// As [`Kernel::run`].
    fn run<L: Lanes<T>, D: Dots<T, L, X>>(self);
}

/// What planes hold, made of maps of `E`.
pub(super) trait Held<E>: Pod {
    /// Values of maps in one of them.
    const LEN: usize;
    /// 0.
    const NONE: Self;
    /// The second value is left out where `LEN` is 1.
    fn of(values: [E; 2]) -> Self;
    /// Of one value, and 0 where `LEN` is 2.
    fn of_first(value: E) -> Self;
    /// The maps themselves, where they hold the same.
    fn same(maps: &[E]) -> Option<&[Self]>;
}

/// An operand made of maps of `E`.
pub(super) trait Operand<T, E>: Held<E> {
    /// What is held where operands are values next to each other in a row.
    type Cell: Held<E>;
    /// The operand of the cells from `from` on, or of the first alone.
    ///
    /// # Safety
    /// They are there.
    unsafe fn read(from: *const Self::Cell, all: bool) -> Self;
    /// Of weights, which are rounded to what an operand holds.
    fn of_weights(values: [T; 2]) -> Self;
    /// Runs a kernel with the widest registers that the CPU has.
    fn run<K: DotKernel<T, Self>>(kernel: K);
}

/// Single values.
struct Values;

// SAFETY (all methods): handed on.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<T: Float, L: Lanes<T>> Dots<T, L, T> for Values {
    type V = L::V;
    #[inline(always)]
    unsafe fn splat(x: T) -> L::V {
        unsafe { L::splat(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const T) -> L::V {
        unsafe { L::load(p) }
    }
    #[inline(always)]
    unsafe fn dot(a: L::V, b: L::V, c: L::V) -> L::V {
        unsafe { L::fma(a, b, c) }
    }
    type Out = T;
    const NONE: T = T::ZERO;
    #[inline(always)]
    unsafe fn put(sums: L::V, to: *mut T) {
        unsafe { L::store(to, sums) }
    }
    #[inline(always)]
    unsafe fn put_turns(a: L::V, b: L::V, to: *mut T) {
        unsafe {
            let (low, high) = L::merge(a, b);
            L::store(to, low);
            L::store(to.add(L::N), high);
        }
    }
}

struct ByValue<K>(K);
impl<T: Float, K: DotKernel<T, T>> Kernel<T> for ByValue<K> {
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        self.0.run::<L, Values>();
    }
}

impl<T: Float> Held<T> for T {
    const LEN: usize = 1;
    const NONE: T = T::ZERO;
    #[inline(always)]
    fn of(values: [T; 2]) -> T {
        values[0]
    }
    #[inline(always)]
    fn of_first(value: T) -> T {
        value
    }
    fn same(maps: &[T]) -> Option<&[T]> {
        Some(maps)
    }
}

impl Held<bf16> for bf16 {
    const LEN: usize = 1;
    const NONE: bf16 = bf16::ZERO;
    #[inline(always)]
    fn of(values: [bf16; 2]) -> bf16 {
        values[0]
    }
    #[inline(always)]
    fn of_first(value: bf16) -> bf16 {
        value
    }
    fn same(maps: &[bf16]) -> Option<&[bf16]> {
        Some(maps)
    }
}

impl Held<bf16> for f32 {
    const LEN: usize = 1;
    const NONE: f32 = 0.0;
    #[inline(always)]
    fn of(values: [bf16; 2]) -> f32 {
        values[0].widen()
    }
    #[inline(always)]
    fn of_first(value: bf16) -> f32 {
        value.widen()
    }
    fn same(_: &[bf16]) -> Option<&[f32]> {
        None
    }
}

impl<T: Float> Operand<T, T> for T {
    type Cell = T;
    #[inline(always)]
    unsafe fn read(from: *const T, _: bool) -> T {
        // SAFETY: the caller's promise.
        unsafe { *from }
    }
    #[inline(always)]
    fn of_weights(values: [T; 2]) -> T {
        values[0]
    }
    fn run<K: DotKernel<T, T>>(kernel: K) {
        with_lanes(ByValue(kernel));
    }
}

/// Two values of bf16, the first in the low half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(super) struct Pair(pub u32);

// SAFETY: a wrapper of a plain number.
unsafe impl Pod for Pair {}

impl Held<bf16> for Pair {
    const LEN: usize = 2;
    const NONE: Pair = Pair(0);
    #[inline(always)]
    fn of([a, b]: [bf16; 2]) -> Pair {
        Pair(u32::from(a.to_bits()) | u32::from(b.to_bits()) << 16)
    }
    #[inline(always)]
    fn of_first(value: bf16) -> Pair {
        Pair(u32::from(value.to_bits()))
    }
    fn same(_: &[bf16]) -> Option<&[Pair]> {
        None
    }
}

impl Operand<f32, bf16> for Pair {
    type Cell = bf16;
    #[inline(always)]
    unsafe fn read(from: *const bf16, all: bool) -> Pair {
        // SAFETY: the caller's promise.
        unsafe {
            match all {
                true => Pair(from.cast::<u32>().read_unaligned().to_le()),
                false => Self::of_first(*from),
            }
        }
    }
    #[inline(always)]
    fn of_weights(values: [f32; 2]) -> Pair {
        Self::of(values.map(bf16::narrow))
    }
    fn run<K: DotKernel<f32, Pair>>(kernel: K) {
        pairs::run(kernel);
    }
}

pub(super) use pairs::available as has_pairs;

#[cfg(not(target_arch = "x86_64"))]
mod pairs {
    use super::*;

    pub fn available() -> bool {
        false
    }
    pub fn run<K: DotKernel<f32, Pair>>(_: K) {
        unreachable!("pairs of bf16 without the instruction");
    }
}

#[cfg(target_arch = "x86_64")]
mod pairs {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use half::bf16;

    use super::{DotKernel, Dots, Pair};
    use crate::lanes::{Lanes, Vectors};
    use crate::simd::{Level, level};

    type Avx512 = <f32 as Vectors>::Avx512;

    /// Whether the CPU multiplies pairs.
    pub fn available() -> bool {
        level() == Level::Avx512 && is_x86_feature_detected!("avx512bf16")
    }

    pub fn run<K: DotKernel<f32, Pair>>(kernel: K) {
        assert!(available());
        // SAFETY: the CPU has what is enabled there.
        unsafe { inside(kernel) }
    }

    /// # Safety
    /// The CPU must have the enabled features.
    #[target_feature(
        enable = "avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx512cd,avx2,fma,bmi1,bmi2"
    )]
    unsafe fn inside<K: DotKernel<f32, Pair>>(kernel: K) {
        kernel.run::<Avx512, Pairs>();
    }

    /// AVX-512-BF16.
    struct Pairs;

    // SAFETY (all methods): `available`; pointers are the caller's affair. Both types of register are
    // 512 bits of anything.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Dots<f32, Avx512, Pair> for Pairs {
        type V = __m512i;
        #[inline(always)]
        unsafe fn splat(x: Pair) -> __m512i {
            unsafe { _mm512_set1_epi32(x.0 as i32) }
        }
        #[inline(always)]
        unsafe fn load(p: *const Pair) -> __m512i {
            unsafe { _mm512_loadu_si512(p.cast()) }
        }
        #[inline(always)]
        unsafe fn dot(a: __m512i, b: __m512i, c: __m512) -> __m512 {
            unsafe {
                let (a, b) = (
                    transmute::<__m512i, __m512bh>(a),
                    transmute::<__m512i, __m512bh>(b),
                );
                _mm512_dpbf16_ps(c, a, b)
            }
        }
        type Out = bf16;
        const NONE: bf16 = bf16::ZERO;
        #[inline(always)]
        unsafe fn put(sums: __m512, to: *mut bf16) {
            unsafe {
                to.cast::<__m256bh>()
                    .write_unaligned(_mm512_cvtneps_pbh(sums))
            }
        }
        #[inline(always)]
        unsafe fn put_turns(a: __m512, b: __m512, to: *mut bf16) {
            const TURNS: [u16; 32] = {
                let mut turns = [0; 32];
                let mut i = 0;
                while i < 32 {
                    turns[i] = i as u16 / 2 + i as u16 % 2 * 16;
                    i += 1;
                }
                turns
            };
            unsafe {
                let both = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(b, a));
                let turns = _mm512_loadu_si512(TURNS.as_ptr().cast());
                _mm512_storeu_si512(to.cast(), _mm512_permutexvar_epi16(turns, both));
            }
        }
    }

    const _: () = assert!(<Avx512 as Lanes<f32>>::N == 16);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowing_is_that_of_half() {
        for i in 0..1u32 << 20 {
            let x = f32::from_bits(i.wrapping_mul(0x9e37_79b9));
            let narrow = <bf16 as Stored<f32>>::narrow(x);
            assert_eq!(narrow.to_bits(), bf16::from_f32(x).to_bits(), "{x:e}");
        }
    }
}
