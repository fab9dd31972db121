//! Attention.

use flambeau_core::{AttentionOptions, Result, Tensor};

/// softmax(Q Kᵀ · scale + mask) V; see [`Tensor::scaled_dot_product_attention`]. `dropout_p` applies
/// whenever it is above 0; `scale` `None` is 1 / √width
/// ([`F.scaled_dot_product_attention`](https://pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html)).
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_nn::functional::scaled_dot_product_attention;
/// let x = Tensor::eye(2, 2)?;
/// let y = scaled_dot_product_attention(&x, &x, &x, None, 0.0, true, None)?;
/// assert!(y.allclose(&Tensor::new([[1.0f32, 0.0], [0.33024, 0.66976]])?, 1e-4, 1e-5, false)?);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where sizes or types do not fit, or a mask comes with `is_causal`.
#[track_caller]
pub fn scaled_dot_product_attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    attn_mask: Option<&Tensor>,
    dropout_p: f64,
    is_causal: bool,
    scale: Option<f64>,
) -> Result<Tensor> {
    let options = AttentionOptions {
        mask: attn_mask,
        dropout: dropout_p,
        is_causal,
        scale,
        enable_gqa: false,
    };
    query.scaled_dot_product_attention(key, value, options)
}
