//! Options at the ends of what a number can say: an error or a result, no panic and no building for
//! ever (tests check arithmetic for overflow).

use crate::alone;
use flambeau_core::{Result, Tensor};
use flambeau_nn::lr_scheduler::{
    CosineAnnealingLR, CosineAnnealingWarmRestarts, LrScheduler, ReduceLROnPlateau, StepLR,
};
use flambeau_nn::optim::{Optimizer, Sgd};
use flambeau_nn::{functional as f, *};

const MAX: usize = usize::MAX;

#[track_caller]
fn refuses<T>(result: Result<T>, part: &str) {
    let error = result.err().expect("an error").to_string();
    assert!(error.contains(part), "no {part:?} in {error}");
}

#[test]
fn layers_that_cannot_be_built() -> Result<()> {
    let _alone = alone();
    let x = Tensor::ones([2, 2, 4])?;
    for size in [MAX, MAX / 3, 1 << 62] {
        refuses(LSTM::new(4, size).forward(&x, None), "memory");
        refuses(
            LSTM::new(4, size)
                .bidirectional(true)
                .num_layers(2)
                .forward(&x, None),
            "memory",
        );
        let attention = MultiheadAttention::new(size, 1);
        refuses(attention.forward(&x, &x, &x, Default::default()), "memory");
        refuses(
            Embedding::new(size, size).padding_idx(1).forward(&x),
            "memory",
        );
        refuses(LayerNorm::new(size).forward(&x), "memory");
        refuses(Linear::new(size, 4).forward(&x), "memory");
    }
    refuses(GRU::new(4, 4).num_layers(MAX).forward(&x, None), "65536");
    let layer = TransformerEncoderLayer::new(4, 2).dim_feedforward(4);
    refuses(TransformerEncoder::new(&layer, MAX), "65536");
    Ok(())
}

#[test]
fn padding_beyond_i64_is_not_negative() -> Result<()> {
    let _alone = alone();
    let x = Tensor::ones([1, 2, 5, 5])?;
    let conv = || Conv2d::new(2, 3, 3).padding_mode(PaddingMode::Replicate);
    refuses(conv().padding(MAX).forward(&x), "memory");
    refuses(
        conv().padding(Padding::Same).dilation(MAX).forward(&x),
        "memory",
    );
    Ok(())
}

#[test]
fn tensors_that_only_a_zero_keeps_small() -> Result<()> {
    let big = 1usize << 40;
    let x = Tensor::zeros([2, big, big, 0])?;
    refuses(init::xavier_uniform_(&x, 1.0), "out of bounds");
    assert!(init::kaiming_normal_(&x, init::FanMode::FanOut, init::Nonlinearity::ReLU)?.is_empty());
    let x = Tensor::zeros([big, big, 0])?;
    let weight = Tensor::zeros([big, 0, big])?;
    refuses(f::bilinear(&x, &x, &weight, None), "do not fit");
    let weight = Tensor::zeros([big, 0, 0])?;
    refuses(f::bilinear(&x, &x, &weight, None), "memory");
    let _ = f::instance_norm(&x, None, None, None, None, true, 0.1, 1e-5);
    Ok(())
}

#[test]
fn a_dimension_to_be_found_is_printed_as_it_was_written() {
    let printed = Unflatten::new(1, [2i64, -1]).to_string();
    assert_eq!(printed, "Unflatten(dim=1, unflattened_size=(2, -1))");
}

#[test]
fn schedules_over_spans_that_nobody_lives_to_see() -> Result<()> {
    let optimizer = Sgd::new([Tensor::zeros([1])?], 0.5);
    let run = |mut s: Box<dyn LrScheduler>| -> Result<f64> {
        for _ in 0..3 {
            s.step();
        }
        let mut saved = s.state_dict();
        saved["last_epoch"] = (i64::MAX - 1).into();
        s.load_state_dict(&saved)?;
        for _ in 0..3 {
            s.step();
        }
        assert_eq!(s.last_epoch(), i64::MAX);
        saved["last_epoch"] = (-1).into();
        refuses(s.load_state_dict(&saved), "does not fit");
        Ok(optimizer.lr())
    };
    for span in [0, 1, 3, 1 << 62, 1 << 63, u64::MAX] {
        run(Box::new(StepLR::new(&optimizer, span).gamma(1.0)))?;
        run(Box::new(CosineAnnealingLR::new(&optimizer, span)))?;
        for factor in [0, 1, 2, 1 << 63, u64::MAX] {
            let restarts = CosineAnnealingWarmRestarts::new(&optimizer, span).t_mult(factor);
            assert!((0.0..=0.5).contains(&run(Box::new(restarts))?));
        }
        let mut plateau = ReduceLROnPlateau::new(&optimizer)
            .patience(span)
            .cooldown(span);
        let mut saved = plateau.state_dict();
        saved["last_epoch"] = i64::MAX.into();
        saved["bad_epochs"] = u64::MAX.into();
        plateau.load_state_dict(&saved)?;
        plateau.step(1.0);
        plateau.step(1.0);
    }
    // A span that does not fit into an `i64` is long, not one that ends at once.
    optimizer.rates()[0].set_lr(0.5);
    let mut steps = StepLR::new(&optimizer, u64::MAX);
    steps.step();
    assert_eq!(optimizer.lr(), 0.5);
    Ok(())
}
