//! Layers over sequences: as PyTorch's in initial values, printout, results, gradients and zeros
//! drawn; gradients of inputs and parameters against finite differences in double precision. The
//! goldens come from tests/goldens/make_sequence.py.

use crate::{alone, close, goldens, numbers, pattern, values};
use flambeau_core::{DType, Result, Tensor, manual_seed, no_grad};
use flambeau_nn::*;
use serde_json::Value;

/// The same as `bools` in make_sequence.py.
fn bools(shape: &[usize]) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    Tensor::from_vec((0..n).map(|i| i % 3 == 1).collect::<Vec<_>>(), shape)
}

fn causal(n: usize) -> Result<Tensor> {
    Tensor::full([n, n], true)?.triu(1)
}

fn lists(v: &Value) -> Vec<Vec<f64>> {
    v.as_array().unwrap().iter().map(numbers).collect()
}

fn set_parameters(m: &dyn Module) -> Result<()> {
    no_grad(|| {
        for (i, p) in m.parameters().iter().enumerate() {
            p.copy_(&pattern(p.shape(), i + 11)?.mul(0.5)?)?;
        }
        Ok(())
    })
}

/// The sum of outputs times patterns.
fn loss(ys: &[Tensor]) -> Result<Tensor> {
    let parts = ys.iter().enumerate().map(|(i, y)| {
        let weights = pattern(y.shape(), i + 2)?.to_dtype(y.dtype())?;
        y.mul(&weights)?.sum()
    });
    let parts = parts.collect::<Result<Vec<_>>>()?;
    Tensor::stack(&parts, 0)?.sum()
}

type Call<M> = fn(&M, &[Tensor]) -> Result<Vec<Tensor>>;

fn check<M: Module>(
    name: &str,
    make: impl Fn() -> M,
    shapes: &[&[usize]],
    call: Call<M>,
) -> Result<()> {
    let all = goldens("sequence");
    let want = &all[name];
    manual_seed(42);
    let m = make();
    let next = values(&Tensor::rand([1])?);
    assert_eq!(m.repr(), want["repr"], "{name}");
    let parameters = m.named_parameters();
    let init = want["init"].as_object().unwrap();
    assert_eq!(parameters.len(), init.len(), "{name}");
    for (n, p) in &parameters {
        let want = numbers(&init[n]);
        close(&format!("{name}: initial {n}"), &values(p), &want, 1e-8);
    }
    let drawn = want["next"].as_f64().unwrap();
    close(
        &format!("{name}: the generator after"),
        &next,
        &[drawn],
        1e-8,
    );

    set_parameters(&m)?;
    let inputs = |dtype: DType| -> Result<Vec<Tensor>> {
        let all = shapes.iter().enumerate().map(|(i, shape)| {
            let x = pattern(shape, i + 1)?.mul(2.0)?.to_dtype(dtype)?;
            x.requires_grad_(true)
        });
        all.collect()
    };
    let xs = inputs(DType::F32)?;
    let compare = |what: &str, ys: &[Tensor], want: &[Vec<f64>], tolerance: f64| {
        assert_eq!(ys.len(), want.len(), "{name}: {what}");
        for (i, (y, want)) in ys.iter().zip(want).enumerate() {
            close(&format!("{name}: {what} {i}"), &values(y), want, tolerance);
        }
    };
    manual_seed(3);
    let ys = call(&m, &xs)?;
    for (y, shape) in ys.iter().zip(lists(&want["shapes"])) {
        let shape: Vec<usize> = shape.iter().map(|v| *v as usize).collect();
        assert_eq!(y.shape(), shape, "{name}");
    }
    compare("output", &ys, &lists(&want["outputs"]), 5e-6);
    loss(&ys)?.backward()?;
    let grads: Vec<Tensor> = xs.iter().map(|x| x.grad().unwrap()).collect();
    compare(
        "gradient of input",
        &grads,
        &lists(&want["input_grads"]),
        2e-5,
    );
    for (n, p) in &parameters {
        let grad = values(&p.grad().expect("each parameter has a gradient"));
        let want = numbers(&want["grads"][n]);
        close(&format!("{name}: gradient of {n}"), &grad, &want, 2e-5);
    }
    m.eval();
    compare(
        "evaluated output",
        &call(&m, &xs)?,
        &lists(&want["eval"]),
        5e-6,
    );

    // In evaluation nothing is random.
    let m = m.to(DType::F64)?;
    let xs = inputs(DType::F64)?;
    let leaves = [
        xs.clone(),
        m.parameters().iter().map(|p| p.tensor().clone()).collect(),
    ]
    .concat();
    m.zero_grad();
    loss(&call(&m, &xs)?)?.backward()?;
    for (k, leaf) in leaves.iter().enumerate() {
        let grad = leaf.grad().unwrap().to_vec::<f64>()?;
        let base = leaf.detach().copy()?;
        for i in (0..grad.len()).step_by(grad.len().div_ceil(5)) {
            let moved = |by: f64| -> Result<f64> {
                no_grad(|| {
                    let mut v = base.to_vec::<f64>()?;
                    v[i] += by;
                    leaf.copy_(&Tensor::from_slice(&v, leaf.shape())?)?;
                    let loss = loss(&call(&m, &xs)?)?.item::<f64>();
                    leaf.copy_(&base)?;
                    loss
                })
            };
            let numeric = (moved(1e-6)? - moved(-1e-6)?) / 2e-6;
            assert!(
                (grad[i] - numeric).abs() < 1e-6 * numeric.abs().max(1.0),
                "{name}: of leaf {k} at {i} {} by backward, {numeric} by differences",
                grad[i]
            );
        }
    }
    Ok(())
}

fn with_weights((y, w): (Tensor, Option<Tensor>)) -> Vec<Tensor> {
    std::iter::once(y).chain(w).collect()
}

type Options<'a> = MultiheadAttentionOptions<'a>;

#[test]
fn attention() -> Result<()> {
    let _alone = alone();
    warnings(false);
    let mha = MultiheadAttention::new;
    check(
        "mha",
        || mha(8, 2),
        &[&[4, 2, 8], &[5, 2, 8], &[5, 2, 8]],
        |m, x| {
            Ok(with_weights(m.forward(
                &x[0],
                &x[1],
                &x[2],
                Options::default(),
            )?))
        },
    )?;
    check(
        "mha_self",
        || mha(8, 2).batch_first(true),
        &[&[2, 4, 8]],
        |m, x| {
            let options = Options {
                need_weights: false,
                ..Default::default()
            };
            Ok(with_weights(m.forward(&x[0], &x[0], &x[0], options)?))
        },
    )?;
    check(
        "mha_memory",
        || mha(6, 3).bias(false),
        &[&[4, 2, 6], &[5, 2, 6]],
        |m, x| {
            let options = Options {
                average_attn_weights: false,
                ..Default::default()
            };
            Ok(with_weights(m.forward(&x[0], &x[1], &x[1], options)?))
        },
    )?;
    check(
        "mha_masks",
        || mha(8, 2).batch_first(true),
        &[&[2, 4, 8]],
        |m, x| {
            let (padding, mask) = (bools(&[2, 4])?, bools(&[4, 4])?.t()?);
            let options = Options {
                key_padding_mask: Some(&padding),
                attn_mask: Some(&mask),
                ..Default::default()
            };
            Ok(with_weights(m.forward(&x[0], &x[0], &x[0], options)?))
        },
    )?;
    check(
        "mha_masks_fast",
        || mha(8, 2),
        &[&[4, 2, 8], &[5, 2, 8]],
        |m, x| {
            let dtype = x[0].dtype();
            let (padding, mask) = (bools(&[2, 5])?, pattern(&[4, 4, 5], 7)?.to_dtype(dtype)?);
            let options = Options {
                key_padding_mask: Some(&padding),
                attn_mask: Some(&mask),
                need_weights: false,
                ..Default::default()
            };
            Ok(with_weights(m.forward(&x[0], &x[1], &x[1], options)?))
        },
    )?;
    check(
        "mha_causal",
        || mha(8, 4),
        &[&[5, 2, 8]],
        |m, x| {
            let mask = causal(5)?;
            let options = Options {
                attn_mask: Some(&mask),
                need_weights: false,
                is_causal: true,
                ..Default::default()
            };
            Ok(with_weights(m.forward(&x[0], &x[0], &x[0], options)?))
        },
    )?;
    let options = || {
        let m = mha(8, 2).dropout(0.4).add_bias_kv(true).add_zero_attn(true);
        m.kdim(3).vdim(6)
    };
    check(
        "mha_options",
        options,
        &[&[4, 2, 8], &[5, 2, 3], &[5, 2, 6]],
        |m, x| {
            let (padding, mask) = (bools(&[2, 5])?, pattern(&[4, 5], 7)?);
            let options = Options {
                key_padding_mask: Some(&padding),
                attn_mask: Some(&mask),
                ..Default::default()
            };
            Ok(with_weights(m.forward(&x[0], &x[1], &x[2], options)?))
        },
    )?;
    check(
        "mha_unbatched",
        || mha(8, 2),
        &[&[4, 8], &[5, 8], &[5, 8]],
        |m, x| {
            let padding = bools(&[5])?;
            let options = Options {
                key_padding_mask: Some(&padding),
                ..Default::default()
            };
            Ok(with_weights(m.forward(&x[0], &x[1], &x[2], options)?))
        },
    )?;
    warnings(true);
    Ok(())
}

#[test]
fn transformer_encoders() -> Result<()> {
    let _alone = alone();
    warnings(false);
    let layer = TransformerEncoderLayer::new;
    let small = || layer(8, 2).dim_feedforward(16);
    check("encoder_layer", small, &[&[4, 3, 8]], |m, x| {
        Ok(vec![m.forward(&x[0])?])
    })?;
    let batch_first = || {
        layer(8, 2)
            .dim_feedforward(12)
            .dropout(0.3)
            .batch_first(true)
    };
    check(
        "encoder_layer_batch_first",
        batch_first,
        &[&[3, 4, 8]],
        |m, x| {
            let padding = bools(&[3, 4])?;
            let options = EncoderOptions {
                src_key_padding_mask: Some(&padding),
                ..Default::default()
            };
            Ok(vec![m.forward_with(&x[0], options)?])
        },
    )?;
    let norm_first = || {
        let m = layer(8, 4)
            .dim_feedforward(12)
            .dropout(0.0)
            .activation(Activation::GELU);
        m.norm_first(true).bias(false).layer_norm_eps(1e-3)
    };
    check(
        "encoder_layer_norm_first",
        norm_first,
        &[&[4, 3, 8]],
        |m, x| {
            let mask = pattern(&[4, 4], 7)?;
            let options = EncoderOptions {
                src_mask: Some(&mask),
                ..Default::default()
            };
            Ok(vec![m.forward_with(&x[0], options)?])
        },
    )?;
    let unbatched = || small().batch_first(true);
    check("encoder_layer_unbatched", unbatched, &[&[4, 8]], |m, x| {
        Ok(vec![m.forward(&x[0])?])
    })?;
    let encoder = || {
        let encoder = TransformerEncoder::new(&small().dropout(0.2), 2).unwrap();
        encoder.norm(LayerNorm::new(8))
    };
    check("encoder", encoder, &[&[4, 3, 8]], |m, x| {
        let mask = causal(4)?;
        let options = EncoderOptions {
            src_mask: Some(&mask),
            is_causal: true,
            ..Default::default()
        };
        Ok(vec![m.forward_with(&x[0], options)?])
    })?;
    warnings(true);
    Ok(())
}

/// PyTorch 2.15's numbers for `TransformerEncoder(layer, 2, enable_nested_tensor=False)`, which are
/// those of training with any setting; its nested tensors would put zeros at ignored positions.
#[test]
fn ignored_positions_have_one_output_in_every_mode() -> Result<()> {
    let _alone = alone();
    manual_seed(0);
    let layer = TransformerEncoderLayer::new(8, 2)
        .dim_feedforward(16)
        .dropout(0.0)
        .batch_first(true);
    let encoder = TransformerEncoder::new(&layer, 2)?;
    manual_seed(1);
    let x = Tensor::randn([2, 4, 8])?;
    let padding = Tensor::new([[false, false, false, true], [false, false, true, true]])?;
    let options = EncoderOptions {
        src_key_padding_mask: Some(&padding),
        ..Default::default()
    };
    for training in [true, false] {
        encoder.set_training(training);
        for y in [
            encoder.forward_with(&x, options)?,
            no_grad(|| encoder.forward_with(&x, options))?,
        ] {
            for (place, expected) in [(0, [-1.0493577, 0.3216651]), (3, [1.1656173, 0.9825221])] {
                let y = y.select(0, 0)?.select(0, place)?.to_vec::<f32>()?;
                let apart = [(y[0] - expected[0]).abs(), (y[1] - expected[1]).abs()];
                assert!(apart.iter().all(|&d| d < 1e-5), "{place}: {y:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_attention_is_an_error() -> Result<()> {
    let _alone = alone();
    let x = Tensor::ones([4, 2, 8])?;
    let error = |m: &MultiheadAttention, q: &Tensor, k: &Tensor, options: Options<'_>| {
        m.forward(q, k, k, options).unwrap_err().to_string()
    };
    let e = error(&MultiheadAttention::new(8, 3), &x, &x, Options::default());
    assert!(
        e.contains("embed_dim 8 must be a multiple of num_heads 3"),
        "{e}"
    );
    let m = MultiheadAttention::new(8, 2);
    let e = error(&m, &x, &Tensor::ones([4, 2, 6])?, Options::default());
    assert!(
        e.contains("keys [4, 2, 6]") && e.contains("of sizes 8, 8 and 8"),
        "{e}"
    );
    assert!(
        e.contains("sequence.rs") && e.contains("in MultiheadAttention(8)"),
        "{e}"
    );
    let e = error(&m, &x, &Tensor::ones([4, 3, 8])?, Options::default());
    assert!(e.contains("one batch"), "{e}");
    let e = error(
        &m,
        &x,
        &x,
        Options {
            is_causal: true,
            ..Default::default()
        },
    );
    assert!(e.contains("give it too"), "{e}");
    let mask = Tensor::zeros([4, 3])?;
    let e = error(
        &m,
        &x,
        &x,
        Options {
            attn_mask: Some(&mask),
            ..Default::default()
        },
    );
    assert!(
        e.contains("attn_mask has shape [4, 3]; it must be [4, 4] or [4, 4, 4]"),
        "{e}"
    );
    let e = error(
        &m,
        &x,
        &x,
        Options {
            key_padding_mask: Some(&mask),
            ..Default::default()
        },
    );
    assert!(e.contains("it must be [2, 4]"), "{e}");
    let mask = Tensor::zeros_with([2, 4], DType::I64)?;
    let e = error(
        &m,
        &x,
        &x,
        Options {
            key_padding_mask: Some(&mask),
            ..Default::default()
        },
    );
    assert!(e.contains("key_padding_mask is int64"), "{e}");
    Ok(())
}

type Pair = (Tensor, (Tensor, Tensor));

fn three((y, (h, c)): Pair) -> Vec<Tensor> {
    vec![y, h, c]
}

#[test]
fn recurrent_layers() -> Result<()> {
    let _alone = alone();
    warnings(false);
    check(
        "lstm",
        || LSTM::new(3, 4),
        &[&[5, 2, 3]],
        |m, x| Ok(three(m.forward(&x[0], None)?)),
    )?;
    let options = || {
        let m = LSTM::new(3, 4).num_layers(2).bidirectional(true);
        m.batch_first(true).dropout(0.3)
    };
    check(
        "lstm_options",
        options,
        &[&[2, 5, 3], &[4, 2, 4], &[4, 2, 4]],
        |m, x| Ok(three(m.forward(&x[0], Some((&x[1], &x[2])))?)),
    )?;
    let projection = || LSTM::new(3, 4).num_layers(2).bias(false).proj_size(2);
    check(
        "lstm_projection",
        projection,
        &[&[5, 2, 3], &[2, 2, 2], &[2, 2, 4]],
        |m, x| Ok(three(m.forward(&x[0], Some((&x[1], &x[2])))?)),
    )?;
    let unbatched = || LSTM::new(3, 4).batch_first(true);
    check(
        "lstm_unbatched",
        unbatched,
        &[&[5, 3], &[1, 4], &[1, 4]],
        |m, x| Ok(three(m.forward(&x[0], Some((&x[1], &x[2])))?)),
    )?;
    check(
        "gru",
        || GRU::new(3, 4),
        &[&[5, 2, 3], &[1, 2, 4]],
        |m, x| {
            let (y, h) = m.forward(&x[0], Some(&x[1]))?;
            Ok(vec![y, h])
        },
    )?;
    let options = || {
        let m = GRU::new(3, 4).num_layers(2).bias(false);
        m.bidirectional(true).dropout(0.4)
    };
    check("gru_options", options, &[&[5, 2, 3]], |m, x| {
        let (y, h) = m.forward(&x[0], None)?;
        Ok(vec![y, h])
    })?;
    check(
        "rnn",
        || RNN::new(3, 4).batch_first(true),
        &[&[2, 5, 3]],
        |m, x| {
            let (y, h) = m.forward(&x[0], None)?;
            Ok(vec![y, h])
        },
    )?;
    let relu = || {
        let m = RNN::new(3, 4).num_layers(3).bidirectional(true);
        m.nonlinearity(Nonlinear::ReLU)
    };
    check("rnn_relu", relu, &[&[5, 2, 3], &[6, 2, 4]], |m, x| {
        let (y, h) = m.forward(&x[0], Some(&x[1]))?;
        Ok(vec![y, h])
    })?;
    warnings(true);
    Ok(())
}

#[test]
fn recurrent_cells() -> Result<()> {
    let _alone = alone();
    check(
        "lstm_cell",
        || LSTMCell::new(3, 4),
        &[&[2, 3], &[2, 4], &[2, 4]],
        |m, x| {
            let (h, c) = m.forward(&x[0], Some((&x[1], &x[2])))?;
            Ok(vec![h, c])
        },
    )?;
    check(
        "lstm_cell_unbatched",
        || LSTMCell::new(3, 4).bias(false),
        &[&[3]],
        |m, x| {
            let (h, c) = m.forward(&x[0], None)?;
            Ok(vec![h, c])
        },
    )?;
    check(
        "gru_cell",
        || GRUCell::new(3, 4),
        &[&[2, 3], &[2, 4]],
        |m, x| Ok(vec![m.forward(&x[0], Some(&x[1]))?]),
    )?;
    let relu = || RNNCell::new(3, 4).nonlinearity(Nonlinear::ReLU);
    check("rnn_cell", relu, &[&[3], &[4]], |m, x| {
        Ok(vec![m.forward(&x[0], Some(&x[1]))?])
    })
}

#[test]
fn what_does_not_fit_recurrence_is_an_error() -> Result<()> {
    let _alone = alone();
    let lstm = LSTM::new(3, 4);
    let error = |x: &[usize], h: &[usize]| -> Result<String> {
        let (x, h) = (Tensor::ones(x)?, Tensor::ones(h)?);
        Ok(lstm.forward(&x, Some((&h, &h))).unwrap_err().to_string())
    };
    let e = error(&[5, 2, 2], &[1, 2, 4])?;
    assert!(
        e.contains("of input_size 3") && e.contains("in LSTM(3 -> 4)"),
        "{e}"
    );
    assert!(e.contains("sequence.rs"), "{e}");
    let e = error(&[5, 2, 3], &[2, 2, 4])?;
    assert!(
        e.contains("h_0 has shape [2, 2, 4]; it must be [1, 2, 4]"),
        "{e}"
    );
    let e = error(&[0, 2, 3], &[1, 2, 4])?;
    assert!(e.contains("has no steps"), "{e}");
    let projected = LSTM::new(3, 4).proj_size(4);
    let e = projected
        .forward(&Tensor::ones([5, 2, 3])?, None)
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("proj_size 4 must be smaller than hidden_size 4"),
        "{e}"
    );
    let e = GRUCell::new(3, 4)
        .forward(&Tensor::ones([2, 4])?, None)
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("of input_size 3") && e.contains("GRUCell(3, 4)"),
        "{e}"
    );
    Ok(())
}

/// PyTorch gives NaN where weights are asked for.
#[test]
fn queries_that_may_attend_to_nothing_give_zeros() -> Result<()> {
    let _alone = alone();
    let m = MultiheadAttention::new(8, 2);
    let x = Tensor::ones([4, 1, 8])?.requires_grad_(true)?;
    let mask = Tensor::full([4, 4], true)?;
    for need_weights in [true, false] {
        let options = Options {
            attn_mask: Some(&mask),
            need_weights,
            ..Default::default()
        };
        let (y, _) = m.forward(&x, &x, &x, options)?;
        assert_eq!(y.to_vec::<f32>()?, [0.0; 32]);
        y.sum()?.backward()?;
        assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [0.0; 32]);
    }
    Ok(())
}
