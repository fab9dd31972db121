//! Mixed precision on a CUDA device: the types that PyTorch gives there (tests/goldens/mixed_cuda.py),
//! and training.

use crate::cuda::device;
use crate::mixed::{follow_the_scaler, train};
use crate::{alone, close, goldens, pattern, pattern_between, values};
use flambeau_core::{
    AttentionOptions, Autocast, DType, Device, PadMode, Reduction, Result, Tensor, autocast,
    autocast_dtype_on, manual_seed,
};
use flambeau_nn::amp::GradScaler;
use flambeau_nn::functional as f;
use flambeau_nn::optim::{Optimizer, Sgd};
use flambeau_nn::*;

struct Operands {
    x: Tensor,
    v: Tensor,
    h: Tensor,
    img: Tensor,
    vol: Tensor,
}

type Call = fn(&Operands) -> Result<Tensor>;

/// The operations of mixed_cuda.py.
const OPS: &[(&str, Call)] = &[
    ("exp", |o| o.h.exp()),
    ("log", |o| o.h.log()),
    ("tan", |o| o.h.tan()),
    ("rsqrt", |o| o.h.rsqrt()),
    ("reciprocal", |o| o.h.reciprocal()),
    ("softplus", |o| f::softplus(&o.h, 1.0, 20.0)),
    ("sqrt", |o| o.h.sqrt()),
    ("relu", |o| o.h.relu()),
    ("gelu", |o| f::gelu(&o.h, false)),
    ("pow", |o| o.h.pow(2.0)),
    ("square", |o| o.h.square()),
    ("add", |o| o.h.add(&o.x)),
    ("atan2", |o| o.h.atan2(&o.x)),
    ("addcmul", |o| o.h.addcmul(&o.h, &o.x, 1.0)),
    ("mm", |o| o.x.mm(&o.x)),
    ("mv", |o| o.x.mv(&o.v)),
    ("dot", |o| o.h.select(0, 0)?.dot(&o.v)),
    ("linear", |o| o.x.linear(&o.x, Some(&o.v))),
    ("conv2d", |o| {
        let w = o.img.float()?.narrow(0, 0, 1)?;
        f::conv2d(&o.img.float()?, &w, None, 1, 0, 1, 1)
    }),
    ("prelu", |o| o.x.prelu(&o.v.narrow(0, 0, 1)?)),
    ("bilinear", |o| {
        f::bilinear(
            &o.h,
            &o.x,
            &o.img.float()?.select(0, 0)?.narrow(0, 0, 2)?,
            None,
        )
    }),
    ("attention", |o| {
        let q = o.x.view([1, 1, 4, 4])?;
        q.scaled_dot_product_attention(&q, &q, AttentionOptions::default())
    }),
    ("sum", |o| o.h.sum()),
    ("prod", |o| o.h.prod()),
    ("mean", |o| o.h.mean()),
    ("var", |o| o.h.var()),
    ("norm", |o| o.h.norm(2.0, [0, 1], false)),
    ("trace", |o| o.h.trace()),
    ("cumsum", |o| o.h.cumsum(0)),
    ("cumprod", |o| o.h.cumprod(0)),
    ("logsumexp", |o| o.h.logsumexp(0, false)),
    ("softmax", |o| o.h.softmax(-1)),
    ("log_softmax", |o| o.h.log_softmax(-1)),
    ("layer_norm", |o| o.h.layer_norm(&[4], None, None, 1e-5)),
    ("group_norm", |o| o.img.group_norm(2, None, None, 1e-5)),
    ("cat", |o| Tensor::cat(&[&o.h, &o.x], 0)),
    ("max_pool3d", |o| o.vol.max_pool3d(2)),
    ("avg_pool3d", |o| o.vol.avg_pool3d(2)),
    ("pad", |o| o.img.pad(&[1, 1, 1, 1], PadMode::Reflect)),
    ("cosine_similarity", |o| {
        f::cosine_similarity(&o.h, &o.h, 1, 1e-8)
    }),
    ("mse_loss", |o| f::mse_loss(&o.h, &o.h, Reduction::Mean)),
    ("huber_loss", |o| {
        f::huber_loss(&o.h, &o.h, Reduction::Mean, 1.0)
    }),
    ("cross_entropy", |o| {
        let target = Tensor::zeros_with([4], (DType::I64, o.h.device()))?;
        f::cross_entropy(&o.h, &target, None, -100, Reduction::Mean, 0.0)
    }),
    ("GRUCell", |o| {
        GRUCell::new(4, 4).to(o.x.device())?.forward(&o.x, None)
    }),
    ("RNNCell", |o| {
        RNNCell::new(4, 4).to(o.x.device())?.forward(&o.x, None)
    }),
    ("LSTMCell", |o| {
        Ok(LSTMCell::new(4, 4).to(o.x.device())?.forward(&o.x, None)?.1)
    }),
    ("binary_cross_entropy", |o| {
        f::binary_cross_entropy(&o.h, &o.h, None, Reduction::Mean)
    }),
];

#[test]
fn every_class_of_operation_gives_pytorchs_type_on_cuda() -> Result<()> {
    let _turn = alone();
    let Some(device) = device() else {
        return Ok(());
    };
    let of = |shape: &[usize], dtype: DType| {
        pattern_between(shape, 1, 0.1, 0.9)?
            .to_dtype(dtype)?
            .to_device(device)
    };
    let operands = Operands {
        x: of(&[4, 4], DType::F32)?,
        v: of(&[4], DType::F32)?,
        h: of(&[4, 4], DType::F16)?,
        img: of(&[1, 4, 4, 4], DType::F16)?,
        vol: of(&[1, 1, 4, 4, 4], DType::F16)?,
    };
    let want = goldens("mixed_cuda");
    assert_eq!(want.as_object().map_or(0, |w| w.len()), OPS.len());
    for (name, call) in OPS {
        let got = match autocast(device, || call(&operands)) {
            Ok(y) => y.dtype().to_string(),
            Err(e) if e.to_string().contains("unsafe under autocast") => "error".into(),
            Err(e) => return Err(e),
        };
        assert_eq!(got, want[name].as_str().unwrap(), "{name}");
    }
    Ok(())
}

#[test]
fn recurrent_layers_are_computed_in_the_half_type_on_cuda() -> Result<()> {
    let _turn = alone();
    let Some(device) = device() else {
        return Ok(());
    };
    let x = pattern(&[3, 2, 4], 1)?.to_device(device)?;
    autocast(device, || {
        let (y, (h, c)) = LSTM::new(4, 4).to(device)?.forward(&x, None)?;
        assert_eq!([y.dtype(), h.dtype(), c.dtype()], [DType::F16; 3]);
        let (y, h) = GRU::new(4, 4).to(device)?.forward(&x, None)?;
        assert_eq!([y.dtype(), h.dtype()], [DType::F16; 2]);
        Ok(())
    })
}

#[test]
fn regions_are_of_a_kind_of_device() -> Result<()> {
    let _turn = alone();
    let Some(device) = device() else {
        return Ok(());
    };
    let x = Tensor::ones([2, 2])?;
    let y = x.to_device(device)?;
    autocast(device, || {
        assert_eq!(autocast_dtype_on(device), Some(DType::F16));
        assert_eq!(
            (x.mm(&x)?.dtype(), y.mm(&y)?.dtype()),
            (DType::F32, DType::F16)
        );
        autocast(Device::Cpu, || {
            assert_eq!(
                (x.mm(&x)?.dtype(), y.mm(&y)?.dtype()),
                (DType::BF16, DType::F16)
            );
            autocast(Autocast::from(device).enabled(false), || {
                assert_eq!(
                    (x.mm(&x)?.dtype(), y.mm(&y)?.dtype()),
                    (DType::BF16, DType::F32)
                );
                Ok(())
            })
        })
    })
}

#[test]
fn the_scaler_looks_at_gradients_without_waiting() -> Result<()> {
    let _turn = alone();
    let Some(device) = device() else {
        return Ok(());
    };
    follow_the_scaler(device)
}

#[test]
fn training_in_both_half_types_follows_f32() -> Result<()> {
    let _turn = alone();
    let Some(device) = device() else {
        return Ok(());
    };
    let losses = |half: Option<DType>| -> Result<Vec<f64>> {
        manual_seed(0);
        let net = Sequential::new((
            Linear::new(6, 8),
            LayerNorm::new(8),
            ReLU::new(),
            Linear::new(8, 3),
        ));
        let net = net.to(device)?;
        let optimizer = Sgd::new(net.parameters(), 0.1).momentum(0.9);
        let mut scaler = GradScaler::new()
            .init_scale(1024.0)
            .enabled(half == Some(DType::F16));
        let x = pattern(&[9, 6], 1)?.to_device(device)?;
        let y = Tensor::arange(0, 9, 1)?.remainder(3)?.to_device(device)?;
        let logits = || net.forward(&x);
        train((optimizer, 10), half, logits, &y, |loss, optimizer| {
            scaler.scale(loss)?.backward()?;
            assert!(scaler.step(optimizer)?);
            scaler.update()
        })
    };
    let full = losses(None)?;
    assert!(full[9] < full[0], "{full:?}");
    for half in [DType::F16, DType::BF16] {
        let low = losses(Some(half))?;
        close(&half.to_string(), &low, &full, 2e-2);
        assert_ne!(low, full);
    }
    Ok(())
}

type Make = fn(Vec<Parameter>) -> Box<dyn Optimizer>;

/// A network in f16 whose gradients overflow now and then: losses, parameters, the scale and the
/// optimizer's counts.
fn scaled(device: Device, captured: bool, make: Make) -> Result<(Vec<f64>, Vec<f64>, f64, String)> {
    manual_seed(11);
    let net = Sequential::new((Linear::new(6, 8), ReLU::new(), Linear::new(8, 3))).to(device)?;
    let mut optimizer = make(net.parameters());
    let mut scaler = GradScaler::new().init_scale(1024.0).growth_interval(4);
    let mut graphed = GraphedStep::new();
    let labels = Tensor::new([0i64, 2, 1, 1])?.to_device(device)?;
    let mut losses = Vec::new();
    for step in 0..14 {
        let mut x = pattern(&[4, 6], step)?;
        if [1, 6, 7, 11].contains(&step) {
            x = x.mul(f64::INFINITY)?;
        }
        let x = x.to_device(device)?;
        let loss = |x: &Tensor| {
            autocast(Autocast::from((device, DType::F16)), || {
                net.forward(x)?.cross_entropy(&labels, Default::default())
            })
        };
        let loss = match captured {
            true => graphed.run_scaled(&mut *optimizer, &mut scaler, [&x], |[x]| loss(x))?,
            false => {
                optimizer.zero_grad();
                let loss = loss(&x)?;
                scaler.scale(&loss)?.backward()?;
                scaler.step(&mut *optimizer)?;
                scaler.update()?;
                loss
            }
        };
        losses.extend(values(&loss));
    }
    assert_eq!(graphed.is_captured(), captured && device != Device::Cpu);
    scaler.settle(&mut *optimizer)?;
    let parameters = net.parameters();
    let parameters = parameters.iter().flat_map(|p| values(p)).collect();
    let counts = optimizer.state_dict().meta["steps"].to_string();
    assert_eq!(scaler.state_dict()["scale"], scaler.get_scale());
    Ok((losses, parameters, scaler.get_scale(), counts))
}

#[test]
fn a_captured_step_with_a_scaler_is_skipped_on_the_device() -> Result<()> {
    let _turn = alone();
    let Some(device) = device() else {
        return Ok(());
    };
    let optimizers: [Make; 3] = [
        |p| Box::new(Sgd::new(p, 0.1).momentum(0.9)),
        |p| Box::new(optim::Adam::new(p, 0.05)),
        |p| Box::new(optim::NAdam::new(p, 0.05)),
    ];
    for (i, make) in optimizers.into_iter().enumerate() {
        let want = scaled(device, false, make)?;
        let got = scaled(device, true, make)?;
        assert!(want.1.iter().all(|v| v.is_finite()));
        // To the bit, but for what is not a number.
        let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&got.0), bits(&want.0), "losses of optimizer {i}");
        assert_eq!(bits(&got.1), bits(&want.1), "parameters of optimizer {i}");
        assert_eq!((got.2, &got.3), (want.2, &want.3), "scale and counts");
    }
    Ok(())
}

#[test]
fn a_scaler_on_a_device_refuses_what_is_elsewhere() -> Result<()> {
    let _turn = alone();
    let Some(device) = device() else {
        return Ok(());
    };
    let w = Tensor::ones([2])?.requires_grad_(true)?;
    let mut optimizer = Sgd::new([&w], 0.1);
    let mut scaler = GradScaler::new();
    scaler.to_device(device)?;
    w.sum()?.backward()?;
    scaler.scale(&Tensor::ones(())?.to_device(device)?)?;
    let error = scaler.step(&mut optimizer).unwrap_err().to_string();
    assert!(error.contains("the scale is kept on cuda:0"), "{error}");
    scaler.update_to(8.0)?;
    assert_eq!(scaler.get_scale(), 8.0);
    scaler.to_device(Device::Cpu)?;
    assert_eq!(scaler.get_scale(), 8.0);
    Ok(())
}
