//! Layers, losses and optimizers on a CUDA device against the CPU: the machine's first one, or,
//! without any, one in plain memory whose kernels a C++ compiler makes for the CPU.

use super::{alone, close, pattern, values};
use flambeau_core::{Device, Result, Tensor, backends, cuda, manual_seed};
use flambeau_nn::optim::{
    Adadelta, Adagrad, Adam, AdamW, Adamax, NAdam, Optimizer, RAdam, RMSprop, Sgd,
};
use flambeau_nn::{
    Conv2d, CrossEntropyLoss, Flatten, Forward, Linear, MaxPool2d, Module, Parameter, ReLU,
    Sequential,
};

/// The device; convolutions there are as exact as on the CPU.
fn device() -> Option<Device> {
    backends::cudnn::set_allow_tf32(false);
    if !cuda::is_available()
        && let Err(e) = cuda::install_emulated()
    {
        eprintln!("skipped: {e}");
        return None;
    }
    Some(Device::Cuda(0))
}

/// PyTorch's tutorial network for small pictures.
fn lenet() -> Sequential {
    manual_seed(3);
    Sequential::new((
        Conv2d::new(3, 4, 3),
        ReLU::new(),
        MaxPool2d::new(2),
        Conv2d::new(4, 6, 3).padding(1),
        ReLU::new(),
        MaxPool2d::new(2),
        Flatten::new(),
        Linear::new(6 * 3 * 3, 16),
        ReLU::new(),
        Linear::new(16, 10),
    ))
}

#[test]
fn lenet_trains_as_on_the_cpu() -> Result<()> {
    let _turn = alone();
    let Some(device) = device() else {
        return Ok(());
    };
    let train = |device: Device| -> Result<(Vec<f64>, Vec<f64>)> {
        let net = lenet().to(device)?;
        let mut optimizer = Sgd::new(net.parameters(), 0.05).momentum(0.9);
        let labels = Tensor::new([3i64, 1, 4, 9])?.to_device(device)?;
        let mut losses = Vec::new();
        for step in 0..6 {
            let inputs = pattern(&[4, 3, 14, 14], step)?.to_device(device)?;
            optimizer.zero_grad();
            let loss = CrossEntropyLoss::new().forward(&net.forward(&inputs)?, &labels)?;
            loss.backward()?;
            optimizer.step()?;
            assert_eq!(loss.device(), device);
            losses.push(loss.item::<f64>()?);
        }
        let parameters = net.parameters();
        let last = parameters.last().map(|p| values(&p.detach()));
        Ok((losses, last.unwrap_or_default()))
    };
    let (losses, weights) = train(Device::Cpu)?;
    let (ours, our_weights) = train(device)?;
    assert!(losses[5] < losses[0], "{losses:?}");
    close("losses", &ours, &losses, 1e-4);
    close("last bias", &our_weights, &weights, 1e-4);
    Ok(())
}

#[test]
fn optimizers_step_as_on_the_cpu() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    type Make = fn(Vec<Parameter>) -> Box<dyn Optimizer>;
    let all: [(&str, Make); 9] = [
        ("SGD", |p| {
            Box::new(
                Sgd::new(p, 0.1)
                    .momentum(0.9)
                    .nesterov(true)
                    .weight_decay(0.01),
            )
        }),
        ("Adam", |p| Box::new(Adam::new(p, 0.1).amsgrad(true))),
        ("AdamW", |p| Box::new(AdamW::new(p, 0.1))),
        ("Adagrad", |p| Box::new(Adagrad::new(p, 0.1))),
        ("Adadelta", |p| Box::new(Adadelta::new(p, 0.1))),
        ("Adamax", |p| Box::new(Adamax::new(p, 0.1))),
        ("RMSprop", |p| {
            Box::new(RMSprop::new(p, 0.1).momentum(0.5).centered(true))
        }),
        ("NAdam", |p| Box::new(NAdam::new(p, 0.1))),
        ("RAdam", |p| Box::new(RAdam::new(p, 0.1))),
    ];
    for (name, make) in all {
        let run = |device: Device| -> Result<Vec<f64>> {
            // A matrix, and what lies across memory.
            let whole = pattern(&[3, 5], 1)?
                .to_device(device)?
                .requires_grad_(true)?;
            let across = pattern(&[4, 2], 2)?
                .to_device(device)?
                .t()?
                .requires_grad_(true)?;
            let mut optimizer = make(vec![(&whole).into(), (&across).into()]);
            for step in 0..3 {
                let g = pattern(&[3, 5], 7 + step)?.to_device(device)?;
                whole.set_grad(Some(g))?;
                across.set_grad(Some(pattern(&[2, 4], 9 + step)?.to_device(device)?))?;
                optimizer.step()?;
            }
            let (mut all, more) = (values(&whole), values(&across));
            all.extend(more);
            Ok(all)
        };
        close(name, &run(device)?, &run(Device::Cpu)?, 1e-5);
    }
    Ok(())
}

#[test]
fn tensors_of_two_devices_do_not_mix() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    let (here, there) = (Tensor::ones([2])?, Tensor::ones([2])?.to_device(device)?);
    let error = here.add(&there).unwrap_err().to_string();
    assert!(
        error.contains("expected all tensors to be on the same device, but found cuda:0 and cpu"),
        "{error}"
    );
    assert_eq!(
        there.add(Tensor::full((), 2.0)?)?.to_vec::<f32>()?,
        [3.0, 3.0]
    );
    let fc = Linear::new(2, 3).to(device)?;
    assert!(
        fc.forward(&here)
            .unwrap_err()
            .to_string()
            .contains("same device")
    );
    assert_eq!(fc.forward(&there)?.device(), device);
    assert_eq!(format!("{there}"), "tensor([1., 1.], device='cuda:0')");
    let held = cuda::memory_stats(0)?;
    assert!(held.allocated > 0 && held.reserved >= held.allocated);
    Ok(())
}

#[test]
fn random_numbers_follow_the_seed() -> Result<()> {
    let _turn = alone();
    let Some(device) = device() else {
        return Ok(());
    };
    let draw = |seed: u64| -> Result<Vec<Vec<f32>>> {
        manual_seed(seed);
        let x = Tensor::rand_with([1000], device)?;
        let more = Tensor::zeros_with([1000], device)?.bernoulli_(0.25)?;
        let whole = Tensor::randint_with(3, 6, [1000], device)?.float()?;
        let all = [&x, &Tensor::randn_with([1000], device)?, &more, &whole];
        all.into_iter().map(|t| t.to_vec()).collect()
    };
    let (first, again, other) = (draw(1)?, draw(1)?, draw(2)?);
    assert!(first == again && first[0] != other[0]);
    let mean = |v: &[f32]| v.iter().map(|&v| f64::from(v)).sum::<f64>() / v.len() as f64;
    // Four standard errors.
    for (got, want, error) in [
        (0, 0.5, 0.037),
        (1, 0.0, 0.127),
        (2, 0.25, 0.055),
        (3, 4.0, 0.104),
    ] {
        let mean = mean(&first[got]);
        assert!((mean - want).abs() < error, "mean {mean} of {got}");
    }
    assert!(first[0].iter().all(|v| (0.0..1.0).contains(v)));
    assert!(first[3].iter().all(|v| [3.0, 4.0, 5.0].contains(v)));
    let kept = Tensor::ones_with([1000], device)?
        .dropout(0.5, true)?
        .to_vec::<f32>()?;
    assert!(kept.iter().all(|v| [0.0, 2.0].contains(v)) && kept.contains(&0.0));
    assert!(Tensor::randint_with(0, 1000, [2], (flambeau_core::DType::U8, device)).is_err());
    Ok(())
}
