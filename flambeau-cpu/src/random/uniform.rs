//! `uniform_`: equally likely values of an interval.

use super::{Generator, RandomError, Real, ensure, unit_f32, unit_f64};

impl Generator {
    /// Fills `out` with values of [`from`, `to`): `Tensor.uniform_(from, to)`; `torch.rand` is
    /// 0 and 1.
    ///
    /// A draw takes one word (24 bits of it) for `f32`, `f16` and `bf16`, which are computed in
    /// `f32`, and two (53 bits) for `f64`. The bounds are rounded to the type that is computed in
    /// before they are subtracted; a value that rounding brings up to `to` becomes `from`.
    ///
    /// # Errors
    /// Where `from > to`, or a bound or their difference is beyond the type's range.
    pub fn uniform<T: Real>(
        &mut self,
        out: &mut [T],
        from: f64,
        to: f64,
    ) -> Result<(), RandomError> {
        for (what, bound) in [("from", from), ("to", to)] {
            ensure(bound.abs() <= T::LARGEST, || {
                format!(
                    "uniform_: {what} = {bound} is out of bounds for {}",
                    T::NAME
                )
            })?;
        }
        ensure(from <= to, || {
            format!(
                "uniform_: the interval [from, to) needs from <= to, but from = {from} and to = {to}"
            )
        })?;
        ensure(to - from <= T::LARGEST, || {
            format!(
                "uniform_: to - from is beyond {}'s range for from = {from} and to = {to}",
                T::NAME
            )
        })?;
        let (first, last) = (T::from_f64(from), T::from_f64(to));
        let inside = move |value: T| if value == last { first } else { value };
        if T::MANTISSA_DIGITS == f64::MANTISSA_DIGITS {
            let range = to - from;
            self.fill64(out, move |bits| {
                inside(T::from_f64(unit_f64(bits).mul_add(range, from)))
            });
        } else {
            let (from, range) = (from as f32, to as f32 - from as f32);
            self.fill32(out, move |word| {
                inside(T::from_f32(unit_f32(word).mul_add(range, from)))
            });
        }
        Ok(())
    }
}
