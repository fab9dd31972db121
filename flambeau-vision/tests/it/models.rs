//! Models against torchvision's; the goldens come from tests/goldens/make_models.py.

use flambeau_core::{Result, Tensor, manual_seed, no_grad};
use flambeau_nn::optim::{Optimizer, Sgd};
use flambeau_nn::{Conv2d, CrossEntropyLoss, Forward, Identity, Module};
use flambeau_vision::models::*;
use serde_json::Value;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

fn golden(name: &str) -> &'static Value {
    static ALL: LazyLock<Value> =
        LazyLock::new(|| serde_json::from_str(include_str!("../goldens/models.json")).unwrap());
    &ALL[name]
}

/// Tests that draw from the default generator take turns.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn numbers(v: &Value) -> Vec<f64> {
    let list = v.as_array().unwrap();
    list.iter().map(|v| v.as_f64().unwrap()).collect()
}

/// First, middle and last element.
fn some(t: &Tensor) -> Vec<f64> {
    let all = t.detach().to_dtype(flambeau_core::DType::F64).unwrap();
    let all = all.to_vec::<f64>().unwrap();
    vec![all[0], all[all.len() / 2], all[all.len() - 1]]
}

#[track_caller]
fn close(what: &str, got: &[f64], want: &Value, tolerance: f64) {
    let want = numbers(want);
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        assert!(
            (g - w).abs() <= tolerance * w.abs().max(1.0),
            "{what}[{i}]: {g}, PyTorch has {w}"
        );
    }
}

/// As torchvision makes it: printout, names, initial values, and what is left of the generator.
fn check_new<M: Module>(name: &str, make: fn(usize) -> M) {
    let want = golden(name);
    manual_seed(0);
    let net = make(10);
    let next = Tensor::rand([1]).unwrap();
    assert_eq!(
        next.item::<f32>().unwrap(),
        want["next"].as_f64().unwrap() as f32,
        "{name}"
    );
    if let Some(names) = want.get("state") {
        assert_eq!(net.repr(), want["repr"], "{name}");
        let state = net.state_dict();
        let keys: Vec<&str> = state.keys().collect();
        assert_eq!(serde_json::json!(keys), *names, "{name}");
    }
    assert_eq!(net.num_parameters(), want["parameters"], "{name}");
    for ((n, p), want) in net
        .named_parameters()
        .iter()
        .zip(want["init"].as_array().unwrap())
    {
        // Nine digits tell every `f32` from its neighbours.
        let bits = |v: &[f64]| v.iter().map(|&v| v as f32).collect::<Vec<_>>();
        assert_eq!(bits(&some(p)), bits(&numbers(want)), "{name}: initial {n}");
    }
}

#[test]
fn new_networks_are_torchvisions() {
    let _alone = alone();
    check_new("resnet18", resnet18);
    check_new("resnet34", resnet34);
    check_new("resnet50", resnet50);
    check_new("resnext50_32x4d", resnext50_32x4d);
    check_new("wide_resnet50_2", wide_resnet50_2);
    check_new("densenet121", densenet121);
}

/// Three steps of training and an evaluation beside torchvision's.
fn check_steps<M: Forward>(name: &str, make: impl Fn() -> Result<M>, size: usize) -> Result<()> {
    let _alone = alone();
    let want = golden(name);
    manual_seed(0);
    let net = make()?;
    assert_eq!(net.repr(), want["repr"], "{name}");
    let mut optimizer = Sgd::new(net.parameters(), 0.05).momentum(0.9);
    let mut losses = Vec::new();
    for step in 0..3 {
        let x = Tensor::randn([4, 3, size, size])?.requires_grad_(true)?;
        let labels = Tensor::randint(0, 10, [4])?;
        optimizer.zero_grad();
        let loss = CrossEntropyLoss::new().forward(&net.forward(&x)?, &labels)?;
        loss.backward()?;
        if step == 0 {
            for ((n, p), want) in net
                .named_parameters()
                .iter()
                .zip(want["grads"].as_array().unwrap())
            {
                let grad = p.grad().expect("each parameter has a gradient");
                close(
                    &format!("{name}: gradient of {n}"),
                    &some(&grad),
                    want,
                    1e-4,
                );
            }
            close(
                &format!("{name}: input's gradient"),
                &some(&x.grad().unwrap()),
                &want["input_grad"],
                1e-5,
            );
        }
        optimizer.step()?;
        losses.push(loss.item::<f64>()?);
    }
    close(&format!("{name}: losses"), &losses, &want["losses"], 1e-3);
    for ((n, b), want) in net
        .named_buffers()
        .iter()
        .zip(want["buffers"].as_array().unwrap())
    {
        close(&format!("{name}: {n}"), &some(b), want, 2e-3);
    }
    net.eval();
    let logits = no_grad(|| net.forward(&Tensor::randn([2, 3, size, size])?))?;
    close(
        &format!("{name}: logits"),
        &logits
            .to_vec::<f32>()?
            .iter()
            .map(|&v| v.into())
            .collect::<Vec<_>>(),
        &want["logits"],
        5e-3,
    );
    Ok(())
}

#[test]
fn resnet18_for_cifar_beside_torchvisions() -> Result<()> {
    let make = || {
        let mut net = resnet18(10).zero_init_residual()?;
        net.conv1 = Conv2d::new(3, 64, 3).padding(1).bias(false);
        net.maxpool = Box::new(Identity::new());
        Ok(net)
    };
    check_steps("resnet18_cifar_steps", make, 16)
}

#[test]
fn bottlenecks_with_groups_and_dilation_beside_torchvisions() -> Result<()> {
    let options = ResNetOptions {
        block: ResNetBlock::Bottleneck,
        layers: [1, 2, 1, 1],
        num_classes: 10,
        groups: 4,
        width_per_group: 8,
        replace_stride_with_dilation: [false, true, true],
    };
    check_steps("bottleneck_steps", || ResNet::new(&options), 64)
}

#[test]
fn densenet_beside_torchvisions() -> Result<()> {
    let options = DenseNetOptions {
        growth_rate: 8,
        block_config: vec![2, 3],
        num_init_features: 16,
        bn_size: 2,
        drop_rate: 0.2,
        num_classes: 10,
    };
    check_steps("densenet_steps", || Ok(DenseNet::new(&options)), 32)
}
