//! Where the loader's random numbers come from.

use flambeau_cpu::random::Generator;
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;

/// A generator that samplers and loaders share, as PyTorch's do when the same
/// [`torch.Generator`](https://pytorch.org/docs/stable/generated/torch.Generator.html)
/// is given to several. Cloning copies the handle.
///
/// ```standalone_crate
/// use flambeau_data::SharedGenerator;
/// let generator = SharedGenerator::from(7); // torch.Generator().manual_seed(7)
/// assert_eq!(generator.with(|g| g.initial_seed()), 7);
/// ```
#[derive(Clone, Debug)]
pub struct SharedGenerator(Arc<Mutex<Generator>>);

impl SharedGenerator {
    /// Runs `f` with the generator; other threads wait.
    pub fn with<R>(&self, f: impl FnOnce(&mut Generator) -> R) -> R {
        f(&mut self.0.lock())
    }
}

impl From<u64> for SharedGenerator {
    /// A generator seeded with that number.
    fn from(seed: u64) -> Self {
        Generator::from_seed(seed).into()
    }
}

impl From<Generator> for SharedGenerator {
    fn from(generator: Generator) -> Self {
        SharedGenerator(Arc::new(Mutex::new(generator)))
    }
}

/// Runs `f` with `generator`, or with the default one where there is none.
pub(crate) fn with<R>(
    generator: Option<&SharedGenerator>,
    f: impl FnOnce(&mut Generator) -> R,
) -> R {
    match generator {
        Some(generator) => generator.with(f),
        None => flambeau_core::random::with_default(f),
    }
}

/// PyTorch's `torch.empty((), dtype=torch.int64).random_()`, from which it makes seeds.
pub(crate) fn draw_seed(generator: &mut Generator) -> u64 {
    generator.random64() & i64::MAX as u64
}

/// The random numbers of one sample: what its transforms draw.
///
/// The stream is a function of the epoch's seed and of the sample's place in the epoch, and of
/// nothing else: not of the number of workers, not of what other samples drew. (Place rather than
/// index, so that an index drawn twice by a sampler with replacement is not augmented alike.)
/// PyTorch seeds its workers instead, so that its augmentation changes with their number; there
/// are no numbers of PyTorch's to equal, and a stream that costs nothing to set up is used
/// (SplitMix64: Steele, Lea and Flood, 2014).
///
/// ```
/// use flambeau_data::SampleRng;
/// let (mut a, mut b) = (SampleRng::new(7, 3), SampleRng::new(7, 3));
/// assert_eq!(a.uniform(), b.uniform());
/// assert!((10..20).contains(&a.range(10..20)));
/// ```
#[derive(Clone, Debug)]
pub struct SampleRng {
    state: u64,
}

impl SampleRng {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// The stream of the sample at `place` of the epoch with that seed.
    pub fn new(epoch_seed: u64, place: u64) -> Self {
        // Both are mixed, so that neighbouring places do not walk through the same states.
        let state = mix(mix(epoch_seed.wrapping_add(Self::STEP)) ^ place.wrapping_mul(Self::STEP));
        SampleRng { state }
    }

    /// The next 64 random bits.
    #[inline]
    pub fn random64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(Self::STEP);
        mix(self.state)
    }

    /// The next number of [0, 1), with 53 random bits.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        (self.random64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with probability `p`.
    #[inline]
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// An integer of `range`, each with the same probability; the start where the range is empty.
    pub fn range(&mut self, range: Range<usize>) -> usize {
        let count = range.len() as u64;
        if count == 0 {
            return range.start;
        }
        // Draws beyond the last whole multiple of `count` would favour small numbers.
        let limit = u64::MAX - u64::MAX % count;
        loop {
            let bits = self.random64();
            if bits < limit {
                return range.start + (bits % count) as usize;
            }
        }
    }

    /// A number from the standard normal distribution.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[inline]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_splitmix64() {
        // Sebastiano Vigna's splitmix64.c, seeded with 1234567.
        let mut rng = SampleRng { state: 1_234_567 };
        let expected = [
            6457827717110365317,
            3203168211198807973,
            9817491932198370423u64,
        ];
        assert_eq!(expected, std::array::from_fn(|_| rng.random64()));
    }

    #[test]
    fn numbers_are_spread_evenly() {
        let n = 60_000;
        let mut counts = [0usize; 6];
        let (mut heads, mut sum, mut squares) = (0, 0.0, 0.0);
        for place in 0..n {
            // One draw a stream: neighbouring streams must be as good as one long one.
            let mut rng = SampleRng::new(3, place);
            counts[rng.range(4..10) - 4] += 1;
            heads += rng.chance(0.25) as usize;
            let x = rng.normal();
            (sum, squares) = (sum + x, squares + x * x);
        }
        let n = n as f64;
        // Five standard deviations of the binomial counts.
        assert!(
            counts.iter().all(|&c| (c as f64 - n / 6.0).abs() < 460.0),
            "{counts:?}"
        );
        assert!((heads as f64 - n / 4.0).abs() < 530.0, "{heads}");
        assert!((sum / n).abs() < 0.021 && (squares / n - 1.0).abs() < 0.03);
        assert_eq!(SampleRng::new(0, 0).range(3..3), 3);
    }
}
