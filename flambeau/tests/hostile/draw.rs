//! What the calls are drawn from.

use flambeau::{DType, MemoryFormat, Result, Tensor};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

const MAX: usize = usize::MAX;
const DTYPES: [DType; 10] = [
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I64,
    DType::I32,
    DType::I16,
    DType::I8,
    DType::U8,
    DType::Bool,
];

/// A generator that writes down what it gave.
pub struct Draw {
    state: u64,
    log: Arc<Mutex<Vec<String>>>,
    /// The leaves that were drawn.
    pub leaves: Vec<Tensor>,
}

impl Draw {
    pub fn new(seed: u64, log: Arc<Mutex<Vec<String>>>) -> Draw {
        Draw {
            state: seed,
            log,
            leaves: Vec::new(),
        }
    }

    pub fn log(&self, text: String) {
        self.log.lock().unwrap().push(text);
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Clone + Debug>(&mut self, from: &[T]) -> T {
        let one = from[self.below(from.len())].clone();
        self.log(format!("{one:?}"));
        one
    }

    pub fn flag(&mut self) -> bool {
        self.pick(&[false, true])
    }

    /// `usual`, or a size that makes no sense.
    pub fn size(&mut self, usual: usize) -> usize {
        if self.chance(85) {
            return self.pick(&[usual]);
        }
        let third = MAX / 3;
        self.pick(&[
            0,
            1,
            2,
            3,
            5,
            7,
            17,
            1 << 40,
            1 << 61,
            1 << 62,
            1 << 63,
            third,
            MAX / 2,
            MAX - 1,
            MAX,
        ])
    }

    pub fn sizes<const N: usize>(&mut self, usual: usize) -> [usize; N] {
        std::array::from_fn(|_| self.size(usual))
    }

    /// `usual`, or a number that makes no sense.
    pub fn int(&mut self, usual: i64) -> i64 {
        if self.chance(75) {
            return self.pick(&[usual]);
        }
        self.pick(&[
            i64::MIN,
            i64::MIN + 1,
            -(1 << 40),
            -7,
            -2,
            -1,
            0,
            1,
            2,
            3,
            7,
            1 << 40,
            i64::MAX - 1,
            i64::MAX,
        ])
    }

    pub fn ints<const N: usize>(&mut self, usual: i64) -> [i64; N] {
        std::array::from_fn(|_| self.int(usual))
    }

    /// `usual`, or a number that makes no sense.
    pub fn float(&mut self, usual: f64) -> f64 {
        if self.chance(75) {
            return self.pick(&[usual]);
        }
        self.pick(&[
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN,
            f64::MIN_POSITIVE,
            -1.0,
            -0.0,
            0.0,
            0.5,
            1.0,
            2.0,
            1e20,
        ])
    }

    pub fn dtype(&mut self) -> DType {
        self.pick(&DTYPES)
    }

    /// A shape, most often `usual`.
    pub fn shape(&mut self, usual: &[usize]) -> Vec<usize> {
        let mut shape = usual.to_vec();
        match self.below(20) {
            0 => {
                let at = self.below(shape.len() + 1);
                shape.insert(at, self.below(4));
            }
            1 if !shape.is_empty() => drop(shape.remove(self.below(usual.len()))),
            2 | 3 if !shape.is_empty() => shape[self.below(usual.len())] = self.below(6),
            4 if !shape.is_empty() => shape[self.below(usual.len())] = 0,
            5 if !shape.is_empty() => {
                // Only the zero keeps it small.
                let (at, big) = (self.below(usual.len()), self.below(usual.len()));
                shape[big] = [1 << 40, 1 << 61, 1 << 62, MAX / 2][self.below(4)];
                shape[at] = 0;
            }
            6 if self.chance(50) => shape = (0..self.below(7)).map(|_| self.below(4)).collect(),
            _ => {}
        }
        shape
    }

    /// A tensor, most often of shape `usual`, of `f32` and with numbers that make sense.
    pub fn tensor(&mut self, usual: &[usize]) -> Result<Tensor> {
        let dtype = match self.below(10) {
            0 => DTYPES[self.below(10)],
            1 => DType::F64,
            _ => DType::F32,
        };
        self.of(usual, dtype)
    }

    /// Indices below `bound`, or beyond.
    pub fn indices(&mut self, usual: &[usize], bound: usize) -> Result<Tensor> {
        let shape = self.shape(usual);
        let dtype = match self.below(10) {
            0 => DTYPES[self.below(10)],
            _ => DType::I64,
        };
        let count = shape.iter().fold(1usize, |n, &d| n.wrapping_mul(d));
        let hostile = self.chance(15);
        let values: Vec<i64> = (0..count)
            .map(|_| match self.below(4) {
                0 if hostile => [i64::MIN, i64::MAX, -1, bound as i64, -100][self.below(5)],
                _ => self.below(bound.max(1)) as i64,
            })
            .collect();
        self.log(format!("indices {shape:?} {dtype} hostile {hostile}"));
        Tensor::from_vec(values, shape)?.to_dtype(dtype)
    }

    pub fn of(&mut self, usual: &[usize], dtype: DType) -> Result<Tensor> {
        let shape = self.shape(usual);
        let layout = self.below(8);
        let x = self.laid(&shape, layout)?;
        let special = self.chance(10);
        let x = match special {
            true => {
                let v = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, 0.0][self.below(5)];
                x.masked_fill(&x.gt(0.5)?, v)?
            }
            false => x,
        };
        let x = if dtype == DType::F32 {
            x
        } else if dtype.is_floating_point() {
            x.to_dtype(dtype)?
        } else {
            x.mul(3.0)?.to_dtype(dtype)?
        };
        let grad = x.is_floating_point() && self.chance(60);
        self.log(format!("{shape:?} {dtype} layout {layout} grad {grad}"));
        if !grad {
            return Ok(x);
        }
        let x = x.detach().requires_grad_(true)?;
        self.leaves.push(x.clone());
        if self.chance(30) { x.mul(1.0) } else { Ok(x) }
    }

    /// Random numbers in memory in one of several ways.
    fn laid(&mut self, shape: &[usize], layout: usize) -> Result<Tensor> {
        let rank = shape.len();
        match layout {
            0 if rank > 1 => {
                let turned: Vec<usize> = shape.iter().rev().copied().collect();
                let order: Vec<i64> = (0..rank as i64).rev().collect();
                Tensor::rand(turned)?.permute(order)
            }
            1 if rank > 0 => {
                let mut one = shape.to_vec();
                one[self.below(rank)] = 1;
                Tensor::rand(one)?.expand(shape)
            }
            2 if rank > 0 && shape[rank - 1] < 100 => {
                let mut wide = shape.to_vec();
                wide[rank - 1] = 2 * wide[rank - 1] + 1;
                Tensor::rand(wide)?.slice(rank as i64 - 1, 1, 2 * shape[rank - 1] + 1, 2)
            }
            3 => Tensor::scalar(0.25f32)?.expand(shape),
            4 if rank == 4 => Tensor::rand(shape)?.to_memory_format(MemoryFormat::ChannelsLast),
            4 if rank == 5 => Tensor::rand(shape)?.to_memory_format(MemoryFormat::ChannelsLast3d),
            _ => Tensor::rand(shape),
        }
    }

    /// Of the shape of another, or nearly.
    pub fn like(&mut self, other: &Tensor) -> Result<Tensor> {
        let (shape, dtype) = (other.shape().to_vec(), other.dtype());
        let dtype = if self.chance(90) {
            dtype
        } else {
            DTYPES[self.below(10)]
        };
        self.of(&shape, dtype)
    }

    /// Most often none.
    pub fn maybe<T>(&mut self, make: impl FnOnce(&mut Draw) -> Result<T>) -> Result<Option<T>> {
        if self.chance(40) {
            make(self).map(Some)
        } else {
            Ok(None)
        }
    }
}
