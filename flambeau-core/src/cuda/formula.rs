//! Formulas of one element ([`Update`]) as CUDA: run once with symbols in place of numbers, a
//! formula writes itself down.
//!
//! Its constants become numbers of the launch, so that another learning rate is no other kernel.

use crate::fused::{Real, Update};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::sync::{LazyLock, Mutex, PoisonError};

/// What a formula does, step by step; operands are the numbers of earlier steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// The element of that tensor, those that are written first.
    Element(u32),
    /// That constant.
    Constant(u32),
    Add(u32, u32),
    Sub(u32, u32),
    Mul(u32, u32),
    Div(u32, u32),
    Neg(u32),
    MulAdd(u32, u32, u32),
    Sqrt(u32),
    Abs(u32),
    Maximum(u32, u32),
}

#[derive(Default)]
struct Tape {
    steps: Vec<Step>,
    constants: Vec<f64>,
}

thread_local! {
    static TAPE: RefCell<Tape> = RefCell::default();
}

/// A number that is not known yet: the result of a step on this thread's tape.
#[derive(Clone, Copy, Default)]
struct Symbol(u32);

fn record(step: Step) -> Symbol {
    TAPE.with_borrow_mut(|tape| {
        tape.steps.push(step);
        Symbol(tape.steps.len() as u32 - 1)
    })
}

macro_rules! operators {
    ($($trait:ident $method:ident),*) => {$(
        impl $trait for Symbol {
            type Output = Symbol;
            fn $method(self, other: Symbol) -> Symbol {
                record(Step::$trait(self.0, other.0))
            }
        }
    )*};
}
operators!(Add add, Sub sub, Mul mul, Div div);

impl Neg for Symbol {
    type Output = Symbol;
    fn neg(self) -> Symbol {
        record(Step::Neg(self.0))
    }
}

impl Real for Symbol {
    fn of(v: f64) -> Symbol {
        let at = TAPE.with_borrow_mut(|tape| {
            tape.constants.push(v);
            tape.constants.len() as u32 - 1
        });
        record(Step::Constant(at))
    }
    fn mul_add(self, a: Symbol, b: Symbol) -> Symbol {
        record(Step::MulAdd(self.0, a.0, b.0))
    }
    fn sqrt(self) -> Symbol {
        record(Step::Sqrt(self.0))
    }
    fn abs(self) -> Symbol {
        record(Step::Abs(self.0))
    }
    fn maximum(self, other: Symbol) -> Symbol {
        record(Step::Maximum(self.0, other.0))
    }
}

/// A formula for the device: statements that change `w0`, `w1` and so on, and their numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Traced {
    pub(crate) body: &'static str,
    pub(crate) constants: Vec<f64>,
}

/// Writes a formula down.
pub(crate) fn trace<const W: usize, const R: usize>(formula: &impl Update<W, R>) -> Traced {
    TAPE.take();
    let write = std::array::from_fn(|i| record(Step::Element(i as u32)));
    let read = std::array::from_fn(|i| record(Step::Element((W + i) as u32)));
    let results = formula.element::<Symbol>(write, read).map(|s| s.0);
    let tape = TAPE.take();
    Traced {
        body: text(tape.steps, &results, W),
        constants: tape.constants,
    }
}

/// The statements; written once for each sequence of steps, and kept: there are few.
fn text(steps: Vec<Step>, results: &[u32], written: usize) -> &'static str {
    type Texts = HashMap<(Vec<Step>, Vec<u32>), &'static str>;
    static TEXTS: LazyLock<Mutex<Texts>> = LazyLock::new(Mutex::default);
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    texts
        .entry((steps, results.to_vec()))
        .or_insert_with_key(|(steps, results)| {
            let mut text = String::new();
            for (i, step) in steps.iter().enumerate() {
                let value = match step {
                    Step::Element(k) if (*k as usize) < written => format!("w{k}"),
                    Step::Element(k) => format!("r{}", *k as usize - written),
                    Step::Constant(k) => format!("p[{k}]"),
                    Step::Add(a, b) => format!("s{a} + s{b}"),
                    Step::Sub(a, b) => format!("s{a} - s{b}"),
                    Step::Mul(a, b) => format!("s{a} * s{b}"),
                    Step::Div(a, b) => format!("s{a} / s{b}"),
                    Step::Neg(a) => format!("-s{a}"),
                    Step::MulAdd(a, b, c) => format!("fma(s{a}, s{b}, s{c})"),
                    Step::Sqrt(a) => format!("sqrt(s{a})"),
                    Step::Abs(a) => format!("fabs(s{a})"),
                    Step::Maximum(a, b) => format!("maximum(s{a}, s{b})"),
                };
                let _ = write!(text, "const ACC s{i} = {value}; ");
            }
            for (i, result) in results.iter().enumerate() {
                let _ = write!(text, "w{i} = s{result}; ");
            }
            text.leak()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// p - rate (g + 0.5 p), and |m|.
    #[derive(Clone, Copy)]
    struct Descend(f64);
    impl Update<2, 1> for Descend {
        #[inline(always)]
        fn element<T: Real>(&self, [p, m]: [T; 2], [g]: [T; 1]) -> [T; 2] {
            [p - T::of(self.0) * p.mul_add(T::of(0.5), g), m.abs()]
        }
    }

    #[test]
    fn a_formula_writes_itself_down() {
        let traced = trace(&Descend(0.1));
        assert_eq!(traced.constants, [0.1, 0.5]);
        assert!(traced.body.contains("fma(s0, s4, s2)"), "{}", traced.body);
        assert!(
            traced.body.ends_with("w0 = s7; w1 = s8; "),
            "{}",
            traced.body
        );
        let other = trace(&Descend(0.2));
        assert_eq!(other.constants, [0.2, 0.5]);
        assert!(
            std::ptr::eq(other.body, traced.body),
            "another rate is no other kernel"
        );
    }
}
