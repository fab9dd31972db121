//! `random_`, `randint` and `randperm`: integers, of any element type.

use super::{Generator, Number, RandomError, room};

/// From this many elements on PyTorch's `randperm` draws 64 bits an element, and otherwise.
const LARGE_PERMUTATION: usize = u32::MAX as usize / 20;

impl Generator {
    /// Fills `out` with integers from 0 to the greatest that the type counts to: its maximum for
    /// integers, 2^53, 2^24, 2^11 or 2^8 for `f64`, `f32`, `f16` or `bf16`: `Tensor.random_()`.
    ///
    /// ```
    /// let mut generator = flambeau_cpu::random::Generator::from_seed(1);
    /// let mut seed = [0i64];
    /// generator.random(&mut seed);
    /// assert_eq!(seed, [7692698082559361259]); // torch.empty((), dtype=torch.int64).random_()
    /// ```
    pub fn random<T: Number>(&mut self, out: &mut [T]) {
        if T::MANTISSA_DIGITS == f64::MANTISSA_DIGITS {
            self.fill64(out, move |bits| {
                T::from_i64((bits % ((1 << 53) + 1)) as i64)
            });
        } else if T::MANTISSA_DIGITS > 0 {
            self.fill32(out, move |word| {
                T::from_i64(i64::from(word % ((1 << T::MANTISSA_DIGITS) + 1)))
            });
        } else if T::MAX == i64::MAX {
            self.fill64(out, move |bits| T::from_i64(bits as i64 & i64::MAX));
        } else {
            // The maxima are all ones in binary, so the remainder by maximum + 1 is a mask.
            self.fill32(out, move |word| T::from_i64(i64::from(word) & T::MAX));
        }
    }

    /// Fills `out` with integers of [`from`, `to`), or from `from` to the type's greatest where
    /// `to` is `None`: `Tensor.random_(from, to)`; `torch.randint(from, to)` is the same.
    ///
    /// An element takes one word, or two where there are 2^28 values or more.
    ///
    /// # Errors
    /// Where no integer lies between, or the type does not hold a bound.
    pub fn random_from_to<T: Number>(
        &mut self,
        out: &mut [T],
        from: i64,
        to: Option<i64>,
    ) -> Result<(), RandomError> {
        let bad = |text: String| Err(RandomError(format!("random_: {text} for {}", T::NAME)));
        if to.is_none() && from == i64::MIN {
            if T::MIN != i64::MIN {
                return bad(format!("from = {from} is out of bounds"));
            }
            self.fill64(out, move |bits| T::from_i64(bits as i64));
            return Ok(());
        }
        let Some((first, last)) = bounds::<T>(from, to) else {
            return match to {
                Some(to) => bad(format!(
                    "no integer lies in [from, to) with from = {from} and to = {to}"
                )),
                None => bad(format!("from = {from} is above the greatest value")),
            };
        };
        if first < T::MIN || last > T::MAX {
            return bad(format!("[{first}, {last}] reaches out of bounds"));
        }
        // 2^64 values are the case above, so this does not overflow.
        let count = (last as u64).wrapping_sub(first as u64) + 1;
        if count >= 1 << 28 {
            self.fill64(out, move |bits| {
                T::from_i64(first.wrapping_add((bits % count) as i64))
            });
        } else {
            let count = count as u32;
            self.fill32(out, move |word| {
                T::from_i64(first + i64::from(word % count))
            });
        }
        Ok(())
    }

    /// The integers from 0 to `n - 1` in random order: `torch.randperm(n)`.
    ///
    /// Takes a word for each element but the last, two for every element from 214,748,364 on.
    ///
    /// # Errors
    /// Where so many numbers do not fit into memory.
    pub fn randperm(&mut self, n: usize) -> Result<Vec<i64>, RandomError> {
        let mut order = room("randperm", n)?;
        order.extend(0..n as i64);
        if n < LARGE_PERMUTATION {
            for i in 0..n.saturating_sub(1) {
                let other = i + self.random32() as usize % (n - i);
                order.swap(i, other);
            }
        } else {
            for i in 0..n {
                let other = (self.random64() % (i as u64 + 1)) as usize;
                order.swap(i, other);
            }
        }
        Ok(order)
    }
}

/// The least and the greatest integer to draw; `None` where there is none. For floats the bounds
/// move inwards where rounding would take a draw out of them, by PyTorch's rule.
fn bounds<T: Number>(from: i64, to: Option<i64>) -> Option<(i64, i64)> {
    if T::MANTISSA_DIGITS == 0 {
        let last = match to {
            Some(to) => to.checked_sub(1)?,
            None => T::MAX,
        };
        return (from <= last).then_some((from, last));
    }
    let rounded = |value: i64| T::from_i64(value).to_i64();
    // The distance of the type's values around `value`, which has more than MANTISSA_DIGITS bits.
    let step = |value: i64| 1i64 << (value.unsigned_abs().ilog2() + 1 - T::MANTISSA_DIGITS);
    let mut first = from;
    if from < i64::MAX && rounded(from + 1) < from {
        first = rounded(from + 1) + step(from + 1);
    }
    let mut last = 1 << T::MANTISSA_DIGITS;
    if let Some(to) = to {
        last = to.checked_sub(1)?;
        if from <= last && rounded(last) >= to {
            last = rounded(last).saturating_sub(step(last)) - 1;
        }
    }
    (from <= last && first <= last).then_some((first, last))
}
