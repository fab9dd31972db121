//! `bernoulli_`: zeros and ones; what dropout draws its mask from.

use super::{Generator, Number, RandomError, Real, ensure, unit_f32, unit_f64};

impl Generator {
    /// Fills `out` with 1 at probability `p` and 0 otherwise: `Tensor.bernoulli_(p)`.
    ///
    /// An element takes two words whatever its type. Dropout of probability `q` on the CPU is
    /// `bernoulli_(1 - q)` in the input's type, divided by `1 - q`.
    ///
    /// # Errors
    /// Where `p` is not in [0, 1].
    pub fn bernoulli<T: Number>(&mut self, out: &mut [T], p: f64) -> Result<(), RandomError> {
        check(p)?;
        self.fill64(out, move |bits| T::from_i64(i64::from(unit_f64(bits) < p)));
        Ok(())
    }

    /// Fills each element of `out` with 1 at the probability that stands beside it in `p` and 0
    /// otherwise: `torch.bernoulli(p)`, `Tensor.bernoulli_(p)` with a tensor.
    ///
    /// An element takes two words where `p` is `f64`, one otherwise.
    ///
    /// # Errors
    /// Where the lengths differ or an element of `p` is not in [0, 1].
    pub fn bernoulli_each<T: Number, P: Real>(
        &mut self,
        out: &mut [T],
        p: &[P],
    ) -> Result<(), RandomError> {
        ensure(out.len() == p.len(), || {
            format!(
                "bernoulli: {} elements, but {} probabilities",
                out.len(),
                p.len()
            )
        })?;
        p.iter().try_for_each(|p| check(p.to_f64()))?;
        for (out, p) in out.iter_mut().zip(p) {
            let below = if P::MANTISSA_DIGITS == f64::MANTISSA_DIGITS {
                self.unit() < p.to_f64()
            } else {
                unit_f32(self.random32()) < p.to_f64() as f32
            };
            *out = T::from_i64(i64::from(below));
        }
        Ok(())
    }
}

fn check(p: f64) -> Result<(), RandomError> {
    ensure((0.0..=1.0).contains(&p), || {
        format!("bernoulli expects probabilities in [0, 1], but got p = {p}")
    })
}
