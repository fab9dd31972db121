//! Against PyTorch's own draws (tests/goldens/make_random.py).

use half::{bf16, f16};

use super::*;

const GOLDENS: &str = include_str!("../../tests/goldens/random.txt");

/// An element type as the goldens write it.
trait Element: Number {
    fn bits(self) -> u64;
    fn value(bits: u64) -> f64;
}

macro_rules! element {
    ($($t:ident |$x:ident| $bits:expr, |$b:ident| $value:expr;)*) => {$(
        impl Element for $t {
            fn bits(self) -> u64 {
                let $x = self;
                u64::from($bits)
            }
            fn value($b: u64) -> f64 {
                $value
            }
        }
    )*};
}
element! {
    f32 |x| x.to_bits(), |b| f64::from(f32::from_bits(b as u32));
    f64 |x| x.to_bits(), |b| f64::from_bits(b);
    f16 |x| x.to_bits(), |b| f64::from(f16::from_bits(b as u16));
    bf16 |x| x.to_bits(), |b| f64::from(bf16::from_bits(b as u16));
    i64 |x| x as u64, |b| b as i64 as f64;
    i32 |x| x as u32, |b| b as i32 as f64;
    i16 |x| x as u16, |b| b as i16 as f64;
    i8 |x| x as u8, |b| b as i8 as f64;
    u8 |x| x, |b| b as f64;
    bool |x| x, |b| b as f64;
}

fn fnv(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Compares `drawn` with a golden's result: exactly, or closely where `tolerance` is given.
fn compare<T: Element>(line: &str, drawn: &[T], golden: &str, tolerance: Option<f64>) {
    if let Some(hash) = golden.strip_prefix('#') {
        let bytes = drawn
            .iter()
            .flat_map(|x| x.bits().to_le_bytes().into_iter().take(size_of::<T>()));
        assert_eq!(format!("{:016x}", fnv(bytes)), hash, "{line}");
        return;
    }
    let words: Vec<&str> = golden.split_whitespace().collect();
    let pairs: Vec<(&T, &&str)> = match words.iter().position(|&w| w == "..") {
        Some(cut) => {
            let last = words.len() - cut - 1;
            let tail = drawn[drawn.len() - last..].iter().zip(&words[cut + 1..]);
            drawn.iter().zip(&words[..cut]).chain(tail).collect()
        }
        None => {
            assert_eq!(drawn.len(), words.len(), "{line}");
            drawn.iter().zip(&words).collect()
        }
    };
    for (&x, word) in pairs {
        let wanted = u64::from_str_radix(word, 16).unwrap();
        let (a, b) = (T::value(x.bits()), T::value(wanted));
        let same = match tolerance {
            Some(t) => (a - b).abs() <= t * (1.0 + b.abs()),
            None => x.bits() == wanted,
        };
        assert!(same, "{line}: drew {a}, PyTorch {b}");
    }
}

/// One line of the goldens that draws `T`s.
struct Line<'a> {
    text: &'a str,
    op: &'a str,
    args: Vec<&'a str>,
    golden: &'a str,
}

impl Line<'_> {
    fn number(&self, at: usize) -> f64 {
        self.args[at].parse().unwrap()
    }

    fn integer(&self, at: usize) -> Option<i64> {
        self.args.get(at).and_then(|a| a.parse().ok())
    }

    /// Operations for every type; `false` where `op` is none of them.
    fn draw_number<T: Element>(&self, g: &mut Generator) -> bool {
        let size = self.integer(0).unwrap() as usize;
        let mut out = vec![T::from_i64(1); size];
        let mut tolerance = None;
        match self.op {
            "random" => g.random(&mut out),
            "randint" => {
                g.random_from_to(&mut out, self.integer(1).unwrap(), self.integer(2))
                    .unwrap();
            }
            "bernoulli" => g.bernoulli(&mut out, self.number(1)).unwrap(),
            "bernoulli_each" => match self.args[1] {
                "f32" => g.bernoulli_each(&mut out, &ramp::<f32>(size)).unwrap(),
                "f64" => g.bernoulli_each(&mut out, &ramp::<f64>(size)).unwrap(),
                "f16" => g.bernoulli_each(&mut out, &ramp::<f16>(size)).unwrap(),
                _ => g.bernoulli_each(&mut out, &ramp::<bf16>(size)).unwrap(),
            },
            "geometric" => {
                tolerance = Some(0.0);
                g.geometric(&mut out, self.number(1)).unwrap();
            }
            _ => return false,
        }
        compare(self.text, &out, self.golden, tolerance);
        true
    }

    fn draw_real<T: Real + Element>(&self, g: &mut Generator) {
        if self.op == "multinomial" {
            let at = |i| self.integer(i).unwrap() as usize;
            let row: Vec<T> = (0..at(1))
                .map(|i| T::from_f64((i * 7919 % 13) as f64 / 4.0))
                .collect();
            let drawn = g
                .multinomial(&row.repeat(at(0)), at(1), at(2), at(3) == 1)
                .unwrap();
            return compare(self.text, &drawn, self.golden, None);
        }
        if self.draw_number::<T>(g) {
            return;
        }
        let mut out = vec![T::from_i64(1); self.integer(0).unwrap() as usize];
        let (a, b) = (
            self.number(1),
            self.args.get(2).map_or(0.0, |_| self.number(2)),
        );
        // What goes through the system's mathematics library: a step of the type's own precision
        // and no more than the promised 1e-6 for f32, and far closer for f64.
        let close = match T::MANTISSA_DIGITS {
            53 => 1e-12,
            24 => 2e-7,
            digits => (0.5f64).powi(digits as i32 - 1),
        };
        let mut tolerance = Some(close);
        match self.op {
            "uniform" => {
                tolerance = None;
                g.uniform(&mut out, a, b).unwrap();
            }
            "normal" => g.normal(&mut out, a, b).unwrap(),
            "normal_strided" => {
                out.iter_mut()
                    .for_each(|x| *x = T::from_f64(g.normal_scalar(a, b).unwrap()));
            }
            "exponential" => g.exponential(&mut out, a).unwrap(),
            "cauchy" => g.cauchy(&mut out, a, b).unwrap(),
            "log_normal" => g.log_normal(&mut out, a, b).unwrap(),
            op => panic!("unknown operation {op}"),
        }
        compare(self.text, &out, self.golden, tolerance);
    }
}

fn ramp<P: Real>(size: usize) -> Vec<P> {
    (0..size)
        .map(|i| P::from_f64(i as f64 / size as f64))
        .collect()
}

#[test]
fn draws_are_pytorchs() {
    let mut g = Generator::new();
    for text in GOLDENS.lines() {
        let (head, golden) = text.split_once(" =").unwrap_or((text, ""));
        let golden = golden.trim();
        let mut words = head.split_whitespace();
        let op = words.next().unwrap();
        let dtype = words.next().unwrap_or_default();
        let line = Line {
            text,
            op,
            args: words.collect(),
            golden,
        };
        match (op, dtype) {
            ("seed", seed) => g.manual_seed(seed.parse().unwrap()),
            ("state", _) => assert_eq!(format!("#{:016x}", fnv(g.state())), golden),
            ("randperm", _) => {
                compare(
                    text,
                    &g.randperm(line.integer(0).unwrap() as usize).unwrap(),
                    golden,
                    None,
                );
            }
            (_, "f32") => line.draw_real::<f32>(&mut g),
            (_, "f64") => line.draw_real::<f64>(&mut g),
            (_, "f16") => line.draw_real::<f16>(&mut g),
            (_, "bf16") => line.draw_real::<bf16>(&mut g),
            (_, "i64") => assert!(line.draw_number::<i64>(&mut g)),
            (_, "i32") => assert!(line.draw_number::<i32>(&mut g)),
            (_, "i16") => assert!(line.draw_number::<i16>(&mut g)),
            (_, "i8") => assert!(line.draw_number::<i8>(&mut g)),
            (_, "u8") => assert!(line.draw_number::<u8>(&mut g)),
            (_, "bool") => assert!(line.draw_number::<bool>(&mut g)),
            _ => panic!("unreadable line {text}"),
        }
    }
}

#[test]
fn a_state_resumes_exactly() {
    let mut g = Generator::from_seed(u64::MAX - 3);
    for drawn in [0, 1, 3, 620, 5, 700] {
        g.normal(&mut vec![0.0f32; drawn.min(15)], 0.0, 1.0)
            .unwrap();
        g.random(&mut vec![0i32; drawn]);
        let mut other = Generator::new();
        other.set_state(&g.state()).unwrap();
        assert_eq!(other.state(), g.state());
        assert_eq!(other.initial_seed(), u64::MAX - 3);
        let (mut x, mut y) = ([0.0f64; 9], [0.0f64; 9]);
        g.clone().normal(&mut x, 0.0, 1.0).unwrap();
        other.normal(&mut y, 0.0, 1.0).unwrap();
        assert_eq!(x, y);
        assert_eq!(other.randperm(900), {
            let mut g = g.clone();
            g.normal(&mut x, 0.0, 1.0).unwrap();
            g.randperm(900)
        });
    }
}

#[test]
fn a_damaged_state_is_refused() {
    let mut g = Generator::from_seed(5);
    g.random32();
    let good = g.state();
    let damaged = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    for bad in [
        good[1..].to_vec(),
        Vec::new(),
        damaged(8, 7),    // words left do not fit the position
        damaged(12, 0),   // not seeded
        damaged(17, 9),   // a position outside the block
        damaged(30, 1),   // a word of more than 32 bits
        damaged(5040, 2), // a flag that is neither 0 nor 1
    ] {
        assert!(g.set_state(&bad).is_err());
        assert_eq!(g.state(), good, "a refused state must change nothing");
    }
}

#[test]
fn seeds() {
    let mut g = Generator::new();
    assert_eq!(g.initial_seed(), DEFAULT_SEED);
    let (a, b) = (g.seed(), g.seed());
    assert_ne!(a, b);
    assert!(a < 1 << 53 && b < 1 << 53 && g.initial_seed() == b);
    let mut again = Generator::from_seed(b);
    assert_eq!(again.random64(), g.random64());
}

#[test]
fn bad_arguments_draw_nothing() {
    let mut g = Generator::from_seed(1);
    let start = g.state();
    let mut x = [0.0f32; 4];
    let mut h = [f16::ZERO; 4];
    assert!(g.uniform(&mut x, 1.0, 0.0).is_err());
    assert!(g.uniform(&mut x, f64::NAN, 0.0).is_err());
    assert!(g.uniform(&mut x, -3e38, 3e38).is_err());
    assert!(g.uniform(&mut h, 0.0, 65505.0).is_err());
    assert!(g.normal(&mut x, 0.0, -1.0).is_err());
    assert!(g.normal_scalar(0.0, f64::NAN).is_err());
    assert!(g.random_from_to(&mut [0i64], 3, Some(3)).is_err());
    assert!(g.random_from_to(&mut [0i64], 3, Some(i64::MIN)).is_err());
    assert!(g.random_from_to(&mut [0u8], -1, Some(3)).is_err());
    assert!(g.random_from_to(&mut [0i8], 0, Some(129)).is_err());
    assert!(g.random_from_to(&mut [0i32], i64::MIN, None).is_err());
    assert!(g.random_from_to(&mut [false], 2, None).is_err());
    assert!(g.random_from_to(&mut h, 4097, Some(4099)).is_err());
    assert!(g.random_from_to(&mut h, 0, Some(70_000)).is_err());
    assert!(g.random_from_to(&mut x, i64::MAX, None).is_err());
    assert!(g.bernoulli(&mut x, 1.5).is_err());
    assert!(g.bernoulli(&mut x, f64::NAN).is_err());
    assert!(g.bernoulli_each(&mut x, &[0.5f32; 3]).is_err());
    assert!(g.bernoulli_each(&mut x, &[0.5f32, 0.5, 0.5, -0.1]).is_err());
    assert!(g.exponential(&mut x, 0.0).is_err());
    assert!(g.geometric(&mut x, 1.0).is_err());
    assert!(g.cauchy(&mut x, 0.0, 0.0).is_err());
    assert!(g.log_normal(&mut x, 0.0, 0.0).is_err());
    for (weights, categories, samples, replacement) in [
        (&[1.0f64, 2.0][..], 2, 0, true),
        (&[1.0, 2.0], 0, 1, true),
        (&[1.0, 2.0, 3.0], 2, 1, true),
        (&[1.0, 2.0], 2, 3, false),
        (&[1.0, -2.0], 2, 2, true),
        (&[1.0, f64::INFINITY], 2, 1, true),
        (&[1.0, f64::NAN], 2, 2, false),
        (&[1.0, 1.0, 0.0, 0.0], 2, 2, true),
    ] {
        assert!(
            g.multinomial(weights, categories, samples, replacement)
                .is_err()
        );
    }
    assert_eq!(g.state(), start);
}
