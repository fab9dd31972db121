//! Orders: which elements of a slice come first. NaN counts as greater than everything, the two
//! zeros as equal, and equal elements stay as they stand.
//!
//! An element becomes a number whose order is the element's, and with its index below it one number
//! again where both fit; those are sorted without a comparison function: few by comparing, many by
//! their digits (least significant first, digits that all have in common left out).

use crate::alloc::{Buffer, Pod};
use crate::simd::dispatch;
use half::{bf16, f16};

/// A type whose elements have an order.
pub trait Ordered: Pod {
    /// Bits of [`key`](Ordered::key).
    const BITS: u32;
    /// A number below `2 ^ BITS` that is less where the element is.
    fn key(self) -> u64;
    /// Whether this is a NaN.
    fn is_nan(self) -> bool;
}

macro_rules! unsigned {
    ($($t:ty),*) => {$(
        impl Ordered for $t {
            const BITS: u32 = <$t>::BITS;
            #[inline(always)]
            fn key(self) -> u64 {
                self as u64
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                false
            }
        }
    )*};
}
macro_rules! signed {
    ($($t:ty, $u:ty;)*) => {$(
        impl Ordered for $t {
            const BITS: u32 = <$t>::BITS;
            #[inline(always)]
            fn key(self) -> u64 {
                (self as $u ^ (1 << (<$t>::BITS - 1))) as u64
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                false
            }
        }
    )*};
}
macro_rules! floating {
    ($($t:ty, $u:ty, $i:ty, $infinity:expr;)*) => {$(
        impl Ordered for $t {
            const BITS: u32 = <$u>::BITS;
            #[inline(always)]
            fn key(self) -> u64 {
                let bits = self.to_bits();
                let size = bits << 1 >> 1;
                // All bits turned where negative, the sign alone where not.
                let turned = bits ^ ((bits as $i >> (<$u>::BITS - 1)) as $u | 1 << (<$u>::BITS - 1));
                let turned = if size == 0 { 1 << (<$u>::BITS - 1) } else { turned };
                (if size > $infinity { <$u>::MAX } else { turned }) as u64
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                <$t>::is_nan(self)
            }
        }
    )*};
}
unsigned!(u8);
signed! { i8, u8; i16, u16; i32, u32; i64, u64; }
floating! {
    f16, u16, i16, 0x7c00;
    bf16, u16, i16, 0x7f80;
    f32, u32, i32, 0x7f80_0000;
    f64, u64, i64, 0x7ff0_0000_0000_0000;
}

/// A number that sorts as an element does, with its index.
trait Item: Pod + Ord + Default {
    fn new(key: u64, index: usize) -> Self;
    fn key(self) -> u64;
    fn index(self) -> usize;
}

/// For keys below 2^32.
impl Item for u64 {
    #[inline(always)]
    fn new(key: u64, index: usize) -> u64 {
        key << 32 | index as u64
    }
    #[inline(always)]
    fn key(self) -> u64 {
        self >> 32
    }
    #[inline(always)]
    fn index(self) -> usize {
        self as u32 as usize
    }
}

/// For any keys.
impl Item for u128 {
    #[inline(always)]
    fn new(key: u64, index: usize) -> u128 {
        (key as u128) << 64 | index as u128
    }
    #[inline(always)]
    fn key(self) -> u64 {
        (self >> 64) as u64
    }
    #[inline(always)]
    fn index(self) -> usize {
        self as u64 as usize
    }
}

/// What turns elements into keys: inverted for the descending order, and counted from the least.
#[derive(Clone, Copy)]
struct Keys {
    invert: u64,
    least: u64,
    /// How many bits there are.
    bits: u32,
}

impl Keys {
    /// All bits of the type.
    fn whole<T: Ordered>(descending: bool) -> Keys {
        Keys {
            invert: match descending {
                true => u64::MAX >> (64 - T::BITS),
                false => 0,
            },
            least: 0,
            bits: T::BITS,
        }
    }

    /// As many bits as the elements take.
    fn of<T: Ordered>(x: &[T], descending: bool) -> Keys {
        assert!(
            x.len() <= u32::MAX as usize,
            "sort: a row of {} elements",
            x.len()
        );
        let whole = Keys::whole::<T>(descending);
        if T::BITS <= 16 {
            return whole;
        }
        let invert = whole.invert;
        let (least, most) = dispatch(
            #[inline(always)]
            || {
                x.iter()
                    .fold((u64::MAX, 0), |(least, most): (u64, u64), v| {
                        let key = v.key() ^ invert;
                        (least.min(key), most.max(key))
                    })
            },
        );
        Keys {
            invert,
            least,
            bits: 64 - most.saturating_sub(least).leading_zeros(),
        }
    }

    #[inline(always)]
    fn get<T: Ordered>(&self, v: T) -> u64 {
        (v.key() ^ self.invert) - self.least
    }

    fn fill<T: Ordered, I: Item>(&self, x: &[T], items: &mut [I]) {
        dispatch(
            #[inline(always)]
            || {
                for (i, (item, &v)) in items.iter_mut().zip(x).enumerate() {
                    *item = I::new(self.get(v), i);
                }
            },
        );
    }
}

/// Rows up to this length are sorted as they are read.
const TINY: usize = 16;
/// Rows up to this length need no memory.
const SMALL: usize = 64;
/// Items from which on their digits are counted.
const MANY: usize = 200;
/// Where no more than one in so many elements is asked for, the best so far are kept.
const FEW: usize = 16;

/// The indices of the first elements of `x` in ascending or descending order, as many as `out` takes.
///
/// ```
/// let mut first = [0; 3];
/// flambeau_cpu::sort::order(&[3.0f32, f32::NAN, 1.0, 3.0], true, &mut first);
/// assert_eq!(first, [1, 0, 3]);
/// ```
///
/// # Panics
/// If `out` is longer than `x`, or that than 2^32 - 1 elements.
pub fn order<T: Ordered>(x: &[T], descending: bool, out: &mut [i64]) {
    assert!(out.len() <= x.len(), "sort: {} of {}", out.len(), x.len());
    if out.is_empty() {
        return;
    }
    if x.len() <= TINY {
        return match T::BITS > 32 {
            true => tiny::<T, u128>(Keys::whole::<T>(descending), x, out),
            false => tiny::<T, u64>(Keys::whole::<T>(descending), x, out),
        };
    }
    let keys = Keys::of(x, descending);
    if keys.bits > 32 {
        return first_of::<T, u128>(keys, x, out);
    }
    if x.len() <= SMALL {
        let mut items = [0u64; SMALL];
        let items = &mut items[..x.len()];
        keys.fill(x, items);
        items.sort_unstable();
        return write(items, out);
    }
    first_of::<T, u64>(keys, x, out);
}

/// A few elements, each put where it belongs among those before it.
fn tiny<T: Ordered, I: Item>(keys: Keys, x: &[T], out: &mut [i64]) {
    let mut items = [I::default(); TINY];
    for (i, &v) in x.iter().enumerate() {
        let item = I::new(keys.get(v), i);
        let mut at = i;
        while at > 0 && item < items[at - 1] {
            items[at] = items[at - 1];
            at -= 1;
        }
        items[at] = item;
    }
    write(&items, out);
}

fn write<I: Item>(items: &[I], out: &mut [i64]) {
    for (o, item) in out.iter_mut().zip(items) {
        *o = item.index() as i64;
    }
}

fn first_of<T: Ordered, I: Item>(keys: Keys, x: &[T], out: &mut [i64]) {
    let k = out.len();
    if k * FEW <= x.len() {
        return first_few::<T, I>(keys, x, out);
    }
    let mut memory = scratch::<I>(2 * x.len());
    let (items, other) = memory.as_mut_slice::<I>()[..2 * x.len()].split_at_mut(x.len());
    keys.fill(x, items);
    let mut items = items;
    if k < x.len() {
        items.select_nth_unstable(k - 1);
        items = &mut items[..k];
    }
    write(sort(items, other, keys.bits), out);
}

/// Memory for so many items.
fn scratch<I: Pod>(count: usize) -> Buffer {
    // As a vector's, which cannot do without either.
    Buffer::uninit_of::<I>(count).unwrap_or_else(|e| panic!("sort: {e}"))
}

/// For few of many: the best so far are kept in order, and hardly any element is compared with more
/// than the last of them.
fn first_few<T: Ordered, I: Item>(keys: Keys, x: &[T], out: &mut [i64]) {
    const CHUNK: usize = 64;
    let k = out.len();
    let mut best: Vec<I> = (x[..k].iter().enumerate())
        .map(|(i, &v)| I::new(keys.get(v), i))
        .collect();
    best.sort_unstable();
    for (c, x) in x[k..].chunks(CHUNK).enumerate() {
        let last = best[k - 1].key();
        // All of a chunk are looked at: a loop that may end early is not vectorised.
        let any = dispatch(
            #[inline(always)]
            || x.iter().fold(false, |any, &v| any | (keys.get(v) < last)),
        );
        if !any {
            continue;
        }
        for (i, &v) in x.iter().enumerate() {
            // Of equal ones those that came first stay.
            if keys.get(v) >= best[k - 1].key() {
                continue;
            }
            let item = I::new(keys.get(v), k + c * CHUNK + i);
            let at = best.partition_point(|other| *other < item);
            best[at..].rotate_right(1);
            best[at] = item;
        }
    }
    write(&best, out);
}

/// Sorts items whose keys have so many bits, and which stand in the order of their indices or not;
/// `other` is memory for as many.
fn sort<'a, I: Item>(items: &'a mut [I], other: &'a mut [I], bits: u32) -> &'a [I] {
    // Items that were selected stand in any order.
    if items.len() < MANY || items.len() < other.len() {
        items.sort_unstable();
        return items;
    }
    match items.len() < 1 << 13 {
        true => by_digits::<I, 8>(items, other, bits),
        false => by_digits::<I, 11>(items, other, bits),
    }
}

/// Digits of `B` bits, the least significant first; equal ones stay as they stand.
fn by_digits<'a, I: Item, const B: u32>(
    mut items: &'a mut [I],
    mut other: &'a mut [I],
    bits: u32,
) -> &'a [I] {
    let passes = bits.div_ceil(B) as usize;
    let (size, mask) = (1usize << B, (1u64 << B) - 1);
    let mut counts = vec![0u32; size * passes];
    for item in items.iter() {
        let mut key = item.key();
        for counts in counts.chunks_exact_mut(size) {
            counts[(key & mask) as usize] += 1;
            key >>= B;
        }
    }
    for (pass, counts) in counts.chunks_exact_mut(size).enumerate() {
        if counts.contains(&(items.len() as u32)) {
            continue;
        }
        let mut sum = 0;
        for c in counts.iter_mut() {
            sum += std::mem::replace(c, sum);
        }
        let shift = pass as u32 * B;
        for &item in items.iter() {
            let place = &mut counts[(item.key() >> shift & mask) as usize];
            other[*place as usize] = item;
            *place += 1;
        }
        std::mem::swap(&mut items, &mut other);
    }
    items
}

/// The index of the element that comes `k`-th in ascending order, counted from 0.
///
/// ```
/// assert_eq!(flambeau_cpu::sort::nth(&[5, 3, 4], 1), 2);
/// ```
///
/// # Panics
/// If there are not more than `k` elements, or 2^32.
pub fn nth<T: Ordered>(x: &[T], k: usize) -> usize {
    fn select<T: Ordered, I: Item>(keys: Keys, x: &[T], items: &mut [I], k: usize) -> usize {
        keys.fill(x, items);
        items.select_nth_unstable(k).1.index()
    }
    assert!(k < x.len(), "nth: {k} of {}", x.len());
    let keys = Keys::of(x, false);
    match (keys.bits > 32, x.len() <= SMALL) {
        (true, _) => {
            let mut memory = scratch::<u128>(x.len());
            select(keys, x, &mut memory.as_mut_slice::<u128>()[..x.len()], k)
        }
        (_, true) => select(keys, x, &mut [0u64; SMALL][..x.len()], k),
        _ => {
            let mut memory = scratch::<u64>(x.len());
            select(keys, x, &mut memory.as_mut_slice::<u64>()[..x.len()], k)
        }
    }
}

/// The index of the lower median; of the first NaN where there is one.
///
/// # Panics
/// If there are no elements, or 2^32.
pub fn median<T: Ordered>(x: &[T]) -> usize {
    let any = dispatch(
        #[inline(always)]
        || x.iter().fold(false, |any, v| any | v.is_nan()),
    );
    match any.then(|| x.iter().position(|v| v.is_nan())).flatten() {
        Some(first) => first,
        None => nth(x, (x.len() - 1) / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order by comparisons, equal ones as they stand.
    fn plain<T: Ordered + PartialOrd>(x: &[T], descending: bool) -> Vec<i64> {
        let mut all: Vec<i64> = (0..x.len() as i64).collect();
        let ascending = |a: T, b: T| match a.partial_cmp(&b) {
            Some(order) => order,
            None => a.is_nan().cmp(&b.is_nan()),
        };
        all.sort_by(|&a, &b| {
            let (a, b) = (x[a as usize], x[b as usize]);
            match descending {
                true => ascending(b, a),
                false => ascending(a, b),
            }
        });
        all
    }

    fn check<T: Ordered + PartialOrd>(of: impl Fn(u64) -> T) {
        let mut state = 1u64;
        let mut random = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state >> 11
        };
        for n in [1, 2, 7, 64, 65, 199, 200, 1000, 9000] {
            for below in [3, 1000, u64::MAX] {
                let x: Vec<T> = (0..n).map(|_| of(random() % below)).collect();
                for descending in [false, true] {
                    let want = plain(&x, descending);
                    for k in [n, 1, n / 2, n / 20, n - 1] {
                        let mut out = vec![-1; k];
                        order(&x, descending, &mut out);
                        assert!(out == want[..k], "{n} below {below}, {k}, {descending}");
                    }
                }
                let want = plain(&x, false);
                for k in [0, n / 3, n - 1] {
                    assert_eq!(nth(&x, k), want[k] as usize);
                }
                let first_nan = x.iter().position(|v| v.is_nan());
                let middle = want[(n - 1) / 2] as usize;
                assert_eq!(median(&x), first_nan.unwrap_or(middle));
            }
        }
    }

    #[test]
    fn orders_are_those_of_comparisons() {
        check(|v| v as u8);
        check(|v| v as i8);
        check(|v| v as i16);
        check(|v| v as i32);
        check(|v| (v as i64).wrapping_mul(0x1_0000_0001) - 500);
        check(|v| v as i64 - 500);
        check(|v| f32::from_bits(v as u32));
        check(|v| v as f32 - 1.0);
        check(|v| {
            if v % 5 == 0 {
                -0.0
            } else {
                (v % 3) as f32 - 1.0
            }
        });
        check(|v| f64::from_bits(v << 11));
        check(|v| bf16::from_bits(v as u16));
        check(|v| f16::from_bits(v as u16));
    }
}
