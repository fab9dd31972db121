//! `torch.multinomial`: indices drawn by weight.

use super::{Generator, RandomError, Real, ensure, room};

/// The most categories: PyTorch's limit, the integers that `f32` counts.
const MAX_CATEGORIES: usize = 1 << 24;

impl Generator {
    /// Draws `samples` indices into each row of `weights`, which holds rows of `categories`
    /// weights (not negative; they need not sum to 1): `torch.multinomial(weights, samples,
    /// replacement)`. Returns `samples` indices a row, row after row.
    ///
    /// With replacement each index comes by search in the summed weights (two words a sample).
    /// Without, or for a single sample, every weight is divided by an exponential draw (two words
    /// a category) and the largest quotients win, largest first; equal quotients, which come only
    /// of weights that are 0 or of 16-bit types, are taken in the order of their indices.
    ///
    /// ```
    /// let mut generator = flambeau_cpu::random::Generator::from_seed(0);
    /// let drawn = generator.multinomial(&[0.0f64, 10.0, 3.0, 0.0], 4, 5, true).unwrap();
    /// assert_eq!(drawn.len(), 5);
    /// assert!(drawn.iter().all(|&i| i == 1 || i == 2));
    /// ```
    ///
    /// # Errors
    /// Where `samples` or `categories` is 0, there are more than 2^24 categories, `weights` is no
    /// whole number of rows, `samples > categories` without replacement, a weight is negative or
    /// not finite, or the weights of a row sum to 0.
    pub fn multinomial<T: Real>(
        &mut self,
        weights: &[T],
        categories: usize,
        samples: usize,
        replacement: bool,
    ) -> Result<Vec<i64>, RandomError> {
        ensure(samples > 0, || {
            "multinomial: cannot draw 0 samples".to_string()
        })?;
        ensure((1..=MAX_CATEGORIES).contains(&categories), || {
            format!("multinomial takes 1 to 2^24 categories, not {categories}")
        })?;
        ensure(weights.len().is_multiple_of(categories), || {
            format!(
                "multinomial: {} weights are no rows of {categories}",
                weights.len()
            )
        })?;
        ensure(replacement || samples <= categories, || {
            format!(
                "multinomial: cannot draw {samples} of {categories} categories without replacement"
            )
        })?;
        for row in weights.chunks(categories) {
            let valid = |w: &T| (0.0..=T::LARGEST).contains(&w.to_f64());
            if let Some(at) = row.iter().position(|w| !valid(w)) {
                let weight = row[at].to_f64();
                return Err(RandomError(format!(
                    "multinomial: weights must be finite and not negative, but weight {at} is {weight}"
                )));
            }
            ensure(row.iter().any(|w| w.to_f64() > 0.0), || {
                "multinomial: the weights of a row sum to 0".to_string()
            })?;
        }
        if replacement && samples > 1 {
            self.search_sums(weights, categories, samples)
        } else {
            self.largest_quotients(weights, categories, samples)
        }
    }

    fn search_sums<T: Real>(
        &mut self,
        weights: &[T],
        categories: usize,
        samples: usize,
    ) -> Result<Vec<i64>, RandomError> {
        let rows = weights.len() / categories;
        let mut drawn = room("multinomial", rows.saturating_mul(samples))?;
        for row in weights.chunks(categories) {
            let mut sums = cumulative(row);
            sums[categories - 1] = 1.0;
            drawn.extend((0..samples).map(|_| {
                let u = self.unit();
                sums.partition_point(|&sum| sum < u) as i64
            }));
        }
        Ok(drawn)
    }

    fn largest_quotients<T: Real>(
        &mut self,
        weights: &[T],
        categories: usize,
        samples: usize,
    ) -> Result<Vec<i64>, RandomError> {
        // One fill for all rows, as PyTorch draws.
        let mut times = vec![T::from_f64(0.0); weights.len()];
        self.exponential(&mut times, 1.0)?;
        let mut drawn = Vec::with_capacity(weights.len() / categories * samples);
        for (row, times) in weights.chunks(categories).zip(times.chunks(categories)) {
            let quotient = |(weight, time): (&T, &T)| {
                let exact = weight.to_f64() / time.to_f64();
                // 0 / 0, where the draw is 0 too: never drawn.
                if exact.is_nan() {
                    0.0
                } else {
                    T::from_f64(exact).to_f64()
                }
            };
            let quotients: Vec<f64> = row.iter().zip(times).map(quotient).collect();
            let mut order: Vec<usize> = (0..categories).collect();
            let by_quotient =
                |&a: &usize, &b: &usize| quotients[b].total_cmp(&quotients[a]).then(a.cmp(&b));
            if samples < categories {
                order.select_nth_unstable_by(samples - 1, by_quotient);
                order.truncate(samples);
            }
            order.sort_unstable_by(by_quotient);
            drawn.extend(order.into_iter().map(|i| i as i64));
        }
        Ok(drawn)
    }
}

/// The running sums of `row` over their total, in the row's type (`f32` for the 16-bit ones).
fn cumulative<T: Real>(row: &[T]) -> Vec<f64> {
    if T::MANTISSA_DIGITS == f64::MANTISSA_DIGITS {
        let mut sum = 0.0;
        let mut sums: Vec<f64> = row
            .iter()
            .map(|w| {
                sum += w.to_f64();
                sum
            })
            .collect();
        sums.iter_mut().for_each(|s| *s /= sum);
        sums
    } else {
        let mut sum = 0.0f32;
        let sums: Vec<f32> = row
            .iter()
            .map(|w| {
                sum += w.to_f64() as f32;
                sum
            })
            .collect();
        sums.iter().map(|s| f64::from(s / sum)).collect()
    }
}
