//! The rows, by kind. Names and shapes are those of `torch_rows.py`.

mod conv;
pub mod cuda;
mod elementwise;
mod matmul;
mod models;

use flambeau::prelude::*;
use std::hint::black_box;

/// One call of the work that is timed.
pub type Work = Box<dyn FnMut() -> Result<()>>;

/// A piece of work with a name.
pub struct Row {
    pub name: String,
    /// Floating-point operations of a call, as the textbook algorithm counts them.
    pub flop: f64,
    /// Bytes that a call must read and write, where memory and not arithmetic bounds it.
    pub read: f64,
    pub written: f64,
    /// Names under which PyTorch can do the same in another configuration; its best one counts.
    pub also: Vec<&'static str>,
    pub prepare: Box<dyn Fn() -> Result<Work>>,
}

impl Row {
    fn new<W: FnMut() -> Result<()> + 'static>(
        name: impl Into<String>,
        prepare: impl Fn() -> Result<W> + 'static,
    ) -> Row {
        Row {
            name: name.into(),
            flop: 0.0,
            read: 0.0,
            written: 0.0,
            also: Vec::new(),
            prepare: Box::new(move || Ok(Box::new(prepare()?) as Work)),
        }
    }

    fn flop(mut self, flop: usize) -> Row {
        self.flop = flop as f64;
        self
    }

    /// Names of PyTorch's other configurations.
    fn also(mut self, names: &[&'static str]) -> Row {
        self.also = names.to_vec();
        self
    }

    /// Elements of `f32` read and written.
    fn elements(mut self, read: usize, written: usize) -> Row {
        (self.read, self.written) = (4.0 * read as f64, 4.0 * written as f64);
        self
    }
}

/// A row that computes one tensor from tensors made beforehand.
fn tensors<const N: usize>(
    name: impl Into<String>,
    make: impl Fn() -> Result<[Tensor; N]> + 'static,
    f: impl Fn(&[Tensor; N]) -> Result<Tensor> + Copy + 'static,
) -> Row {
    Row::new(name, move || {
        let inputs = make()?;
        Ok(move || f(&inputs).map(|y| drop(black_box(y))))
    })
}

/// Every row.
pub fn all() -> Vec<Row> {
    let mut rows = elementwise::rows();
    rows.extend(matmul::rows());
    rows.extend(conv::rows());
    rows.extend(models::rows());
    rows
}
