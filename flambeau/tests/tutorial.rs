//! The tutorial's training, step by step beside PyTorch's.
#![allow(missing_docs)]

use flambeau::prelude::*;

/// `goldens/make_tutorial.py` made the losses.
#[test]
fn the_losses_of_the_first_200_steps_are_pytorchs() -> Result<()> {
    let expected: Vec<f32> = include_str!("goldens/tutorial_losses.txt")
        .lines()
        .map(|line| line.parse().expect("a number a line"))
        .collect();
    assert_eq!(expected.len(), 200);
    manual_seed(0);
    let net = LeNet::new(3, 10);
    let mut optimizer = Sgd::new(net.parameters(), 0.001).momentum(0.9);
    let transform = Compose::new()
        .then(ToTensor)
        .then(Normalize::new([0.5; 3], [0.5; 3]));
    let pictures = FashionSample::train()
        .expect("the sample is in the program")
        .transform(transform);
    let loader = DataLoader::new(pictures)
        .batch_size(4)
        .shuffle(true)
        .num_workers(2);
    let criterion = CrossEntropyLoss::new();
    for (step, (batch, expected)) in loader.iter().zip(expected).enumerate() {
        let (inputs, labels) = batch?;
        optimizer.zero_grad();
        let loss = criterion.forward(&net.forward(&inputs)?, &labels)?;
        loss.backward()?;
        optimizer.step()?;
        let loss = loss.item::<f32>()?;
        assert!(
            (loss - expected).abs() < 1e-4,
            "step {step}: {loss}, PyTorch has {expected}"
        );
    }
    Ok(())
}
