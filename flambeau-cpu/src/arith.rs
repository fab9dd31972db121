//! Arithmetic of one instruction in the type that elements are stored in: narrow integers, of which a
//! register holds many, and operations that change a slice.

/// What is computed of two elements; integers wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arith {
    /// The sum.
    Add,
    /// The difference.
    Sub,
    /// The product.
    Mul,
    /// The greater one.
    Max,
    /// The smaller one.
    Min,
    /// The bits that both have.
    And,
    /// The bits that one or both have.
    Or,
    /// The bits that one of both has.
    Xor,
}

/// Loops over elements `S`, with slices or a single number `N` on the right. Slices are as long as one
/// another, else the rest of the longer one is left alone.
#[derive(Clone, Copy, Debug)]
pub struct Loops<S: 'static, N: 'static> {
    /// Of each pair, into the third slice.
    pub each: fn(&[S], &[S], &mut [S]),
    /// Of each element and the number, into the last slice.
    pub one: fn(&[S], N, &mut [S]),
    /// Of each pair, into the first slice.
    pub each_in_place: fn(&mut [S], &[S]),
    /// Of each element and the number, into the slice itself.
    pub one_in_place: fn(&mut [S], N),
}

/// A type that has these loops.
pub trait Arithmetic: Copy + 'static {
    /// The loops for `op`, where this type has the operation.
    ///
    /// ```
    /// use flambeau_cpu::arith::{Arith, Arithmetic};
    /// let mut out = [0u8; 3];
    /// let add = u8::loops(Arith::Add).unwrap();
    /// (add.each)(&[1, 2, 250], &[1, 1, 10], &mut out);
    /// assert_eq!(out, [2, 3, 4]);
    /// (add.one_in_place)(&mut out, 1);
    /// assert_eq!(out, [3, 4, 5]);
    /// ```
    fn loops(op: Arith) -> Option<&'static Loops<Self, Self>>;
}

macro_rules! loops {
    ($t:ty, |$x:ident, $y:ident| $e:expr) => {{
        crate::simd_fn! {
            fn each(a: &[$t], b: &[$t], out: &mut [$t]) {
                for ((o, &$x), &$y) in out.iter_mut().zip(a).zip(b) {
                    *o = $e;
                }
            }
            fn one(a: &[$t], b: $t, out: &mut [$t]) {
                let $y = b;
                for (o, &$x) in out.iter_mut().zip(a) {
                    *o = $e;
                }
            }
            fn each_in_place(a: &mut [$t], b: &[$t]) {
                for (a, &$y) in a.iter_mut().zip(b) {
                    let $x = *a;
                    *a = $e;
                }
            }
            fn one_in_place(a: &mut [$t], b: $t) {
                let $y = b;
                for a in a.iter_mut() {
                    let $x = *a;
                    *a = $e;
                }
            }
        }
        static LOOPS: Loops<$t, $t> = Loops {
            each,
            one,
            each_in_place,
            one_in_place,
        };
        &LOOPS
    }};
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Arithmetic for $t {
            fn loops(op: Arith) -> Option<&'static Loops<$t, $t>> {
                Some(match op {
                    Arith::Add => loops!($t, |x, y| x.wrapping_add(y)),
                    Arith::Sub => loops!($t, |x, y| x.wrapping_sub(y)),
                    Arith::Mul => loops!($t, |x, y| x.wrapping_mul(y)),
                    Arith::Max => loops!($t, |x, y| x.max(y)),
                    Arith::Min => loops!($t, |x, y| x.min(y)),
                    Arith::And => loops!($t, |x, y| x & y),
                    Arith::Or => loops!($t, |x, y| x | y),
                    Arith::Xor => loops!($t, |x, y| x ^ y),
                })
            }
        }
    )*};
}
integers!(u8, i8, i16, i32, i64);

impl Arithmetic for f64 {
    fn loops(op: Arith) -> Option<&'static Loops<f64, f64>> {
        Some(match op {
            Arith::Add => loops!(f64, |x, y| x + y),
            Arith::Sub => loops!(f64, |x, y| x - y),
            Arith::Mul => loops!(f64, |x, y| x * y),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_agree_with_one_another_and_with_i64() {
        fn wide(op: Arith, x: i64, y: i64) -> i64 {
            match op {
                Arith::Add => x.wrapping_add(y),
                Arith::Sub => x.wrapping_sub(y),
                Arith::Mul => x.wrapping_mul(y),
                Arith::Max => x.max(y),
                Arith::Min => x.min(y),
                Arith::And => x & y,
                Arith::Or => x | y,
                Arith::Xor => x ^ y,
            }
        }
        macro_rules! check {
            ($($t:ty),*) => {$(
                let step = |i: i64, by: i64| (i.wrapping_mul(by)) as $t;
                let x: Vec<$t> = (-150..157).map(|i| step(i, 0x0123_4567_89ab_cdef)).collect();
                let y: Vec<$t> = (-150..157).map(|i| step(i, 0x7edc_ba98_7654_3217)).collect();
                for op in [
                    Arith::Add,
                    Arith::Sub,
                    Arith::Mul,
                    Arith::Max,
                    Arith::Min,
                    Arith::And,
                    Arith::Or,
                    Arith::Xor,
                ] {
                    let loops = <$t>::loops(op).expect("integers have them all");
                    let of = |x: &$t, y: &$t| wide(op, i64::from(*x), i64::from(*y)) as $t;
                    let want: Vec<$t> = x.iter().zip(&y).map(|(x, y)| of(x, y)).collect();
                    let one: Vec<$t> = x.iter().map(|x| of(x, &y[3])).collect();
                    let mut out = vec![<$t>::default(); x.len()];
                    (loops.each)(&x, &y, &mut out);
                    assert_eq!(out, want, "{op:?}");
                    (loops.one)(&x, y[3], &mut out);
                    assert_eq!(out, one, "{op:?}");
                    out.clone_from(&x);
                    (loops.each_in_place)(&mut out, &y);
                    assert_eq!(out, want, "{op:?}");
                    out.clone_from(&x);
                    (loops.one_in_place)(&mut out, y[3]);
                    assert_eq!(out, one, "{op:?}");
                }
            )*};
        }
        check!(u8, i8, i16, i32, i64);
    }
}
