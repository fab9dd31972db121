//! Tables of vectors.

use super::{filled, forward, nothing};
use crate::init;
use crate::parameter::{Mode, Parameter};
use flambeau_core::{Result, Tensor, no_grad};
use flambeau_macros::Module;

/// A vector for each index
/// ([`torch.nn.Embedding`](https://pytorch.org/docs/stable/generated/torch.nn.Embedding.html)):
/// `[…]` of type `i64` to `[…, dim]`.
///
/// The table begins with normal numbers, as PyTorch's.
///
/// ```standalone_crate
/// use flambeau_core::{Tensor, manual_seed};
/// use flambeau_nn::{Embedding, Forward};
/// manual_seed(0);
/// let embedding = Embedding::new(3, 2);
/// let expected = Tensor::new([[-1.08452f32, -1.3986], [1.541, -0.29343]])?;
/// assert!(embedding.forward(&Tensor::new([2i64, 0])?)?.allclose(&expected, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug, Module)]
#[module(extra_repr)]
pub struct Embedding {
    /// `[num_embeddings, embedding_dim]`.
    pub weight: Parameter,
    num_embeddings: usize,
    embedding_dim: usize,
    padding_idx: Option<i64>,
    mode: Mode,
}

impl Embedding {
    /// A table of `num_embeddings` vectors of `embedding_dim` numbers.
    #[track_caller]
    pub fn new(num_embeddings: usize, embedding_dim: usize) -> Embedding {
        let mut mode = Mode::default();
        let drawn = filled(&[num_embeddings, embedding_dim], 0.0)
            .and_then(|table| init::normal_(&table, 0.0, 1.0)?.requires_grad_(true));
        let weight = drawn.unwrap_or_else(|e| {
            mode.set_fault(Some(e.message().to_owned()));
            nothing()
        });
        Embedding {
            weight: weight.into(),
            num_embeddings,
            embedding_dim,
            padding_idx: None,
            mode,
        }
    }

    /// The index whose vector is zero and stays so: it gets no gradient. Counted from the end where
    /// negative. An index beyond the table is an error of the first call.
    ///
    /// ```
    /// use flambeau_nn::Embedding;
    /// let embedding = Embedding::new(3, 2).padding_idx(-1);
    /// assert_eq!(embedding.weight.to_vec2::<f32>()?[2], [0.0, 0.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn padding_idx(mut self, padding_idx: i64) -> Embedding {
        if self.mode.check("Embedding").is_err() {
            return self;
        }
        let n = i64::try_from(self.num_embeddings).unwrap_or(i64::MAX);
        let index = if padding_idx < 0 {
            padding_idx + n
        } else {
            padding_idx
        };
        if index < 0 || index >= n {
            self.mode.set_fault(Some(format!(
                "padding_idx {padding_idx} lies beyond the table of {n} vectors"
            )));
            return self;
        }
        self.padding_idx = Some(index);
        let zeroed = no_grad(|| self.weight.select(0, index)?.zero_());
        if let Err(e) = zeroed {
            self.mode.set_fault(Some(e.message().to_owned()));
        }
        self
    }

    /// A table of given vectors, `[num, dim]` (`Embedding.from_pretrained`), which does not learn
    /// unless `freeze` is false.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// use flambeau_nn::{Embedding, Forward};
    /// let embedding = Embedding::from_pretrained(&Tensor::new([[0.5f32, 1.5], [2.5, 3.5]])?, true)?;
    /// assert_eq!(embedding.forward(&Tensor::new([1i64])?)?.to_vec2::<f32>()?, [[2.5, 3.5]]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `vectors` is not a matrix of a floating-point type.
    #[track_caller]
    pub fn from_pretrained(vectors: &Tensor, freeze: bool) -> Result<Embedding> {
        let &[num_embeddings, embedding_dim] = vectors.shape() else {
            flambeau_core::bail!(
                "Embedding::from_pretrained",
                "the vectors must be a matrix [num, dim]; got shape {:?}",
                vectors.shape()
            );
        };
        Ok(Embedding {
            weight: vectors.detach().requires_grad_(!freeze)?.into(),
            num_embeddings,
            embedding_dim,
            padding_idx: None,
            mode: Mode::default(),
        })
    }

    fn extra_repr(&self) -> String {
        let padding = self
            .padding_idx
            .map_or(String::new(), |i| format!(", padding_idx={i}"));
        format!("{}, {}{padding}", self.num_embeddings, self.embedding_dim)
    }
}

forward!(Embedding, |m, x| crate::functional::embedding(
    x,
    &m.weight,
    m.padding_idx
));
