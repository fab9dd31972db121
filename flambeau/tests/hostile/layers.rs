//! Every layer.

use crate::Family;
use crate::draw::Draw;
use flambeau::nn::functional::PaddingMode;
use flambeau::nn::*;
use flambeau::{DType, Result, Tensor};
use std::sync::Arc;

pub const ALL: &[(&str, Family, u64)] = &[
    ("conv", conv, 200),
    ("conv_transpose", conv_transpose, 200),
    ("pool", pool, 250),
    ("padding", padding, 150),
    ("norm", norm, 300),
    ("dense", dense, 150),
    ("dropout", dropout, 60),
    ("recurrent", recurrent, 200),
    ("cell", cell, 100),
    ("attention", attention, 200),
    ("encoder", encoder, 60),
    ("activation", activation, 300),
    ("container", container, 60),
];

/// Print, count, move, in training or not, and call.
fn run<L: Forward + Module + std::fmt::Display>(
    r: &mut Draw,
    layer: L,
    x: &Tensor,
) -> Result<Vec<Tensor>> {
    layer_checks(r, &layer)?;
    let layer = if r.chance(10) {
        layer.to(r.dtype())?
    } else {
        layer
    };
    Ok(vec![layer.forward(x)?])
}

fn layer_checks<L: Module + std::fmt::Display>(r: &mut Draw, layer: &L) -> Result<()> {
    let _ = layer.to_string();
    if r.chance(20) {
        layer.load_state_dict(&layer.state_dict(), true)?;
    }
    if r.chance(30) {
        layer.eval();
    }
    Ok(())
}

/// `[2, channels, side…]` of `n` sides, or without the batch.
fn maps(r: &mut Draw, n: usize, channels: usize) -> Result<Tensor> {
    let mut shape = vec![2, channels];
    shape.extend([7, 6, 5][..n].iter());
    if r.chance(15) {
        shape.remove(0);
    }
    r.tensor(&shape)
}

fn conv(r: &mut Draw) -> Result<Vec<Tensor>> {
    macro_rules! one {
        ($t:ident, $n:literal) => {{
            let mut layer = $t::new(r.size(4), r.size(6), r.sizes::<$n>(3));
            if r.chance(30) {
                layer = layer.stride(r.sizes::<$n>(2));
            }
            if r.chance(30) {
                layer = layer.dilation(r.sizes::<$n>(2));
            }
            if r.chance(50) {
                layer = match r.below(4) {
                    0 => layer.padding(Padding::Same),
                    1 => layer.padding(Padding::Valid),
                    _ => layer.padding(r.sizes::<$n>(1)),
                };
            }
            if r.chance(30) {
                layer = layer.padding_mode(r.pick(&[
                    PaddingMode::Reflect,
                    PaddingMode::Replicate,
                    PaddingMode::Circular,
                    PaddingMode::Constant(f64::NAN),
                ]));
            }
            if r.chance(30) {
                layer = layer.groups(r.size(2));
            }
            if r.chance(30) {
                layer = layer.bias(r.flag());
            }
            let x = maps(r, $n, 4)?;
            run(r, layer, &x)
        }};
    }
    match r.below(3) {
        0 => one!(Conv1d, 1),
        1 => one!(Conv2d, 2),
        _ => one!(Conv3d, 3),
    }
}

fn conv_transpose(r: &mut Draw) -> Result<Vec<Tensor>> {
    macro_rules! one {
        ($t:ident, $n:literal) => {{
            let mut layer = $t::new(r.size(4), r.size(6), r.sizes::<$n>(3));
            if r.chance(40) {
                layer = layer.stride(r.sizes::<$n>(2));
            }
            if r.chance(30) {
                layer = layer.dilation(r.sizes::<$n>(2));
            }
            if r.chance(40) {
                layer = layer.padding(r.sizes::<$n>(1));
            }
            if r.chance(40) {
                layer = layer.output_padding(r.sizes::<$n>(1));
            }
            if r.chance(30) {
                layer = layer.groups(r.size(2));
            }
            if r.chance(30) {
                layer = layer.bias(r.flag());
            }
            let x = maps(r, $n, 4)?;
            run(r, layer, &x)
        }};
    }
    match r.below(3) {
        0 => one!(ConvTranspose1d, 1),
        1 => one!(ConvTranspose2d, 2),
        _ => one!(ConvTranspose3d, 3),
    }
}

fn pool(r: &mut Draw) -> Result<Vec<Tensor>> {
    macro_rules! max {
        ($t:ident, $n:literal) => {{
            let mut layer = $t::new(r.sizes::<$n>(3)).ceil_mode(r.flag());
            if r.chance(50) {
                layer = layer.stride(r.sizes::<$n>(2));
            }
            if r.chance(30) {
                layer = layer.padding(r.sizes::<$n>(1));
            }
            if r.chance(30) {
                layer = layer.dilation(r.sizes::<$n>(1));
            }
            let x = maps(r, $n, 3)?;
            if r.flag() {
                let (y, at) = layer.forward_with_indices(&x)?;
                return Ok(vec![y, at]);
            }
            run(r, layer, &x)
        }};
    }
    macro_rules! avg {
        ($t:ident, $n:literal) => {{
            let mut layer = $t::new(r.sizes::<$n>(3)).ceil_mode(r.flag());
            if r.chance(50) {
                layer = layer.stride(r.sizes::<$n>(2));
            }
            if r.chance(30) {
                layer = layer.padding(r.sizes::<$n>(1));
            }
            if r.chance(20) {
                layer = layer.divisor_override(r.int(3));
            }
            layer = layer.count_include_pad(r.flag());
            let x = maps(r, $n, 3)?;
            run(r, layer, &x)
        }};
    }
    macro_rules! adaptive {
        ($t:ident, $n:literal) => {{
            let layer = $t::new(r.sizes::<$n>(2));
            let x = maps(r, $n, 3)?;
            run(r, layer, &x)
        }};
    }
    match r.below(12) {
        0 => max!(MaxPool1d, 1),
        1 => max!(MaxPool2d, 2),
        2 => max!(MaxPool3d, 3),
        3 => avg!(AvgPool1d, 1),
        4 => avg!(AvgPool2d, 2),
        5 => avg!(AvgPool3d, 3),
        6 => adaptive!(AdaptiveAvgPool1d, 1),
        7 => adaptive!(AdaptiveAvgPool2d, 2),
        8 => adaptive!(AdaptiveAvgPool3d, 3),
        9 => adaptive!(AdaptiveMaxPool1d, 1),
        10 => adaptive!(AdaptiveMaxPool2d, 2),
        _ => adaptive!(AdaptiveMaxPool3d, 3),
    }
}

fn padding(r: &mut Draw) -> Result<Vec<Tensor>> {
    macro_rules! one {
        ($t:ident, $n:literal) => {{
            let layer = $t::new(r.ints::<$n>(1));
            let x = maps(r, $n / 2, 3)?;
            run(r, layer, &x)
        }};
    }
    macro_rules! constant {
        ($t:ident, $n:literal) => {{
            let layer = $t::new(r.ints::<$n>(1), r.float(2.0));
            let x = maps(r, $n / 2, 3)?;
            run(r, layer, &x)
        }};
    }
    match r.below(15) {
        0 => one!(ZeroPad1d, 2),
        1 => one!(ZeroPad2d, 4),
        2 => one!(ZeroPad3d, 6),
        3 => one!(ReflectionPad1d, 2),
        4 => one!(ReflectionPad2d, 4),
        5 => one!(ReflectionPad3d, 6),
        6 => one!(ReplicationPad1d, 2),
        7 => one!(ReplicationPad2d, 4),
        8 => one!(ReplicationPad3d, 6),
        9 => one!(CircularPad1d, 2),
        10 => one!(CircularPad2d, 4),
        11 => one!(CircularPad3d, 6),
        12 => constant!(ConstantPad1d, 2),
        13 => constant!(ConstantPad2d, 4),
        _ => constant!(ConstantPad3d, 6),
    }
}

fn norm(r: &mut Draw) -> Result<Vec<Tensor>> {
    macro_rules! batch {
        ($t:ident, $n:literal) => {{
            let mut layer = $t::new(r.size(3)).eps(r.float(1e-5));
            if r.chance(30) {
                layer = layer.affine(r.flag());
            }
            if r.chance(30) {
                layer = layer.track_running_stats(r.flag());
            }
            if r.chance(30) {
                layer = layer.momentum(r.float(0.1));
            }
            let x = maps(r, $n, 3)?;
            run(r, layer, &x)
        }};
    }
    match r.below(9) {
        0 => batch!(BatchNorm1d, 1),
        1 => batch!(BatchNorm2d, 2),
        2 => batch!(BatchNorm3d, 3),
        3 => batch!(InstanceNorm1d, 1),
        4 => batch!(InstanceNorm2d, 2),
        5 => batch!(InstanceNorm3d, 3),
        6 => {
            let mut layer = LayerNorm::new([r.int(4), r.int(5)]).eps(r.float(1e-5));
            if r.chance(30) {
                layer = layer.elementwise_affine(r.flag()).bias(r.flag());
            }
            let x = r.tensor(&[2, 3, 4, 5])?;
            run(r, layer, &x)
        }
        7 => {
            let layer = LayerNorm::new(r.int(5)).eps(r.float(1e-5));
            let x = r.tensor(&[2, 3, 5])?;
            run(r, layer, &x)
        }
        _ => {
            let layer = GroupNorm::new(r.size(2), r.size(4))
                .affine(r.flag())
                .eps(r.float(1e-5));
            let n = r.below(4);
            let x = maps(r, n, 4)?;
            run(r, layer, &x)
        }
    }
}

fn dense(r: &mut Draw) -> Result<Vec<Tensor>> {
    match r.below(6) {
        0 | 1 => {
            let mut layer = Linear::new(r.size(4), r.size(5));
            if r.chance(30) {
                layer = layer.bias(r.flag());
            }
            let x = r.tensor(&[2, 3, 4])?;
            run(r, layer, &x)
        }
        2 => {
            let mut layer = Bilinear::new(r.size(4), r.size(3), r.size(5));
            if r.chance(30) {
                layer = layer.bias(r.flag());
            }
            layer_checks(r, &layer)?;
            Ok(vec![
                layer.forward(&r.tensor(&[2, 4])?, &r.tensor(&[2, 3])?)?,
            ])
        }
        3 | 4 => {
            let mut layer = Embedding::new(r.size(6), r.size(4));
            if r.chance(30) {
                layer = layer.padding_idx(r.int(2));
            }
            let x = r.indices(&[2, 3], 6)?;
            run(r, layer, &x)
        }
        _ => {
            let layer = Embedding::from_pretrained(&r.tensor(&[6, 4])?, r.flag())?;
            let layer = if r.flag() {
                layer.padding_idx(r.int(1))
            } else {
                layer
            };
            let x = r.indices(&[2, 3], 6)?;
            run(r, layer, &x)
        }
    }
}

fn dropout(r: &mut Draw) -> Result<Vec<Tensor>> {
    macro_rules! one {
        ($t:ident, $n:literal) => {{
            let layer = $t::new(r.float(0.5)).inplace(r.flag());
            let x = maps(r, $n, 3)?;
            run(r, layer, &x)
        }};
    }
    match r.below(4) {
        0 => one!(Dropout, 2),
        1 => one!(Dropout1d, 1),
        2 => one!(Dropout2d, 2),
        _ => one!(Dropout3d, 3),
    }
}

fn recurrent(r: &mut Draw) -> Result<Vec<Tensor>> {
    macro_rules! build {
        ($t:ident) => {{
            let mut layer = $t::new(r.size(3), r.size(4)).batch_first(r.flag());
            if r.chance(40) {
                layer = layer.num_layers(r.size(2));
            }
            if r.chance(40) {
                layer = layer.bidirectional(r.flag());
            }
            if r.chance(30) {
                layer = layer.bias(r.flag());
            }
            if r.chance(30) {
                layer = layer.dropout(r.float(0.5));
            }
            layer
        }};
    }
    let usual: &[usize] = if r.chance(20) { &[5, 3] } else { &[5, 2, 3] };
    let input = |r: &mut Draw| r.tensor(usual);
    let state = |r: &mut Draw, layer: &dyn Module| {
        let lead = layer.parameters().len() / 4;
        r.tensor(&[lead.max(1), 2, 4])
    };
    match r.below(3) {
        0 => {
            let mut layer = build!(LSTM);
            if r.chance(30) {
                layer = layer.proj_size(r.size(2));
            }
            layer_checks(r, &layer)?;
            let x = input(r)?;
            let hx = r.maybe(|r| Ok((state(r, &layer)?, state(r, &layer)?)))?;
            let (y, (h, c)) = layer.forward(&x, hx.as_ref().map(|(h, c)| (h, c)))?;
            Ok(vec![y, h, c])
        }
        1 => {
            let layer = build!(GRU);
            layer_checks(r, &layer)?;
            let x = input(r)?;
            let h = r.maybe(|r| state(r, &layer))?;
            let (y, h) = layer.forward(&x, h.as_ref())?;
            Ok(vec![h, y])
        }
        _ => {
            let layer = build!(RNN).nonlinearity(r.pick(&[Nonlinear::Tanh, Nonlinear::ReLU]));
            layer_checks(r, &layer)?;
            let x = input(r)?;
            let h = r.maybe(|r| state(r, &layer))?;
            let (y, h) = layer.forward(&x, h.as_ref())?;
            Ok(vec![y, h])
        }
    }
}

fn cell(r: &mut Draw) -> Result<Vec<Tensor>> {
    let (input, hidden) = (r.size(3), r.size(4));
    let batch: &[usize] = if r.chance(20) { &[] } else { &[2] };
    let x = r.tensor(&[batch, &[3]].concat())?;
    let h = r.maybe(|r| r.tensor(&[batch, &[4]].concat()))?;
    match r.below(3) {
        0 => {
            let layer = LSTMCell::new(input, hidden).bias(r.flag());
            layer_checks(r, &layer)?;
            let c = r.tensor(&[batch, &[4]].concat())?;
            let (h, c) = layer.forward(&x, h.as_ref().map(|h| (h, &c)))?;
            Ok(vec![h, c])
        }
        1 => {
            let layer = GRUCell::new(input, hidden).bias(r.flag());
            layer_checks(r, &layer)?;
            Ok(vec![layer.forward(&x, h.as_ref())?])
        }
        _ => {
            let layer = RNNCell::new(input, hidden).bias(r.flag());
            layer_checks(r, &layer)?;
            Ok(vec![layer.forward(&x, h.as_ref())?])
        }
    }
}

fn mask(r: &mut Draw, usual: &[usize]) -> Result<Tensor> {
    match r.below(3) {
        0 => r.tensor(usual),
        _ => r.tensor(usual)?.gt(0.5),
    }
}

fn attention(r: &mut Draw) -> Result<Vec<Tensor>> {
    let mut layer = MultiheadAttention::new(r.size(8), r.size(2)).batch_first(r.flag());
    if r.chance(20) {
        layer = layer.bias(r.flag());
    }
    let (mut kdim, mut vdim) = (8, 8);
    if r.chance(30) {
        (kdim, vdim) = (r.size(6), r.size(4));
        layer = layer.kdim(kdim).vdim(vdim);
    }
    if r.chance(20) {
        layer = layer.add_bias_kv(true);
    }
    if r.chance(20) {
        layer = layer.add_zero_attn(true);
    }
    if r.chance(20) {
        layer = layer.dropout(r.float(0.2));
    }
    layer_checks(r, &layer)?;
    let (kdim, vdim) = (kdim.min(9), vdim.min(9));
    let lead: &[usize] = if r.chance(20) { &[3] } else { &[3, 3] };
    let q = r.tensor(&[lead, &[8]].concat())?;
    let own = r.chance(50) && kdim == 8 && vdim == 8;
    let (k, v) = match own {
        true => (q.clone(), q.clone()),
        false => (
            r.tensor(&[lead, &[kdim]].concat())?,
            r.tensor(&[lead, &[vdim]].concat())?,
        ),
    };
    let padding = r.maybe(|r| mask(r, &[lead[0], 3][..lead.len()]))?;
    let attn = r.maybe(|r| {
        let usual: &[usize] = if r.flag() { &[3, 3] } else { &[6, 3, 3] };
        mask(r, usual)
    })?;
    let options = MultiheadAttentionOptions {
        key_padding_mask: padding.as_ref(),
        need_weights: r.flag(),
        attn_mask: attn.as_ref(),
        average_attn_weights: r.flag(),
        is_causal: r.chance(20),
    };
    let (y, w) = layer.forward(&q, &k, &v, options)?;
    Ok([Some(y), w].into_iter().flatten().collect())
}

fn encoder(r: &mut Draw) -> Result<Vec<Tensor>> {
    let mut layer = TransformerEncoderLayer::new(r.size(8), r.size(2)).dim_feedforward(r.size(6));
    if r.chance(30) {
        layer = layer.bias(r.flag()).norm_first(r.flag());
    }
    layer = layer
        .activation(r.pick(&[Activation::ReLU, Activation::GELU]))
        .batch_first(r.flag())
        .dropout(r.float(0.1))
        .layer_norm_eps(r.float(1e-5));
    layer_checks(r, &layer)?;
    let src_mask = r.maybe(|r| mask(r, &[3, 3]))?;
    let padding = r.maybe(|r| mask(r, &[3, 3]))?;
    let options = EncoderOptions {
        src_mask: src_mask.as_ref(),
        src_key_padding_mask: padding.as_ref(),
        is_causal: r.chance(20),
    };
    let x = r.tensor(&[3, 3, 8])?;
    if r.flag() {
        return Ok(vec![layer.forward_with(&x, options)?]);
    }
    let mut encoder = TransformerEncoder::new(&layer, r.size(2))?;
    if r.flag() {
        encoder = encoder.norm(LayerNorm::new(r.int(8)));
    }
    layer_checks(r, &encoder)?;
    Ok(vec![encoder.forward_with(&x, options)?])
}

fn activation(r: &mut Draw) -> Result<Vec<Tensor>> {
    let x = r.tensor(&[2, 4, 3, 2])?;
    macro_rules! any {
        ($($layer:expr,)*) => {{
            let count = [$(stringify!($layer)),*].len();
            let at = r.below(count);
            let mut i = 0;
            $(if { i += 1; i - 1 == at } {
                let layer = $layer;
                return run(r, layer, &x);
            })*
            Ok(vec![x])
        }};
    }
    any!(
        ReLU::new().inplace(r.flag()),
        ReLU6::new().inplace(r.flag()),
        LeakyReLU::new()
            .negative_slope(r.float(0.1))
            .inplace(r.flag()),
        ELU::new().alpha(r.float(1.0)).inplace(r.flag()),
        SELU::new().inplace(r.flag()),
        CELU::new().alpha(r.float(1.0)).inplace(r.flag()),
        GELU::new().tanh(r.flag()),
        SiLU::new().inplace(r.flag()),
        Mish::new().inplace(r.flag()),
        Softplus::new().beta(r.float(1.0)).threshold(r.float(20.0)),
        Softsign::new(),
        Tanh::new(),
        Sigmoid::new(),
        Hardtanh::new()
            .min_val(r.float(-1.0))
            .max_val(r.float(1.0))
            .inplace(r.flag()),
        Hardswish::new(),
        Hardsigmoid::new(),
        LogSigmoid::new(),
        Tanhshrink::new(),
        Hardshrink::new().lambd(r.float(0.5)),
        Softshrink::new().lambd(r.float(0.5)),
        Softmax::new(r.int(1)),
        LogSoftmax::new(r.int(1)),
        Softmin::new(r.int(1)),
        GLU::new(r.int(1)),
        Threshold::new(r.float(0.1), r.float(20.0)),
        PReLU::new(),
        PReLU::of(r.size(4), r.float(0.25)),
        Softmax2d::new(),
        Flatten::new().start_dim(r.int(1)).end_dim(r.int(-1)),
        Unflatten::new(r.int(1), [r.int(2), r.int(2)]),
        Identity::new(),
    )
}

fn container(r: &mut Draw) -> Result<Vec<Tensor>> {
    let net = Sequential::new((
        Conv2d::new(3, r.size(4), r.size(3)),
        BatchNorm2d::new(4),
        ReLU::new().inplace(true),
        AdaptiveAvgPool2d::new(r.size(2)),
        Flatten::new(),
        Linear::new(16, r.size(5)),
    ));
    let x = r.tensor(&[2, 3, 8, 8])?;
    layer_checks(r, &net)?;
    if r.flag() {
        return Ok(vec![checkpoint_sequential(&Arc::new(net), r.size(2), &x)?]);
    }
    let net = if r.chance(20) {
        net.to(DType::BF16)?
    } else {
        net
    };
    Ok(vec![net.forward(&x)?])
}
