//! Dropout: elements, or whole channels, set to zero at random while training.

use crate::{Result, Tensor, bail};

impl Tensor {
    /// Each element zero with probability `p`, the others scaled by 1 / (1 - p); unchanged where
    /// not `training`
    /// ([`F.dropout`](https://pytorch.org/docs/stable/generated/torch.nn.functional.dropout.html)).
    /// Draws from the default generator as PyTorch does on a CPU.
    ///
    /// PyTorch's defaults: `p` 0.5, `training` true.
    ///
    /// ```standalone_crate
    /// use flambeau_core::{Tensor, manual_seed};
    /// manual_seed(0);
    /// assert_eq!(
    ///     Tensor::ones([6])?.dropout(0.5, true)?.to_vec::<f32>()?,
    ///     [0.0, 0.0, 2.0, 0.0, 0.0, 0.0]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `p` lies outside 0 to 1.
    #[track_caller]
    pub fn dropout(&self, p: f64, training: bool) -> Result<Tensor> {
        self.dropout_mask("dropout", self.shape().to_vec(), p, training)
    }

    /// Each channel of `[batch, channels, …]` zero with probability `p`
    /// ([`F.dropout2d`](https://pytorch.org/docs/stable/generated/torch.nn.functional.dropout2d.html),
    /// `1d` and `3d`).
    ///
    /// PyTorch's defaults: `p` 0.5, `training` true.
    ///
    /// ```standalone_crate
    /// use flambeau_core::{Tensor, manual_seed};
    /// manual_seed(0);
    /// let y = Tensor::ones([1, 4, 2, 2])?.feature_dropout(0.5, true)?;
    /// assert_eq!(y.sum_dim([0, 2, 3], false)?.to_vec::<f32>()?, [0.0, 0.0, 8.0, 0.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where `p` lies outside 0 to 1, or there are fewer than two dimensions.
    #[track_caller]
    pub fn feature_dropout(&self, p: f64, training: bool) -> Result<Tensor> {
        if self.dim() < 2 {
            bail!(
                "feature_dropout",
                "shape {:?} has no channels; expected [batch, channels, …]",
                self.shape()
            );
        }
        let mut mask = vec![1; self.dim()];
        mask[..2].copy_from_slice(&self.shape()[..2]);
        self.dropout_mask("feature_dropout", mask, p, training)
    }

    #[track_caller]
    fn dropout_mask(
        &self,
        op: &'static str,
        mask: Vec<usize>,
        p: f64,
        training: bool,
    ) -> Result<Tensor> {
        if !(0.0..=1.0).contains(&p) {
            bail!(op, "the probability is {p}; it must lie between 0 and 1");
        }
        if !training || p == 0.0 || self.numel() == 0 {
            return Ok(self.clone());
        }
        if p == 1.0 {
            return self.mul(Tensor::zeros_with((), (self.dtype(), self.device()))?);
        }
        let mask = Tensor::empty_with(mask, (self.dtype(), self.device()))?.bernoulli_(1.0 - p)?;
        self.mul(&mask.div_(1.0 - p)?)
    }
}
