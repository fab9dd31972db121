//! Training steps and inference of whole models.

use super::Row;
use flambeau::prelude::*;
use std::hint::black_box;

/// A training step: gradients dropped, cross-entropy, backward pass, optimizer, loss read.
fn step(
    net: impl Forward,
    mut optimizer: impl Optimizer + 'static,
    x: Tensor,
    y: Tensor,
    precision: Autocast,
) -> impl FnMut() -> Result<()> {
    move || {
        optimizer.zero_grad();
        let loss = autocast(precision, || {
            net.forward(&x)?.cross_entropy(&y, ClassLoss::default())
        })?;
        loss.backward()?;
        optimizer.step()?;
        black_box(loss.item::<f32>()?);
        Ok(())
    }
}

fn lenet(batch: usize) -> Row {
    Row::new(format!("lenet_step_b{batch}"), move || {
        let net = LeNet::new(3, 10);
        let optimizer = Sgd::new(net.parameters(), 0.001).momentum(0.9);
        let x = Tensor::randn([batch, 3, 32, 32])?;
        let y = Tensor::randint(0, 10, [batch])?;
        Ok(step(net, optimizer, x, y, full()))
    })
    .flop(3_900_000 * batch)
}

fn mlp() -> Row {
    Row::new("mlp_adam_step_b64", || {
        let net = Sequential::new((
            Flatten::new(),
            Linear::new(784, 512),
            ReLU::new(),
            Linear::new(512, 256),
            ReLU::new(),
            Linear::new(256, 10),
        ));
        let optimizer = Adam::new(net.parameters(), 1e-3);
        let x = Tensor::randn([64, 784])?;
        let y = Tensor::randint(0, 10, [64])?;
        Ok(step(net, optimizer, x, y, full()))
    })
    .flop(3 * 2 * 64 * (784 * 512 + 512 * 256 + 256 * 10))
}

/// No mixed precision.
fn full() -> Autocast {
    Autocast::new().enabled(false)
}

/// ResNet-18 with the stem for pictures of 32x32.
fn resnet() -> ResNet {
    let mut net = resnet18(10);
    net.conv1 = Conv2d::new(3, 64, 3).padding(1).bias(false);
    net.maxpool = Box::new(Identity::new());
    net
}

/// Floating-point operations of its forward pass over a batch of 32.
const RESNET_FLOP: usize = 2 * 556_000_000 * 32;

fn resnet_step(name: &'static str, precision: Autocast) -> Row {
    Row::new(name, move || {
        let net = resnet();
        let optimizer = Sgd::new(net.parameters(), 0.1).momentum(0.9);
        let x = Tensor::randn([32, 3, 32, 32])?;
        let y = Tensor::randint(0, 10, [32])?;
        Ok(step(net, optimizer, x, y, precision))
    })
    .flop(3 * RESNET_FLOP)
}

fn resnet_infer() -> Row {
    Row::new("resnet18_cifar_infer_b32_f32_channels_last", || {
        let net = resnet();
        net.eval();
        let x = Tensor::randn([32, 3, 32, 32])?;
        Ok(move || no_grad(|| net.forward(&x)).map(|y| drop(black_box(y))))
    })
    .flop(RESNET_FLOP)
    .also(&["resnet18_cifar_infer_b32_f32"])
}

fn transformer() -> Row {
    Row::new("transformer_layer_d256_8x128_step", || {
        let layer = TransformerEncoderLayer::new(256, 4)
            .dim_feedforward(1024)
            .batch_first(true)
            .dropout(0.0);
        let x = Tensor::randn([8, 128, 256])?;
        let mut optimizer = AdamW::new(layer.parameters(), 1e-3);
        Ok(move || {
            optimizer.zero_grad();
            layer.forward(&x)?.square()?.mean()?.backward()?;
            optimizer.step()
        })
    })
    .flop(3 * 2 * 1024 * (4 * 256 * 256 + 2 * 256 * 1024 + 2 * 128 * 256))
}

fn lstm() -> Row {
    Row::new("lstm_256_8x64_step", || {
        let net = LSTM::new(256, 256).batch_first(true);
        let x = Tensor::randn([8, 64, 256])?;
        let mut optimizer = Sgd::new(net.parameters(), 0.01);
        Ok(move || {
            optimizer.zero_grad();
            let (output, _) = net.forward(&x, None)?;
            output.square()?.mean()?.backward()?;
            optimizer.step()
        })
    })
    .flop(3 * 2 * 8 * 64 * 4 * 256 * (256 + 256))
}

pub fn rows() -> Vec<Row> {
    vec![
        lenet(4),
        lenet(128),
        mlp(),
        resnet_step("resnet18_cifar_step_b32_f32", full())
            .also(&["resnet18_cifar_step_b32_f32_channels_last"]),
        resnet_step(
            "resnet18_cifar_step_b32_bf16_channels_last",
            Autocast::new(),
        ),
        resnet_infer(),
        transformer(),
        lstm(),
    ]
}
