//! Mixed precision against PyTorch: the types of every class of operation, and training. The
//! goldens come from tests/goldens/mixed.py.

use crate::{alone, close, goldens, numbers, pattern, values};
use flambeau_core::{
    Autocast, DType, Device, PadMode, Result, Tensor, autocast, manual_seed, no_grad,
};
use flambeau_nn::amp::GradScaler;
use flambeau_nn::functional as f;
use flambeau_nn::optim::{self, Optimizer, Sgd};
use flambeau_nn::*;

/// The same numbers as `eighths` in mixed.py.
fn eighths(shape: &[usize], salt: usize) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n)
        .map(|i| (((i * 7 + salt * 5) % 16) as f32 - 7.5) / 8.0)
        .collect();
    Tensor::from_vec(values, shape)
}

fn dtype(name: &str) -> DType {
    match name {
        "bf16" | "bfloat16" => DType::BF16,
        "f16" | "float16" => DType::F16,
        _ => DType::F32,
    }
}

/// What PyTorch 2.15 gives on a CPU: `with torch.autocast("cpu", torch.bfloat16): m(x)`.
#[test]
fn recurrent_layers_and_cells_give_pytorchs_types() -> Result<()> {
    let _alone = alone();
    const HALF: DType = DType::BF16;
    const FULL: DType = DType::F32;
    manual_seed(0);
    let x = eighths(&[5, 2, 3], 1)?;
    let (h, half) = (Tensor::zeros([2, 4])?, x.to_dtype(HALF)?);
    let step = |x: &Tensor| x.select(0, 0);
    let types = |all: &[&Tensor]| all.iter().map(|t| t.dtype()).collect::<Vec<_>>();
    let near = |low: &Tensor, full: &Tensor| -> Result<()> {
        let apart = low.to_dtype(FULL)?.sub(full)?.abs()?.max()?.item::<f32>()?;
        assert!(apart > 0.0 && apart < 0.02, "{apart}");
        Ok(())
    };
    // The layer LSTM is on the list of what is computed in the half type.
    let deep = LSTM::new(3, 4).num_layers(2).bidirectional(true);
    for m in [LSTM::new(3, 4), deep] {
        let states = m.parameters().len() / 4;
        let h = Tensor::zeros([states, 2, 4])?;
        let (full, _) = m.forward(&x, None)?;
        autocast(HALF, || {
            for hx in [None, Some((&h, &h))] {
                let (y, (h, c)) = m.forward(&x, hx)?;
                assert_eq!(types(&[&y, &h, &c]), [HALF; 3]);
                near(&y, &full)?;
            }
            let (y, (h, c)) = m.to(DType::F64)?.forward(&x.to_dtype(DType::F64)?, None)?;
            assert_eq!(types(&[&y, &h, &c]), [DType::F64; 3]);
            Ok(())
        })?;
    }
    // The others are made of products, and a wider state stays wide.
    let m = LSTM::new(3, 4).proj_size(2);
    let (y, (h_n, c_n)) = autocast(HALF, || m.forward(&x, None))?;
    assert_eq!(types(&[&y, &h_n, &c_n]), [HALF, HALF, FULL]);
    let m = GRU::new(3, 4).num_layers(2);
    let (y, h_n) = autocast(HALF, || m.forward(&x, None))?;
    assert_eq!(types(&[&y, &h_n]), [FULL; 2]);
    near(&y, &m.forward(&x, None)?.0)?;
    assert_eq!(autocast(HALF, || m.forward(&half, None))?.0.dtype(), HALF);
    let m = RNN::new(3, 4);
    let (y, h_n) = autocast(HALF, || m.forward(&x, None))?;
    assert_eq!(types(&[&y, &h_n]), [HALF; 2]);
    near(&y, &m.forward(&x, None)?.0)?;
    let (x, half) = (step(&x)?, step(&half)?);
    autocast(HALF, || {
        let m = LSTMCell::new(3, 4);
        for (x, hx, expected) in [
            (&x, None, FULL),
            (&half, None, HALF),
            (&half, Some((&h, &h)), FULL),
        ] {
            let (h, c) = m.forward(x, hx)?;
            assert_eq!(types(&[&h, &c]), [expected; 2]);
        }
        let m = GRUCell::new(3, 4);
        for (x, hx, expected) in [
            (&x, None, FULL),
            (&half, None, HALF),
            (&half, Some(&h), FULL),
        ] {
            assert_eq!(m.forward(x, hx)?.dtype(), expected);
        }
        assert_eq!(RNNCell::new(3, 4).forward(&x, Some(&h))?.dtype(), HALF);
        Ok(())
    })
}

type Call = fn(&[Tensor]) -> Result<Tensor>;

/// The operations of mixed.py.
const OPS: &[(&str, Call, &[&[usize]])] = &[
    (
        "conv1d",
        |t| f::conv1d(&t[0], &t[1], Some(&t[2]), 1, 0, 1, 1),
        &[&[1, 2, 5], &[2, 2, 3], &[2]],
    ),
    (
        "conv2d",
        |t| f::conv2d(&t[0], &t[1], Some(&t[2]), 1, 0, 1, 1),
        &[&[1, 2, 4, 4], &[2, 2, 3, 3], &[2]],
    ),
    (
        "conv3d",
        |t| f::conv3d(&t[0], &t[1], None, 1, 0, 1, 1),
        &[&[1, 1, 3, 3, 3], &[2, 1, 2, 2, 2]],
    ),
    (
        "conv_transpose2d",
        |t| f::conv_transpose2d(&t[0], &t[1], Some(&t[2]), 1, 0, 0, 1, 1),
        &[&[1, 2, 2, 2], &[2, 2, 2, 2], &[2]],
    ),
    (
        "linear",
        |t| f::linear(&t[0], &t[1], Some(&t[2])),
        &[&[2, 3], &[4, 3], &[4]],
    ),
    ("matmul", |t| t[0].matmul(&t[1]), &[&[2, 3], &[3, 2]]),
    ("mm", |t| t[0].mm(&t[1]), &[&[2, 3], &[3, 2]]),
    ("bmm", |t| t[0].bmm(&t[1]), &[&[2, 2, 3], &[2, 3, 2]]),
    (
        "addmm",
        |t| t[0].addmm(&t[1], &t[2], 1, 1),
        &[&[2, 2], &[2, 3], &[3, 2]],
    ),
    (
        "baddbmm",
        |t| t[0].baddbmm(&t[1], &t[2], 1, 1),
        &[&[2, 2, 2], &[2, 2, 3], &[2, 3, 2]],
    ),
    ("mv", |t| t[0].mv(&t[1]), &[&[2, 3], &[3]]),
    ("dot", |t| t[0].dot(&t[1]), &[&[3], &[3]]),
    ("prelu", |t| f::prelu(&t[0], &t[1]), &[&[2, 3], &[1]]),
    ("prod", |t| t[0].prod(), &[&[4]]),
    ("trace", |t| t[0].trace(), &[&[3, 3]]),
    ("sum", |t| t[0].sum(), &[&[4]]),
    ("mean", |t| t[0].mean(), &[&[4]]),
    ("softmax", |t| t[0].softmax(-1), &[&[2, 3]]),
    ("log_softmax", |t| t[0].log_softmax(-1), &[&[2, 3]]),
    ("exp", |t| t[0].exp(), &[&[4]]),
    ("relu", |t| t[0].relu(), &[&[4]]),
    ("gelu", |t| GELU::new().forward(&t[0]), &[&[4]]),
    ("add", |t| t[0].add(&t[1]), &[&[2, 3], &[2, 3]]),
    ("mul", |t| t[0].mul(&t[1]), &[&[2, 3], &[3]]),
    ("avg_pool2d", |t| t[0].avg_pool2d(2), &[&[1, 1, 4, 4]]),
    ("max_pool2d", |t| t[0].max_pool2d(2), &[&[1, 1, 4, 4]]),
    ("avg_pool3d", |t| t[0].avg_pool3d(2), &[&[1, 1, 2, 4, 4]]),
    ("max_pool3d", |t| t[0].max_pool3d(2), &[&[1, 1, 2, 4, 4]]),
    (
        "adaptive_avg_pool2d",
        |t| f::adaptive_avg_pool2d(&t[0], 2),
        &[&[1, 1, 4, 4]],
    ),
    (
        "adaptive_avg_pool3d",
        |t| f::adaptive_avg_pool3d(&t[0], 1),
        &[&[1, 2, 2, 2, 2]],
    ),
    (
        "pad_zeros",
        |t| t[0].pad(&[1, 1], PadMode::Zeros),
        &[&[1, 1, 3]],
    ),
    (
        "pad_reflect",
        |t| t[0].pad(&[1, 1], PadMode::Reflect),
        &[&[1, 1, 3]],
    ),
    (
        "pad_replicate",
        |t| t[0].pad(&[1, 1], PadMode::Replicate),
        &[&[1, 1, 3]],
    ),
    (
        "pad_circular",
        |t| t[0].pad(&[1, 1], PadMode::Circular),
        &[&[1, 1, 3]],
    ),
    ("cat", |t| Tensor::cat(t, 0), &[&[2, 2], &[1, 2]]),
    ("stack", |t| Tensor::stack(t, 0), &[&[2, 2], &[2, 2]]),
    (
        "index_copy",
        |t| t[0].index_copy(0, &Tensor::new([1i64])?, &t[1]),
        &[&[2, 2], &[1, 2]],
    ),
    (
        "layer_norm",
        |t| f::layer_norm(&t[0], &[4], Some(&t[1]), Some(&t[2]), 1e-5),
        &[&[2, 4], &[4], &[4]],
    ),
    (
        "batch_norm",
        |t| f::batch_norm(&t[0], None, None, Some(&t[1]), None, true, 0.1, 1e-5),
        &[&[3, 2, 2], &[2]],
    ),
    (
        "cross_entropy",
        |t| {
            f::cross_entropy(
                &t[0],
                &Tensor::new([0i64, 2])?,
                Some(&t[1].detach().abs()?),
                -100,
                MEAN,
                0.0,
            )
        },
        &[&[2, 3], &[3]],
    ),
    (
        "cross_entropy_soft",
        |t| f::cross_entropy(&t[0], &t[1].abs()?, None, -100, MEAN, 0.0),
        &[&[2, 3], &[2, 3]],
    ),
    (
        "nll_loss",
        |t| f::nll_loss(&t[0], &Tensor::new([0i64, 2])?, None, -100, MEAN),
        &[&[2, 3]],
    ),
    (
        "mse_loss",
        |t| f::mse_loss(&t[0], &t[1], MEAN),
        &[&[2, 3], &[2, 3]],
    ),
    (
        "l1_loss",
        |t| f::l1_loss(&t[0], &t[1], MEAN),
        &[&[2, 3], &[2, 3]],
    ),
    (
        "smooth_l1_loss",
        |t| f::smooth_l1_loss(&t[0], &t[1], MEAN, 1.0),
        &[&[2, 3], &[2, 3]],
    ),
    (
        "huber_loss",
        |t| f::huber_loss(&t[0], &t[1], MEAN, 1.0),
        &[&[2, 3], &[2, 3]],
    ),
    (
        "binary_cross_entropy",
        |t| f::binary_cross_entropy(&t[0].abs()?, &t[1].abs()?, None, MEAN),
        &[&[2, 3], &[2, 3]],
    ),
    (
        "binary_cross_entropy_with_logits",
        |t| f::binary_cross_entropy_with_logits(&t[0], &t[1].abs()?, None, MEAN, None),
        &[&[2, 3], &[2, 3]],
    ),
    (
        "kl_div",
        |t| f::kl_div(&t[0], &t[1].abs()?, Reduction::Sum, false),
        &[&[2, 3], &[2, 3]],
    ),
    (
        "poisson_nll_loss",
        |t| f::poisson_nll_loss(&t[0], &t[1], true, 1e-8, MEAN),
        &[&[2, 3], &[2, 3]],
    ),
    (
        "hinge_embedding_loss",
        |t| f::hinge_embedding_loss(&t[0], &t[1].sign()?, 1.0, MEAN),
        &[&[2, 3], &[2, 3]],
    ),
    (
        "soft_margin_loss",
        |t| f::soft_margin_loss(&t[0], &t[1].sign()?, MEAN),
        &[&[2, 3], &[2, 3]],
    ),
    (
        "margin_ranking_loss",
        |t| f::margin_ranking_loss(&t[0], &t[1], &Tensor::ones([4])?, 0.0, MEAN),
        &[&[4], &[4]],
    ),
    (
        "triplet_margin_loss",
        |t| f::triplet_margin_loss(&t[0], &t[1], &t[2], 1.0, 2.0, MEAN),
        &[&[2, 3], &[2, 3], &[2, 3]],
    ),
    (
        "cosine_embedding_loss",
        |t| f::cosine_embedding_loss(&t[0], &t[1], &Tensor::ones([2])?, 0.0, MEAN),
        &[&[2, 3], &[2, 3]],
    ),
];

const MEAN: Reduction = Reduction::Mean;

#[test]
fn every_class_of_operation_gives_pytorchs_type() -> Result<()> {
    let want = goldens("mixed");
    let mut checked = 0;
    for (name, call, shapes) in OPS {
        for (case, answer) in want[format!("op {name}")].as_object().unwrap() {
            let types: Vec<DType> = case.split(' ').map(dtype).collect();
            let operands = (shapes.iter().enumerate())
                .map(|(i, s)| {
                    eighths(s, i + 1)?
                        .to_dtype(types[1 + i % 2])?
                        .requires_grad_(true)
                })
                .collect::<Result<Vec<_>>>()?;
            let what = format!("{name}, {case}");
            let y = autocast(types[0], || call(&operands))?;
            assert_eq!(y.dtype(), dtype(answer[0].as_str().unwrap()), "{what}");
            // Two units in the last place of the half type, of intermediate results too.
            let halves = types.contains(&DType::BF16);
            close(
                &what,
                &values(&y),
                &numbers(&answer[1]),
                if halves { 2e-2 } else { 2e-3 },
            );
            // The backward pass, outside of the region, arrives in the operands' own types.
            y.sum()?.backward()?;
            for t in &operands {
                assert!(t.grad().is_none_or(|g| g.dtype() == t.dtype()), "{what}");
            }
            checked += 1;
        }
    }
    assert!(checked > 200, "{checked} cases");
    Ok(())
}

#[derive(Module)]
struct Net {
    conv1: Conv2d,
    bn: BatchNorm2d,
    conv2: Conv2d,
    fc1: Linear,
    norm: LayerNorm,
    fc2: Linear,
}

impl Net {
    fn new() -> Net {
        manual_seed(0);
        Net {
            conv1: Conv2d::new(3, 6, 5),
            bn: BatchNorm2d::new(6),
            conv2: Conv2d::new(6, 16, 5),
            fc1: Linear::new(16 * 5 * 5, 32),
            norm: LayerNorm::new(32),
            fc2: Linear::new(32, 10),
        }
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self
            .bn
            .forward(&self.conv1.forward(x)?)?
            .relu()?
            .max_pool2d(2)?;
        let x = self
            .conv2
            .forward(&x)?
            .relu()?
            .max_pool2d(2)?
            .flatten(1, -1)?;
        let x = self.norm.forward(&self.fc1.forward(&x)?)?.relu()?;
        self.fc2.forward(&x)
    }
}

/// The losses of some steps, in a region of the half type where there is one; `step` is what comes
/// after the loss.
pub fn train(
    (mut optimizer, steps): (Sgd, usize),
    half: Option<DType>,
    logits: impl Fn() -> Result<Tensor>,
    y: &Tensor,
    mut step: impl FnMut(&Tensor, &mut Sgd) -> Result<()>,
) -> Result<Vec<f64>> {
    let region = Autocast::from((y.device(), half.unwrap_or(DType::BF16))).enabled(half.is_some());
    (0..steps)
        .map(|_| {
            optimizer.zero_grad();
            let loss = autocast(region, || {
                let logits = logits()?;
                assert_eq!(logits.dtype(), half.unwrap_or(DType::F32));
                CrossEntropyLoss::new().forward(&logits, y)
            })?;
            step(&loss, &mut optimizer)?;
            loss.item::<f64>()
        })
        .collect()
}

/// Twenty steps of the network of mixed.py.
fn train_net(
    half: Option<DType>,
    step: impl FnMut(&Tensor, &mut Sgd) -> Result<()>,
) -> Result<Vec<f64>> {
    let net = Net::new();
    let optimizer = Sgd::new(net.parameters(), 0.01).momentum(0.9);
    let (x, y) = (pattern(&[8, 3, 32, 32], 1)?, Tensor::arange(0, 8, 1)?);
    train((optimizer, 20), half, || net.forward(&x), &y, step)
}

#[test]
fn training_in_bf16_follows_pytorchs_losses() -> Result<()> {
    let _alone = alone();
    let want = goldens("mixed");
    let plain = |loss: &Tensor, optimizer: &mut Sgd| {
        loss.backward()?;
        optimizer.step()
    };
    let full = train_net(None, plain)?;
    close("f32", &full, &numbers(&want["train f32"]["losses"]), 1e-3);
    // PyTorch's own losses in f32 and bf16 differ by up to 0.015.
    let half = train_net(Some(DType::BF16), plain)?;
    close("bf16", &half, &numbers(&want["train bf16"]["losses"]), 2e-2);
    assert_ne!(full, half);
    Ok(())
}

#[test]
fn inference_without_a_graph_is_converted_too() -> Result<()> {
    let linear = Linear::new(3, 2);
    let x = eighths(&[4, 3], 1)?;
    let y = no_grad(|| autocast(DType::BF16, || linear.forward(&x)))?;
    assert_eq!((y.dtype(), y.requires_grad()), (DType::BF16, false));
    Ok(())
}

#[test]
fn training_in_f16_with_a_scaler_follows_pytorchs() -> Result<()> {
    let _alone = alone();
    let want = &goldens("mixed")["train f16"];
    let mut scaler = GradScaler::new().init_scale(1024.0).growth_interval(5);
    let losses = train_net(Some(DType::F16), |loss, optimizer| {
        scaler.scale(loss)?.backward()?;
        assert!(scaler.step(optimizer)?);
        scaler.update()
    })?;
    close("losses", &losses, &numbers(&want["losses"]), 1e-2);
    for (name, value) in scaler.state_dict().as_object().unwrap() {
        assert_eq!(value.as_f64(), want["scaler"][name].as_f64(), "{name}");
    }
    Ok(())
}

#[test]
fn the_scale_and_the_steps_follow_pytorchs() -> Result<()> {
    follow_the_scaler(Device::Cpu)
}

/// The scale, and what the optimizer makes of it, through the steps of mixed.py.
pub fn follow_the_scaler(device: Device) -> Result<()> {
    let mut scaler = GradScaler::new()
        .init_scale(8.0)
        .growth_factor(3.0)
        .backoff_factor(0.25)
        .growth_interval(2);
    let w = Tensor::ones([2])?.to_device(device)?.requires_grad_(true)?;
    let mut optimizer = Sgd::new([w.clone()], 0.5).momentum(0.9);
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let factors = [1.0, inf, 0.5, 0.25, 2.0, nan, 1.0, 1.0, 1.0];
    let rows = goldens("mixed")["scaler"].clone();
    for (factor, row) in factors.into_iter().zip(rows.as_array().unwrap()) {
        optimizer.zero_grad();
        scaler.scale(&w.mul(factor)?.sum()?)?.backward()?;
        if factor == 0.25 {
            scaler.unscale_(&optimizer)?;
            optim::clip_grad_norm_(std::slice::from_ref(&w), 0.1, 2.0)?;
        }
        assert_eq!(scaler.step(&mut optimizer)?, factor.is_finite());
        if factor == 2.0 {
            scaler.update_to(5.0)?;
        } else {
            scaler.update()?;
        }
        let mut got = vec![
            scaler.get_scale(),
            scaler.state_dict()["_growth_tracker"].as_f64().unwrap(),
        ];
        got.extend(values(&w));
        close(&format!("factor {factor}"), &got, &numbers(row), 1e-6);
    }
    Ok(())
}

#[test]
fn a_scaler_used_wrongly_says_so() -> Result<()> {
    #[track_caller]
    fn fails<T>(result: Result<T>, words: &str) {
        let Err(error) = result else {
            panic!("no error with {words}");
        };
        assert!(error.to_string().contains(words), "{error}");
    }
    let w = Tensor::ones([2])?.requires_grad_(true)?;
    let mut optimizer = Sgd::new([w.clone()], 0.5);
    let mut scaler = GradScaler::new();
    fails(scaler.unscale_(&optimizer), "nothing was scaled yet");
    fails(scaler.step(&mut optimizer), "nothing was scaled yet");
    fails(scaler.update(), "nothing was scaled yet");
    let loss = scaler.scale(&w.sum()?)?;
    fails(
        scaler.step(&mut optimizer),
        "no parameter of the optimizer has a gradient",
    );
    fails(scaler.update(), "no gradients were looked at");
    scaler.update_to(4.0)?;
    loss.backward()?;
    scaler.unscale_(&optimizer)?;
    // The same optimizer in another place.
    let mut optimizer = Box::new(optimizer);
    fails(scaler.unscale_(&*optimizer), "already called");
    assert!(scaler.step(&mut *optimizer)?);
    fails(scaler.step(&mut *optimizer), "already called");
    fails(scaler.unscale_(&*optimizer), "after step()");
    // One overflow among two optimizers holds back its own step, and the scale.
    let v = Tensor::ones([2])?.requires_grad_(true)?;
    let mut other = Sgd::new([v.clone()], 0.5);
    v.set_grad(Some(Tensor::new([1.0f32, f32::NEG_INFINITY])?))?;
    assert!(!scaler.step(&mut other)?);
    scaler.update()?;
    assert_eq!((scaler.get_scale(), values(&v)), (2.0, vec![1.0, 1.0]));

    let half = Tensor::ones_with([2], DType::F16)?.requires_grad_(true)?;
    half.set_grad(Some(half.detach()))?;
    fails(scaler.unscale_(&Sgd::new([half], 0.5)), "float16");
    fails(GradScaler::new().growth_factor(1.0).scale(&w), "above 1");
    fails(GradScaler::new().backoff_factor(1.0).scale(&w), "below 1");

    let mut off = GradScaler::new().enabled(false);
    assert_eq!(values(&off.scale(&w)?), values(&w));
    assert!(off.step(&mut *optimizer)?);
    off.update()?;
    assert_eq!((off.get_scale(), off.is_enabled()), (1.0, false));
    fails(scaler.load_state_dict(&off.state_dict()), "not enabled");
    fails(
        scaler.load_state_dict(&serde_json::json!({"scale": 1})),
        "growth_factor",
    );
    let mut again = GradScaler::new();
    again.load_state_dict(&scaler.state_dict())?;
    assert_eq!(again.state_dict(), scaler.state_dict());
    Ok(())
}
