//! Attention.

use flambeau_core::{AttentionOptions, Result, Tensor};

/// softmax(Q Kᵀ · scale + mask) V; see [`Tensor::scaled_dot_product_attention`]. `dropout_p` applies
/// whenever it is above 0; `scale` `None` is 1 / √width.
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
