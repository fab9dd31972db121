//! Training in channels-last format: what the row-major one gives, without a copy between the two.

use crate::{alone, close, cuda::device, pattern, values};
use flambeau_core::{
    Autocast, DType, Device, MemoryFormat, Result, Tensor, autocast, cuda, manual_seed,
};
use flambeau_nn::optim::{Optimizer, Sgd};
use flambeau_nn::*;

/// A residual network: every kind of layer that ResNet has, on the way back as well.
#[derive(Module)]
struct Residual {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    pool: MaxPool2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    conv3: Conv2d,
    bn3: BatchNorm2d,
    down: Conv2d,
    down_bn: BatchNorm2d,
    head: Linear,
}

impl Residual {
    fn new() -> Residual {
        manual_seed(5);
        Residual {
            conv1: Conv2d::new(3, 8, 3).padding(1).bias(false),
            bn1: BatchNorm2d::new(8),
            pool: MaxPool2d::new(3).stride(2).padding(1),
            conv2: Conv2d::new(8, 16, 3).stride(2).padding(1).bias(false),
            bn2: BatchNorm2d::new(16),
            conv3: Conv2d::new(16, 16, 3).padding(1),
            bn3: BatchNorm2d::new(16),
            down: Conv2d::new(8, 16, 1).stride(2).bias(false),
            down_bn: BatchNorm2d::new(16),
            head: Linear::new(16, 5),
        }
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.bn1.forward(&self.conv1.forward(x)?)?.relu()?;
        let x = self.pool.forward(&x)?;
        let y = self.bn2.forward(&self.conv2.forward(&x)?)?.relu()?;
        let y = self.bn3.forward(&self.conv3.forward(&y)?)?;
        let y = y
            .add(self.down_bn.forward(&self.down.forward(&x)?)?)?
            .relu()?;
        self.head
            .forward(&y.adaptive_avg_pool2d([1, 1])?.flatten(1, -1)?)
    }
}

struct Trained {
    losses: Vec<f64>,
    /// Predictions of the trained network in evaluation.
    predicted: Vec<f64>,
    /// How often the last step copied into another layout.
    copies: u64,
}

fn train(device: Device, format: MemoryFormat, low: bool) -> Result<Trained> {
    let net = Residual::new().to((device, format))?;
    let mut optimizer = Sgd::new(net.parameters(), 0.05).momentum(0.9);
    let labels = Tensor::new([3i64, 1, 4, 0])?.to_device(device)?;
    let precision = Autocast::from((device, DType::BF16)).enabled(low);
    let copies = || match device {
        Device::Cpu => Ok(0),
        _ => cuda::layout_copies(0),
    };
    let (mut losses, mut copied) = (Vec::new(), 0);
    for step in 0..3 {
        let x = pattern(&[4, 3, 10, 10], step)?.to((device, format))?;
        let before = copies()?;
        optimizer.zero_grad();
        let loss = autocast(precision, || {
            net.forward(&x)?.cross_entropy(&labels, Default::default())
        })?;
        loss.backward()?;
        optimizer.step()?;
        copied = copies()? - before;
        losses.push(loss.item::<f64>()?);
    }
    for p in net.parameters().iter().filter(|p| p.dim() == 4) {
        let grad = p.grad().expect("every parameter takes part");
        assert!(p.is_contiguous_format(format) && grad.is_contiguous_format(format));
    }
    net.eval();
    let x = pattern(&[4, 3, 10, 10], 9)?.to((device, format))?;
    let before = copies()?;
    let predicted = net.forward(&x)?;
    copied += copies()? - before;
    Ok(Trained {
        losses,
        predicted: values(&predicted),
        copies: copied,
    })
}

#[test]
fn the_format_changes_no_result_on_the_cpu() -> Result<()> {
    let _turn = alone();
    let plain = train(Device::Cpu, MemoryFormat::Contiguous, false)?;
    let last = train(Device::Cpu, MemoryFormat::ChannelsLast, false)?;
    close("losses", &last.losses, &plain.losses, 1e-5);
    close("predictions", &last.predicted, &plain.predicted, 1e-4);
    Ok(())
}

#[test]
fn a_residual_network_trains_on_a_device_without_a_copy_of_a_map() -> Result<()> {
    let Some(device) = device() else {
        return Ok(());
    };
    let _turn = alone();
    let plain = train(Device::Cpu, MemoryFormat::Contiguous, false)?;
    for (low, tolerance) in [(false, 1e-4), (true, 0.05)] {
        let last = train(device, MemoryFormat::ChannelsLast, low)?;
        close("losses", &last.losses, &plain.losses, tolerance);
        assert_eq!(last.copies, 0, "copies in a step, bf16 {low}");
    }
    let last = train(device, MemoryFormat::ChannelsLast, false)?;
    close("predictions", &last.predicted, &plain.predicted, 1e-3);
    Ok(())
}

#[test]
fn a_module_is_brought_to_a_format() -> Result<()> {
    let net = Residual::new();
    let before = net.parameters();
    let net = net.to(MemoryFormat::ChannelsLast)?;
    for (p, old) in net.parameters().iter().zip(&before) {
        assert_eq!(p.detach().to_vec::<f32>()?, old.detach().to_vec::<f32>()?);
        assert_eq!(p.is(old), p.dim() != 4);
    }
    assert_eq!(net.conv2.weight.strides(), [72, 1, 24, 8]);
    // A checkpoint knows no format.
    let other = Residual::new();
    other.load_state_dict(&net.state_dict(), true)?;
    assert!(other.conv2.weight.is_contiguous());
    Ok(())
}
