//! Random tensors against PyTorch's (2.15) numbers.

use flambeau_core::{Result, Tensor, manual_seed, random};
use std::sync::Mutex;

/// The default generator is one for the process; these tests take turns.
pub(crate) static TURN: Mutex<()> = Mutex::new(());

#[test]
fn a_sequence_of_draws_equals_pytorchs() -> Result<()> {
    let _turn = TURN.lock();
    // torch.manual_seed(42); rand(3); randn(5); randn(20)[-3:]; randint(0, 10, (6,)); randperm(8);
    // F.dropout(ones(8), 0.5)
    manual_seed(42);
    assert_eq!(
        Tensor::rand([3])?.to_vec::<f32>()?,
        [0.882_269_26, 0.915_003_96, 0.382_863_76]
    );
    let small = Tensor::randn([5])?.to_vec::<f32>()?;
    let expected = [
        -0.829_319_2,
        -1.613_706_9,
        -0.214_704_53,
        0.298_935_5,
        -0.010_696_418,
    ];
    assert!(
        small
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-6),
        "{small:?}"
    );
    let large = Tensor::randn([20])?.to_vec::<f32>()?;
    let expected = [-1.418_059_9, 0.896_268_3, 0.049_905_386];
    assert!(
        large[17..]
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-6),
        "{large:?}"
    );
    assert_eq!(
        Tensor::randint(0, 10, [6])?.to_vec::<i64>()?,
        [9, 0, 9, 6, 9, 5]
    );
    assert_eq!(
        Tensor::randperm(8)?.to_vec::<i64>()?,
        [0, 4, 2, 1, 6, 7, 3, 5]
    );
    let dropped = Tensor::ones([8])?.dropout(0.5, true)?;
    assert_eq!(
        dropped.to_vec::<f32>()?,
        [2.0, 2.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0]
    );
    // torch.manual_seed(1); empty(4).uniform_(-0.25, 0.25); multinomial([.1, .2, .7], 5, True);
    // empty(3).exponential_(2)
    manual_seed(1);
    let uniform = Tensor::empty([4])?.uniform_(-0.25, 0.25)?;
    assert_eq!(
        uniform.to_vec::<f32>()?,
        [0.128_815_8, -0.110_344_56, -0.048_465_37, 0.117_342_234]
    );
    let drawn = Tensor::new([0.1f32, 0.2, 0.7])?.multinomial(5, true)?;
    assert_eq!(drawn.to_vec::<i64>()?, [1, 1, 2, 1, 2]);
    let waits = Tensor::empty([3])?.exponential_(2.0)?.to_vec::<f32>()?;
    let expected = [0.616_126_6, 0.433_484, 0.343_251_97];
    assert!(
        waits
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-6),
        "{waits:?}"
    );
    Ok(())
}

#[test]
fn the_state_comes_back() -> Result<()> {
    let _turn = TURN.lock();
    let state = random::get_rng_state();
    let first = Tensor::randn([7])?.to_vec::<f32>()?;
    random::set_rng_state(&state)?;
    assert_eq!(Tensor::randn([7])?.to_vec::<f32>()?, first);
    assert!(random::set_rng_state(b"nonsense").is_err());
    Ok(())
}

#[test]
fn bad_arguments_are_errors() {
    let _turn = TURN.lock();
    assert!(Tensor::randint(3, 3, [2]).is_err());
    assert!(Tensor::ones([2]).unwrap().dropout(1.5, true).is_err());
    assert!(Tensor::ones([2]).unwrap().normal_(0.0, -1.0).is_err());
    assert!(
        Tensor::new([-1.0f32, 2.0])
            .unwrap()
            .multinomial(1, true)
            .is_err()
    );
    assert!(
        Tensor::new([-1.0f32, 2.0])
            .unwrap()
            .multinomial(1, true)
            .is_err()
    );
    assert!(
        Tensor::new([1.0f32, 2.0])
            .unwrap()
            .multinomial(3, false)
            .is_err()
    );
}
