//! Layers, losses and optimizers on a CUDA device against the CPU: the machine's first one, or,
//! without any, one in plain memory whose kernels a C++ compiler makes for the CPU.

use super::{alone, close, pattern, values};
use flambeau_core::{Device, Reduction, Result, Tensor, backends, cuda, manual_seed};
use flambeau_nn::optim::{
    Adadelta, Adagrad, Adam, AdamW, Adamax, NAdam, Optimizer, RAdam, RMSprop, Sgd,
};
use flambeau_nn::{
    Conv2d, CrossEntropyLoss, Dropout, Flatten, Forward, GraphedStep, Linear, MaxPool2d, Module,
    Parameter, ReLU, Sequential,
};

/// The device; convolutions there are as exact as on the CPU. Whoever uses it holds [`alone`]: beside
/// a thread that captures a graph no other may.
pub fn device() -> Option<Device> {
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
    let _turn = alone();
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
    let _turn = alone();
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

/// Losses of steps with dropout and a learning rate that falls; the last batch of each three is
/// smaller.
fn losses<O: Optimizer>(
    make: impl FnOnce(Vec<Parameter>) -> O,
    device: Device,
    graphed: bool,
) -> Result<(Vec<f64>, Vec<f64>)> {
    manual_seed(5);
    let net = Sequential::new((
        Linear::new(6, 8),
        ReLU::new(),
        Dropout::new(0.3),
        Linear::new(8, 4),
    ));
    let net = net.to(device)?;
    let mut optimizer = make(net.parameters());
    let (criterion, mut step) = (CrossEntropyLoss::new(), GraphedStep::new());
    let mut losses = Vec::new();
    for i in 0..12 {
        let n = if i % 6 == 5 { 2 } else { 3 };
        let x = pattern(&[n, 6], i)?.to_device(device)?;
        let y = Tensor::arange(0, n as i64, 1)?.to_device(device)?;
        optimizer.set_lr(0.1 / (1 + i) as f64);
        let loss = if graphed {
            step.run(&mut optimizer, [&x, &y], |[x, y]| {
                criterion.forward(&net.forward(x)?, y)
            })?
        } else {
            optimizer.zero_grad();
            let loss = criterion.forward(&net.forward(&x)?, &y)?;
            loss.backward()?;
            optimizer.step()?;
            loss
        };
        losses.push(loss.item::<f64>()?);
    }
    assert_eq!(step.is_captured(), graphed && device != Device::Cpu);
    let weights = net
        .parameters()
        .iter()
        .flat_map(|p| values(&p.detach()))
        .collect();
    Ok((losses, weights))
}

#[test]
fn a_captured_step_trains_to_the_same_bits() -> Result<()> {
    let _turn = alone();
    let Some(device) = device() else {
        return Ok(());
    };
    let sgd = |p| Sgd::new(p, 0.1).momentum(0.9).nesterov(true);
    let adam = |p| AdamW::new(p, 0.1).amsgrad(true);
    let nadam = |p| NAdam::new(p, 0.1);
    // Its formula changes after the fifth step: it is captured twice.
    let radam = |p| RAdam::new(p, 0.1);
    assert_eq!(losses(sgd, device, true)?, losses(sgd, device, false)?);
    assert_eq!(losses(adam, device, true)?, losses(adam, device, false)?);
    assert_eq!(losses(nadam, device, true)?, losses(nadam, device, false)?);
    assert_eq!(losses(radam, device, true)?, losses(radam, device, false)?);
    assert_eq!(
        losses(sgd, Device::Cpu, true)?,
        losses(sgd, Device::Cpu, false)?
    );
    Ok(())
}

#[test]
fn what_cannot_be_captured_is_an_error() -> Result<()> {
    let _turn = alone();
    let Some(device) = device() else {
        return Ok(());
    };
    let w = Tensor::ones([2])?.to_device(device)?.requires_grad_(true)?;
    let mut optimizer = Adam::new([&w], 0.1);
    let capture = |optimizer: &mut Adam| {
        cuda::Graph::capture(device, || {
            w.square()?.sum()?.backward()?;
            optimizer.step()
        })
    };
    // The first step makes the averages.
    let error = capture(&mut optimizer).unwrap_err().to_string();
    assert!(error.contains("Take one step first"), "{error}");
    let read = cuda::Graph::capture(device, || w.sum()?.item::<f32>());
    let error = read.unwrap_err().to_string();
    assert!(error.contains("while a graph is captured"), "{error}");
    assert!(cuda::Graph::capture(Device::Cpu, || Ok(())).is_err());
    // And afterwards all goes on.
    assert_eq!(w.detach().to_vec::<f32>()?, [1.0, 1.0]);
    Ok(())
}

#[test]
fn a_device_without_memory_says_what_holds_it() -> Result<()> {
    let _turn = alone();
    // No real device is filled.
    let Some(device) =
        device().filter(|_| cuda::device_name(0).is_ok_and(|n| n.contains("emulated")))
    else {
        return Ok(());
    };
    let net = Sequential::new((Linear::new(64, 1 << 15), ReLU::new())).to(device)?;
    let x = Tensor::zeros([1 << 10, 64])?.to_device(device)?;
    let mut optimizer = Adam::new(net.parameters(), 0.1);
    let mut grads = net.parameters();
    for p in &mut grads {
        p.set_grad(Some(p.detach().zeros_like()?))?;
    }
    optimizer.step()?;
    let hidden = net.forward(&x)?;
    let error = Tensor::zeros_with([1 << 30], device)
        .unwrap_err()
        .to_string();
    for part in [
        "4.00 GiB asked of emulated",
        "parameters 8.12 MiB",
        "optimizer 16.25 MiB",
        "(of modules: sequential.1 128.00 MiB)",
        "Of the batch of 1024, about",
    ] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    drop(hidden);
    Ok(())
}

#[test]
fn pinned_batches_train_as_others() -> Result<()> {
    let _turn = alone();
    let Some(device) = device() else {
        return Ok(());
    };
    let x = pattern(&[5, 4], 1)?;
    let pinned = x.pin_memory()?;
    assert!(pinned.is_pinned() && !x.is_pinned() && pinned.pin_memory()?.is(&pinned));
    assert_eq!(values(&pinned), values(&x));
    let there = pinned.to_device(device)?;
    // Changed after the copy was started: the copy has what was there before.
    pinned.mul_(2.0)?;
    assert!(pinned.is_pinned());
    assert_eq!(values(&there), values(&x));
    // Part of it, and back.
    let back = pinned
        .narrow(0, 1, 2)?
        .to_non_blocking(device)?
        .to_non_blocking(Device::Cpu)?;
    assert!(back.is_pinned());
    assert_eq!(values(&back), values(&x.narrow(0, 1, 2)?.mul(2.0)?));
    let leaf = Tensor::ones([2])?.requires_grad_(true)?;
    leaf.pin_memory()?.to_device(device)?.sum()?.backward()?;
    assert_eq!(leaf.grad().map(|g| values(&g)), Some(vec![1.0, 1.0]));
    assert!(there.pin_memory().is_err());
    assert!(cuda::pinned_memory_stats(0)?.reserved > 0);
    Ok(())
}

/// Probabilities are looked at where they are; whoever reads from the device next hears of it.
#[test]
fn binary_cross_entropy_waits_for_nothing() -> Result<()> {
    let _turn = alone();
    let Some(device) = device() else {
        return Ok(());
    };
    let to = |v: [f32; 3]| Tensor::new(v)?.to_device(device);
    let (p, target) = (to([0.9, 0.2, 0.0])?, to([1.0, 0.0, 0.0])?);
    let loss = || flambeau_nn::functional::binary_cross_entropy(&p, &target, None, Reduction::Mean);
    // -(ln 0.9 + ln 0.8) / 3
    let want = 0.109_501_35;
    let (mut graph, mean) = cuda::Graph::capture(device, loss)?;
    close("captured", &values(&mean), &[want], 1e-6);
    p.copy_(&to([0.5, 0.5, 1.5])?)?;
    for again in [false, true] {
        let done = match again {
            false => loss().and_then(|l| l.item::<f32>()),
            true => graph.replay().and_then(|()| mean.item()),
        };
        let error = done.unwrap_err().to_string();
        assert!(
            error.contains("must be probabilities between 0 and 1"),
            "{error}"
        );
    }
    // Said once, not again.
    p.copy_(&to([0.9, 0.2, 0.0])?)?;
    graph.replay()?;
    close("replayed", &values(&mean), &[want], 1e-6);
    Ok(())
}
