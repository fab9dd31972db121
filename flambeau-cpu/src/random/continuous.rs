//! `exponential_`, `geometric_`, `cauchy_` and `log_normal_`: values by inversion of a uniform
//! one, computed in `f64` whatever the element type.

use std::f64::consts::PI;

use super::{Generator, Number, RandomError, Real, ensure};

impl Generator {
    /// Fills `out` with waiting times at rate `lambda`: `Tensor.exponential_(lambda)`.
    ///
    /// # Errors
    /// Where `lambda` is not above 0.
    pub fn exponential<T: Real>(&mut self, out: &mut [T], lambda: f64) -> Result<(), RandomError> {
        ensure(lambda > 0.0, || {
            format!("exponential_ expects lambda > 0, but lambda = {lambda}")
        })?;
        for x in out {
            *x = T::from_f64(-1.0 / lambda * (-self.unit()).ln_1p());
        }
        Ok(())
    }

    /// Fills `out` with the number of trials up to the first success, each of probability `p`:
    /// `Tensor.geometric_(p)`.
    ///
    /// # Errors
    /// Where `p` is not in (0, 1).
    pub fn geometric<T: Number>(&mut self, out: &mut [T], p: f64) -> Result<(), RandomError> {
        ensure(0.0 < p && p < 1.0, || {
            format!("geometric_ expects p in (0, 1), but p = {p}")
        })?;
        for x in out {
            *x = T::from_f64((self.unit().ln() / (-p).ln_1p()).ceil());
        }
        Ok(())
    }

    /// Fills `out` with values of Cauchy's distribution: `Tensor.cauchy_(median, sigma)`.
    ///
    /// # Errors
    /// Where `sigma` is not above 0.
    pub fn cauchy<T: Real>(
        &mut self,
        out: &mut [T],
        median: f64,
        sigma: f64,
    ) -> Result<(), RandomError> {
        ensure(sigma > 0.0, || {
            format!("cauchy_ expects sigma > 0, but sigma = {sigma}")
        })?;
        for x in out {
            *x = T::from_f64(sigma.mul_add((PI * (self.unit() - 0.5)).tan(), median));
        }
        Ok(())
    }

    /// Fills `out` with values whose logarithm has mean `mean` and standard deviation `std`:
    /// `Tensor.log_normal_(mean, std)`. Draws and keeps normals as
    /// [`normal_scalar`](Self::normal_scalar) does, whatever the size.
    ///
    /// # Errors
    /// Where `std` is not above 0.
    pub fn log_normal<T: Real>(
        &mut self,
        out: &mut [T],
        mean: f64,
        std: f64,
    ) -> Result<(), RandomError> {
        ensure(std > 0.0, || {
            format!("log_normal_ expects std > 0, but std = {std}")
        })?;
        for x in out {
            *x = T::from_f64(self.next_normal_value(mean, std).exp());
        }
        Ok(())
    }
}
