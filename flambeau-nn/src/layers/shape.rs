//! Layers that change the shape alone.

use super::{forward, setters, tuple};
use crate::parameter::Mode;
use flambeau_core::{Result, Tensor, bail};
use flambeau_macros::Module;

/// Several dimensions as one
/// ([`torch.nn.Flatten`](https://pytorch.org/docs/stable/generated/torch.nn.Flatten.html)): all but
/// the first, unless told otherwise.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Flatten, Forward};
/// assert_eq!(Flatten::new().forward(&Tensor::zeros([2, 3, 5])?)?.shape(), [2, 15]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug, Module)]
#[module(extra_repr)]
pub struct Flatten {
    start_dim: i64,
    end_dim: i64,
    mode: Mode,
}

impl Flatten {
    /// From dimension 1 to the last.
    pub fn new() -> Flatten {
        Flatten {
            start_dim: 1,
            end_dim: -1,
            mode: Mode::default(),
        }
    }

    setters! {
        /// The first dimension (1).
        start_dim: i64;
        /// The last dimension (-1).
        end_dim: i64;
    }

    fn extra_repr(&self) -> String {
        format!("start_dim={}, end_dim={}", self.start_dim, self.end_dim)
    }
}

impl Default for Flatten {
    fn default() -> Flatten {
        Flatten::new()
    }
}

forward!(Flatten, |m, x| x.flatten(m.start_dim, m.end_dim));

/// One dimension as several
/// ([`torch.nn.Unflatten`](https://pytorch.org/docs/stable/generated/torch.nn.Unflatten.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::{Forward, Unflatten};
/// assert_eq!(Unflatten::new(1, [3, -1]).forward(&Tensor::zeros([2, 15])?)?.shape(), [2, 3, 5]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug, Module)]
#[module(extra_repr)]
pub struct Unflatten {
    dim: i64,
    unflattened_size: Vec<i64>,
    mode: Mode,
}

impl Unflatten {
    /// Dimension `dim` as dimensions of `unflattened_size`, one of which may be -1.
    pub fn new(dim: i64, unflattened_size: impl flambeau_core::Dims) -> Unflatten {
        Unflatten {
            dim,
            unflattened_size: unflattened_size.dims().to_vec(),
            mode: Mode::default(),
        }
    }

    #[track_caller]
    fn run(&self, x: &Tensor) -> Result<Tensor> {
        let rank = x.dim() as i64;
        let d = if self.dim < 0 {
            self.dim + rank
        } else {
            self.dim
        };
        if d < 0 || d >= rank {
            bail!(
                "unflatten",
                "the input of shape {:?} has no dimension {}",
                x.shape(),
                self.dim
            );
        }
        let (before, after) = x.shape().split_at(d as usize);
        let ends = |s: &[usize]| s.iter().map(|&n| n as i64).collect::<Vec<_>>();
        x.reshape(
            [
                ends(before),
                self.unflattened_size.clone(),
                ends(&after[1..]),
            ]
            .concat(),
        )
    }

    fn extra_repr(&self) -> String {
        let sizes = &self.unflattened_size;
        format!("dim={}, unflattened_size={}", self.dim, tuple(sizes))
    }
}

forward!(Unflatten, |m, x| m.run(x));
