//! Which number each byte of a picture stands for.
//!
//! `ToTensor` and `Normalize` of bytes change this table of 256 numbers a channel instead of the
//! pixels, so that the pixels are gone over once, when they are written into the batch. Where the
//! CPU has fused multiply-add, the table's own formula is faster than looking up: its divisions are
//! done as multiplications by the reciprocal with one correction, and it is taken only if it gives
//! every one of the 256 numbers to the bit.

use crate::layout::Row;
use flambeau_cpu::simd::{self, Level};

/// The number that each byte stands for: one channel's table for each, or one for all.
pub(crate) struct Levels(Vec<Channel>);

struct Channel {
    table: [f32; 256],
    /// A formula that gives the table.
    formula: Option<Formula>,
}

/// `(byte / 255 - mean) / std`, every step rounded to `f32` as PyTorch's are.
#[derive(Clone, Copy, PartialEq)]
struct Formula {
    mean: f32,
    std: f32,
}

impl Formula {
    #[inline(always)]
    fn of(self, byte: u8) -> f32 {
        /// `x / y`, given `1 / y`: the quotient's error, which is exact in `f32`, corrects it.
        #[inline(always)]
        fn divide(x: f32, y: f32, reciprocal: f32) -> f32 {
            let quotient = x * reciprocal;
            (-y).mul_add(quotient, x).mul_add(reciprocal, quotient)
        }
        let unit = divide(byte as f32, 255.0, 1.0 / 255.0);
        divide(unit - self.mean, self.std, 1.0 / self.std)
    }

    /// The formula, if it is worth using and gives `table`.
    fn checked(self, table: &[f32; 256]) -> Option<Formula> {
        // In software a fused multiply-add is slow.
        let fused = simd::level() > Level::Portable || cfg!(target_arch = "aarch64");
        let same = |byte: u8| self.of(byte).to_bits() == table[byte as usize].to_bits();
        (fused && (0..=255).all(same)).then_some(self)
    }
}

flambeau_cpu::simd_fn! {
    fn forward(bytes: &[u8], formula: Formula, out: &mut [f32]) {
        out.iter_mut().zip(bytes).for_each(|(o, &byte)| *o = formula.of(byte));
    }

    fn backward(bytes: &[u8], formula: Formula, out: &mut [f32]) {
        out.iter_mut().zip(bytes.iter().rev()).for_each(|(o, &byte)| *o = formula.of(byte));
    }
}

impl Levels {
    /// Each byte divided by 255.
    pub fn unit() -> Levels {
        let table = std::array::from_fn(|byte| byte as f32 / 255.0);
        let formula = Formula {
            mean: 0.0,
            std: 1.0,
        }
        .checked(&table);
        Levels(vec![Channel { table, formula }])
    }

    /// Less the channel's mean, divided by its standard deviation; lists of one number are for all
    /// channels.
    pub fn normalized(&self, mean: &[f64], std: &[f64], channels: usize) -> Levels {
        // One table will do for all channels where all are treated alike.
        let tables = self.0.len().max(mean.len()).max(std.len()).min(channels);
        let pick = |list: &[f64], c: usize| list[c.min(list.len() - 1)] as f32;
        let channel = |c| {
            let (mean, std) = (pick(mean, c), pick(std, c));
            let old = &self.0[c.min(self.0.len() - 1)];
            let table = old.table.map(|v| (v - mean) / std);
            let formula = Formula { mean, std }.checked(&table);
            Channel { table, formula }
        };
        Levels((0..tables).map(channel).collect())
    }

    /// Writes the numbers of a row of channel `c`.
    pub fn write(&self, c: usize, row: Row<'_, u8>, out: &mut [f32]) {
        let Channel { table, formula } = &self.0[c.min(self.0.len() - 1)];
        match (row, *formula) {
            (Row::Forward(bytes), Some(formula)) => forward(bytes, formula, out),
            (Row::Backward(bytes), Some(formula)) => backward(bytes, formula, out),
            (row, _) => row.map(out, |byte| table[byte as usize]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_is_taken_for_the_usual_numbers_and_never_wrong() {
        let bytes: Vec<u8> = (0..=255).collect();
        let fused = simd::level() > Level::Portable || cfg!(target_arch = "aarch64");
        let imagenet = [[0.485, 0.229], [0.456, 0.224], [0.406, 0.225]];
        let cifar = [[0.4914, 0.2470], [0.4822, 0.2435], [0.4465, 0.2616]];
        let odd = [
            [0.1, 3.0],
            [-7.0, 1e-3],
            [0.3, 1e38],
            [0.5, 1e-38],
            [1e30, 1.0],
        ];
        let usual = [[0.5, 0.5], [0.0, 1.0], [0.1307, 0.3081]];
        let all = imagenet.iter().chain(&cifar).chain(&usual);
        for (&[mean, std], must) in all.map(|n| (n, true)).chain(odd.iter().map(|n| (n, false))) {
            let levels = Levels::unit().normalized(&[mean], &[std], 3);
            let channel = &levels.0[0];
            assert!(!must || channel.formula.is_some() == fused, "{mean} {std}");
            let mut out = [0.0; 256];
            levels.write(1, Row::Backward(&bytes), &mut out);
            out.reverse();
            for (byte, v) in out.into_iter().enumerate() {
                let unit = byte as f32 / 255.0;
                let expected = (unit - mean as f32) / std as f32;
                assert_eq!(v.to_bits(), expected.to_bits(), "{mean} {std} {byte}");
            }
        }
        // Normalised twice it is another formula, which is not taken for this one.
        let twice = Levels::unit()
            .normalized(&[0.5], &[0.5], 3)
            .normalized(&[0.5], &[0.5], 3);
        assert!(twice.0[0].formula.is_none());
    }
}
