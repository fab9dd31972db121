//! What is not a layer from tensor to tensor; and two hundred steps of training beside PyTorch.

use crate::{alone, close, goldens, numbers, pattern, values};
use flambeau_core::{Result, Tensor, manual_seed};
use flambeau_nn::init::{self, FanMode, Nonlinearity};
use flambeau_nn::optim::{Optimizer, Sgd};
use flambeau_nn::*;

#[test]
fn embeddings() -> Result<()> {
    let _alone = alone();
    let want = &goldens("others")["embedding"];
    manual_seed(42);
    let e = Embedding::new(6, 3).padding_idx(2);
    let next = Tensor::rand([1])?;
    assert_eq!(e.to_string(), want["repr"].as_str().unwrap());
    close("table", &values(&e.weight), &numbers(&want["init"]), 1e-6);
    close(
        "next",
        &values(&next),
        &[want["next"].as_f64().unwrap()],
        1e-8,
    );
    let y = e.forward(&Tensor::new([[0i64, 2, 5], [5, 1, 2]])?)?;
    close("output", &values(&y), &numbers(&want["output"]), 1e-6);
    y.mul(&pattern(y.shape(), 2)?)?.sum()?.backward()?;
    close(
        "gradient",
        &values(&e.weight.grad().unwrap()),
        &numbers(&want["grad"]),
        1e-6,
    );

    let error = e.forward(&Tensor::new([6i64])?).unwrap_err().to_string();
    assert!(error.contains('6'), "{error}");
    let frozen = Embedding::from_pretrained(&Tensor::ones([4, 2])?, true)?;
    assert!(!frozen.forward(&Tensor::new([1i64])?)?.requires_grad());
    assert!(Embedding::from_pretrained(&Tensor::ones([4])?, true).is_err());
    Ok(())
}

#[test]
fn bilinear() -> Result<()> {
    let _alone = alone();
    let want = &goldens("others")["bilinear"];
    manual_seed(42);
    let m = Bilinear::new(2, 3, 4);
    assert_eq!(m.to_string(), want["repr"].as_str().unwrap());
    close(
        "weight",
        &values(&m.weight),
        &numbers(&want["init"]["weight"]),
        1e-8,
    );
    close(
        "bias",
        &values(m.bias.as_ref().unwrap()),
        &numbers(&want["init"]["bias"]),
        1e-8,
    );
    let y = m.forward(&pattern(&[5, 2], 1)?, &pattern(&[5, 3], 2)?)?;
    close("output", &values(&y), &numbers(&want["output"]), 1e-6);
    assert!(
        m.forward(&pattern(&[5, 3], 1)?, &pattern(&[5, 3], 2)?)
            .is_err()
    );
    Ok(())
}

#[test]
fn initial_values() -> Result<()> {
    let _alone = alone();
    let want = &goldens("others")["init"];
    let check = |name: &str, f: &dyn Fn(&Tensor) -> Result<Tensor>, tolerance: f64| -> Result<()> {
        manual_seed(1);
        close(
            name,
            &values(&f(&Tensor::empty([6, 5])?)?),
            &numbers(&want[name]),
            tolerance,
        );
        Ok(())
    };
    check("uniform", &|w| init::uniform_(w, -1.0, 2.0), 1e-8)?;
    check("normal", &|w| init::normal_(w, 0.5, 2.0), 1e-6)?;
    check("xavier_uniform", &|w| init::xavier_uniform_(w, 1.5), 1e-8)?;
    check("xavier_normal", &|w| init::xavier_normal_(w, 1.0), 1e-6)?;
    check(
        "kaiming_uniform",
        &|w| init::kaiming_uniform_(w, FanMode::FanIn, Nonlinearity::ReLU),
        1e-8,
    )?;
    check(
        "kaiming_normal",
        &|w| init::kaiming_normal_(w, FanMode::FanOut, Nonlinearity::LeakyReLU(0.1)),
        1e-6,
    )?;
    check("eye", &init::eye_, 0.0)?;
    let vector = Tensor::empty([3])?;
    let error = init::kaiming_uniform_(&vector, FanMode::FanIn, Nonlinearity::ReLU).unwrap_err();
    assert!(error.to_string().contains("two dimensions"), "{error}");
    // A parameter is changed although it requires a gradient.
    let p = Parameter::new(Tensor::ones([2, 2])?)?;
    init::zeros_(&p)?;
    assert_eq!(p.to_vec::<f32>()?, [0.0; 4]);
    Ok(())
}

#[derive(Module)]
struct LeNet {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl LeNet {
    fn new() -> LeNet {
        LeNet {
            conv1: Conv2d::new(3, 6, 5),
            conv2: Conv2d::new(6, 16, 5),
            fc1: Linear::new(16 * 5 * 5, 120),
            fc2: Linear::new(120, 84),
            fc3: Linear::new(84, 10),
        }
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.conv1.forward(x)?.relu()?.max_pool2d(2)?;
        let x = self.conv2.forward(&x)?.relu()?.max_pool2d(2)?;
        let x = x.view([-1, 16 * 5 * 5])?;
        let x = self.fc1.forward(&x)?.relu()?;
        let x = self.fc2.forward(&x)?.relu()?;
        self.fc3.forward(&x)
    }
}

#[test]
fn two_hundred_steps_beside_pytorch() -> Result<()> {
    let _alone = alone();
    let goldens = goldens("others");
    manual_seed(0);
    let net = LeNet::new();
    assert_eq!(net.to_string(), goldens["lenet_repr"].as_str().unwrap());
    let criterion = CrossEntropyLoss::new();
    let mut optimizer = Sgd::new(net.parameters(), 0.001).momentum(0.9);
    for (step, want) in numbers(&goldens["lenet_losses"]).into_iter().enumerate() {
        let x = Tensor::rand([4, 3, 32, 32])?.mul(2.0)?.sub(1.0)?;
        let labels = Tensor::randint(0, 10, [4])?;
        optimizer.zero_grad();
        let loss = criterion.forward(&net.forward(&x)?, &labels)?;
        loss.backward()?;
        optimizer.step()?;
        let got = loss.item::<f64>()?;
        // A step of f32 at 2.3 is 2.4e-7. Rounding that lets another element of a pooling window win
        // moves the losses after it by up to 1e-4.
        assert!(
            (got - want).abs() < 1e-6,
            "step {step}: {got}, PyTorch has {want}"
        );
    }
    Ok(())
}
