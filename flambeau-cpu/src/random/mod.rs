//! PyTorch's CPU generator: the same seed gives the numbers of `torch.Generator().manual_seed`.
//!
//! [`Generator`] is the engine with its seed and its cached normal; the fills write PyTorch's
//! draws into plain slices of any [`Number`] type and leave the engine where PyTorch leaves it, so
//! whatever is drawn next agrees too. Integers and uniforms are equal bit for bit. So are the
//! `f32`, `f16` and `bf16` normals of 16 elements or more; what goes through the C library's
//! logarithm, sine and so on is equal as far as that library is PyTorch's.
//!
//! The reference is PyTorch 2.15 on x86-64 with AVX2 or better, where `x * (to - from) + from` and
//! its likes are one fused operation (without AVX2 PyTorch itself gives other bits). MKL's streams,
//! which some older releases used for `bernoulli_` and `exponential_`, are not in use there.
//!
//! Draws are sequential by definition, so a fill runs on the calling thread.

mod bernoulli;
mod continuous;
mod integers;
mod mt19937;
mod multinomial;
mod normal;
mod number;
mod uniform;

#[cfg(test)]
mod tests;

pub use number::{Number, Real};

use std::fmt;
use std::hash::{BuildHasher, Hasher};

use crate::simd::{self, Task};
use mt19937::Mt19937;

/// PyTorch's `default_rng_seed_val`, the seed of a new generator.
pub const DEFAULT_SEED: u64 = 67_280_421_310_721;

/// Bytes of [`Generator::state`].
pub const STATE_BYTES: usize = 5056;

/// An argument that a fill cannot work with, or bytes that are no state, in words for the user.
/// Nothing was drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RandomError(pub String);

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RandomError {}

/// `Err` with the text where `condition` does not hold.
fn ensure(condition: bool, text: impl FnOnce() -> String) -> Result<(), RandomError> {
    if condition {
        Ok(())
    } else {
        Err(RandomError(text()))
    }
}

/// An empty list with room for `count` numbers.
fn room(op: &str, count: usize) -> Result<Vec<i64>, RandomError> {
    let mut list = Vec::new();
    let fits = list.try_reserve_exact(count).is_ok();
    ensure(fits, || {
        format!("{op}: {count} numbers do not fit into memory; draw fewer")
    })?;
    Ok(list)
}

/// A source of random numbers, equal to `torch.Generator()` on the CPU.
///
/// ```standalone_crate
/// let mut generator = flambeau_cpu::random::Generator::new();
/// generator.manual_seed(0);
/// let mut x = [0.0f32; 3];
/// generator.uniform(&mut x, 0.0, 1.0).unwrap();
/// // torch.manual_seed(0); torch.rand(3)
/// assert_eq!(x, [0.49625659, 0.7682218, 0.08847743]);
/// ```
#[derive(Clone)]
pub struct Generator {
    engine: Mt19937,
    seed: u64,
    /// The second value of the last Box-Muller pair, for the next scalar normal.
    next_normal: Option<f64>,
    /// PyTorch keeps a `f32` one too. Its CPU fills never use it; it is carried for the state.
    next_normal_f32: Option<f32>,
}

impl Default for Generator {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generator(seed {})", self.seed)
    }
}

impl Generator {
    /// A generator seeded with [`DEFAULT_SEED`].
    pub fn new() -> Self {
        Self::from_seed(DEFAULT_SEED)
    }

    /// A generator seeded with `seed`: `torch.Generator().manual_seed(seed)`.
    pub fn from_seed(seed: u64) -> Self {
        Self {
            // As in PyTorch, the low half seeds the engine; the whole is remembered.
            engine: Mt19937::new(seed as u32),
            seed,
            next_normal: None,
            next_normal_f32: None,
        }
    }

    /// Restarts from `seed` and forgets the cached normal.
    pub fn manual_seed(&mut self, seed: u64) {
        *self = Self::from_seed(seed);
    }

    /// Restarts from a seed that nobody can foresee, of 53 bits as in PyTorch, and returns it.
    pub fn seed(&mut self) -> u64 {
        // The standard library's hash keys come from the operating system.
        let random = std::hash::RandomState::new().build_hasher().finish();
        self.manual_seed(random & ((1 << 53) - 1));
        self.seed
    }

    /// The seed that this generator last started from.
    pub fn initial_seed(&self) -> u64 {
        self.seed
    }

    /// The next 32 random bits.
    #[inline]
    pub fn random32(&mut self) -> u32 {
        self.engine.word()
    }

    /// The next 64 random bits: two words, the first one the upper half.
    #[inline]
    pub fn random64(&mut self) -> u64 {
        let high = self.engine.word();
        join(high, self.engine.word())
    }

    /// The next `f64` in [0, 1): 53 of 64 random bits.
    #[inline]
    fn unit(&mut self) -> f64 {
        unit_f64(self.random64())
    }

    /// Everything that decides the numbers to come, as the [`STATE_BYTES`] bytes of
    /// `torch.Generator.get_state()`, so that either side can read the other's.
    pub fn state(&self) -> Vec<u8> {
        let (words, next) = self.engine.parts();
        let left = if next == 0 { 1 } else { mt19937::N + 1 - next };
        let mut bytes = Vec::with_capacity(STATE_BYTES);
        bytes.extend(self.seed.to_le_bytes());
        bytes.extend((left as u32).to_le_bytes());
        bytes.extend(1u32.to_le_bytes()); // seeded
        bytes.extend((next as u64).to_le_bytes());
        bytes.extend(words.iter().flat_map(|&w| u64::from(w).to_le_bytes()));
        bytes.extend(0f64.to_le_bytes()); // no longer used by PyTorch
        bytes.extend(self.next_normal.unwrap_or(0.0).to_le_bytes());
        bytes.extend(0f64.to_le_bytes()); // no longer used by PyTorch
        bytes.extend(u64::from(self.next_normal.is_some()).to_le_bytes());
        bytes.extend(self.next_normal_f32.unwrap_or(0.0).to_le_bytes());
        bytes.extend(u32::from(self.next_normal_f32.is_some()).to_le_bytes());
        bytes
    }

    /// Takes up a state that [`state`](Self::state) or `torch.Generator.get_state()` returned.
    ///
    /// # Errors
    /// Where `bytes` are not such a state; the generator is then unchanged.
    pub fn set_state(&mut self, bytes: &[u8]) -> Result<(), RandomError> {
        ensure(bytes.len() == STATE_BYTES, || {
            format!(
                "a generator's state has {STATE_BYTES} bytes, these are {}",
                bytes.len()
            )
        })?;
        let damaged = || RandomError("the generator's state is damaged".to_string());
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let mut state = Box::new([0; mt19937::N]);
        for (j, word) in state.iter_mut().enumerate() {
            *word = u64_at(24 + 8 * j).try_into().map_err(|_| damaged())?;
        }
        let next = u64_at(16).try_into().map_err(|_| damaged())?;
        let engine = Mt19937::from_parts(state, next).ok_or_else(damaged)?;
        let (left, seeded) = (u32_at(8) as usize, u32_at(12));
        let whole = match next {
            0 => left == 1,
            _ => left + next == mt19937::N + 1,
        };
        // The words after the two flags are padding, which PyTorch may leave as it likes.
        let (normal, normal_f32) = (u32_at(5040), bytes[5052]);
        ensure(
            whole && seeded == 1 && normal <= 1 && normal_f32 <= 1,
            || damaged().0,
        )?;
        *self = Self {
            engine,
            seed: u64_at(0),
            next_normal: (normal == 1).then(|| f64::from_bits(u64_at(5024))),
            next_normal_f32: (normal_f32 == 1).then(|| f32::from_bits(u32_at(5048))),
        };
        Ok(())
    }

    /// Fills `out` with `value` of one word each. Let `value` own what it captures: the compiler
    /// reads a borrowed capture anew for each element, since `out` might overlap it.
    #[inline(always)]
    fn fill32<T>(&mut self, mut out: &mut [T], value: impl Fn(u32) -> T + Copy) {
        while !out.is_empty() {
            let words = self.engine.words(out.len());
            let (now, later) = out.split_at_mut(words.len());
            simd::dispatch(Map {
                words,
                out: now,
                value,
            });
            out = later;
        }
    }

    /// Fills `out` with `value` of two words each, joined.
    #[inline(always)]
    fn fill64<T>(&mut self, mut out: &mut [T], value: impl Fn(u64) -> T + Copy) {
        while !out.is_empty() {
            let words = self.engine.words(2 * out.len());
            let (pairs, odd) = words.as_chunks::<2>();
            let (now, later) = out.split_at_mut(pairs.len());
            // Where the block ends inside a pair, one element takes the rest from the next.
            let (split, later) = later.split_at_mut(odd.len());
            let high = odd.first().copied();
            simd::dispatch(Map {
                words: pairs,
                out: now,
                value: move |[high, low]: [u32; 2]| value(join(high, low)),
            });
            if let (Some(high), [x]) = (high, split) {
                *x = value(join(high, self.engine.word()));
            }
            out = later;
        }
    }
}

/// `out[i] = value(words[i])`, compiled for each SIMD level.
struct Map<'a, W, T, F> {
    words: &'a [W],
    out: &'a mut [T],
    value: F,
}

impl<W: Copy, T, F: Fn(W) -> T> Task for Map<'_, W, T, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (out, &word) in self.out.iter_mut().zip(self.words) {
            *out = (self.value)(word);
        }
    }
}

#[inline(always)]
fn join(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// The low 24 bits as an `f32` in [0, 1).
#[inline(always)]
fn unit_f32(word: u32) -> f32 {
    const SCALE: f32 = 1.0 / (1 << 24) as f32;
    (word & 0xff_ffff) as f32 * SCALE
}

/// The low 53 bits as an `f64` in [0, 1).
#[inline(always)]
fn unit_f64(bits: u64) -> f64 {
    const SCALE: f64 = 1.0 / (1u64 << 53) as f64;
    (bits & ((1 << 53) - 1)) as f64 * SCALE
}
