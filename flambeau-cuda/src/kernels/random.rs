//! Random numbers in the arrangement of PyTorch's CUDA generator.

use super::{BLOCK, flat};
use crate::{Launch, Ptr, Type, Unit};

/// What of a GPU decides which thread draws which number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// How many multiprocessors it has.
    pub multiprocessors: u32,
    /// How many threads each of them holds.
    pub of_each: u32,
}

impl Threads {
    /// PyTorch's grid for `n` elements: no more blocks than run at a time.
    fn grid(self, n: usize) -> u32 {
        let most = u64::from(self.multiprocessors) * u64::from(self.of_each / BLOCK);
        (n.div_ceil(BLOCK as usize) as u64).clamp(1, most.max(1)) as u32
    }
}

/// Where a generator stands: its seed, and its offset, a multiple of 4. `state`, where not 0, holds two
/// `u64` on the device, seed and an offset to be added, for launches that are replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Philox {
    /// The seed.
    pub seed: u64,
    /// How many words of each subsequence are used up.
    pub offset: u64,
    /// Seed and offset on the device, or 0.
    pub state: Ptr,
}

/// A distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Random {
    /// From `[low, high)`.
    Uniform {
        /// The least number.
        low: f64,
        /// Above the greatest number.
        high: f64,
    },
    /// Normally distributed.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
    /// 1 with probability `p`, else 0.
    Bernoulli {
        /// The probability.
        p: f64,
    },
    /// Integers from `base` on, `range` of them (0: all 2^64).
    Integers {
        /// The least.
        base: i64,
        /// How many.
        range: u64,
    },
}

/// The range from which on PyTorch takes two words for an integer.
const WIDE: u64 = 1 << 28;

impl Random {
    /// `n` numbers for the contiguous `out`, and by how much the generator's offset grows. `None`
    /// where `n` is 0.
    pub fn launch(
        self,
        ty: Type,
        n: usize,
        generator: Philox,
        threads: Threads,
        out: Ptr,
    ) -> Option<(Launch, u64)> {
        if n == 0 {
            return None;
        }
        let acc = if ty == Type::F64 {
            Type::F64
        } else {
            Type::F32
        };
        let (mut a, mut b, mut whole, mut base) = (0.0, 0.0, 0, 0);
        let kind = match self {
            Random::Uniform { low, high } => {
                (a, b) = (low, high);
                "Uniform"
            }
            Random::Normal { mean, std } => {
                (a, b) = (mean, std);
                "Normal"
            }
            Random::Bernoulli { p } => {
                a = p;
                "Bernoulli"
            }
            Random::Integers { base: from, range } => {
                (whole, base) = (range, from);
                let wide = range == 0 || range >= WIDE;
                if wide { "WideIntegers" } else { "Integers" }
            }
        };
        let per_call = if acc == Type::F64 && kind != "Integers" || kind == "WideIntegers" {
            2
        } else {
            4
        };
        let unit = Unit::new("random.cu")
            .define("KIND", kind)
            .define("OUT", ty.name())
            .define("ACC", acc.name());
        let mut launch = flat(unit, "draw_random", threads.grid(n));
        let calls = (n - 1) / (launch.grid[0] as usize * BLOCK as usize * per_call) + 1;
        let args = launch.args.push(out).push(n as i64);
        let args = args
            .push(generator.seed)
            .push(generator.offset)
            .push(generator.state);
        args.push(a).push(b).push(whole).push(base);
        Some((launch, 4 * calls as u64))
    }
}

/// `out = x * mask / keep` with a new mask (`bool`), each element kept with probability `keep`; all
/// contiguous. Also by how much the generator's offset grows.
pub fn dropout(
    ty: Type,
    n: usize,
    keep: f64,
    generator: Philox,
    threads: Threads,
    x: Ptr,
    [out, mask]: [Ptr; 2],
) -> Option<(Launch, u64)> {
    if n == 0 {
        return None;
    }
    let unit = Unit::new("dropout.cu")
        .define("ELEMENT", ty.name())
        .define("ACC", ty.accumulate().name());
    let mut launch = flat(unit, "dropout", threads.grid(n));
    let calls = (n - 1) / (launch.grid[0] as usize * BLOCK as usize * 4) + 1;
    let args = launch.args.push(x).push(out).push(mask).push(n as i64);
    let args = args
        .push(generator.seed)
        .push(generator.offset)
        .push(generator.state);
    args.push(keep).push(i32::from(n.is_multiple_of(4)));
    Some((launch, 4 * calls as u64))
}
