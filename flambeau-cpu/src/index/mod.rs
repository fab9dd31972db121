//! Elements picked by positions, and put there: an index for each element ([`gather`], [`scatter`]),
//! or lists of positions of some dimensions ([`Places`]).
//!
//! Of several values for one place the last in the index's order stays, and sums are added up in that
//! order, for any number of threads: what threads share out are places, never the values for one.

mod along;
mod count;
mod places;
#[cfg(test)]
mod tests;

pub use along::{Along, gather, scatter, scatter_add};
pub use count::count;
pub use places::{Places, pick, put, put_add};

use crate::alloc::Pod;

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 14;

/// A type that sums are accumulated in.
pub trait Accumulate: Pod + PartialEq {
    /// The sum; integers wrap.
    fn plus(self, other: Self) -> Self;
}

macro_rules! accumulate {
    ($($t:ty, |$a:ident, $b:ident| $e:expr;)*) => {$(
        impl Accumulate for $t {
            #[inline(always)]
            fn plus(self, other: $t) -> $t {
                let ($a, $b) = (self, other);
                $e
            }
        }
    )*};
}
accumulate! {
    f32, |a, b| a + b;
    f64, |a, b| a + b;
    i32, |a, b| a.wrapping_add(b);
    i64, |a, b| a.wrapping_add(b);
}
