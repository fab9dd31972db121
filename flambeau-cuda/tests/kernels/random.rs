use crate::support::*;
use flambeau_cuda::Type;
use flambeau_cuda::emulate::Order;
use flambeau_cuda::kernels::{Philox, Random, Threads, dropout};

/// An H100's; small tensors do not come near its limit.
const GPU: Threads = Threads {
    multiprocessors: 132,
    of_each: 2048,
};
/// As if a GPU ran two blocks at a time: threads draw several times.
const SMALL: Threads = Threads {
    multiprocessors: 1,
    of_each: 512,
};

fn seeded(seed: u64) -> Philox {
    Philox {
        seed,
        offset: 0,
        state: 0,
    }
}

fn draw(
    random: Random,
    ty: Type,
    n: usize,
    generator: Philox,
    threads: Threads,
) -> (Vec<f64>, u64) {
    let mut used = 0;
    let [values] = both_orders(|order| {
        let mut out = Buffer::new(ty, n);
        let launch = random.launch(ty, n, generator, threads, out.ptr());
        if launch.is_some() {
            assert!(n > 0);
        }
        run(order, launch.map(|(launch, _)| launch));
        [out]
    });
    let mut out = Buffer::new(ty, n);
    if let Some((_, words)) = random.launch(ty, n, generator, threads, out.ptr()) {
        used = words;
    }
    (values, used)
}

const UNIFORM: Random = Random::Uniform {
    low: 0.0,
    high: 1.0,
};
const NORMAL: Random = Random::Normal {
    mean: 0.0,
    std: 1.0,
};

/// torch.manual_seed(s); torch.rand(8, device="cuda") and torch.randn: the figures that PyTorch's
/// documentation and issues show.
#[test]
fn numbers_are_those_of_pytorch_on_a_gpu() {
    if !ready() {
        return;
    }
    let (uniform, used) = draw(UNIFORM, Type::F32, 8, seeded(0), GPU);
    close(
        "rand",
        &uniform[..4],
        &[0.3990, 0.5167, 0.0249, 0.9401],
        6e-5,
    );
    assert_eq!(used, 4);
    let (normal, _) = draw(NORMAL, Type::F32, 8, seeded(0), GPU);
    close(
        "randn",
        &normal[..4],
        &[-0.9247, -0.4253, -2.6438, 0.1452],
        6e-5,
    );
    let (normal, _) = draw(NORMAL, Type::F32, 8, seeded(42), GPU);
    close(
        "randn",
        &normal[..4],
        &[0.1940, 2.1614, -0.1721, 0.8491],
        6e-5,
    );
}

/// Philox's published test vectors (Random123's kat_vectors) for counter and key 0, by way of
/// integers of all 32 bits.
#[test]
fn words_are_those_of_the_paper() {
    if !ready() {
        return;
    }
    let all = Random::Integers { base: 0, range: 0 };
    // A single thread's first call gives two elements 256 apart; only thread 0 counts here.
    let (wide, _) = draw(
        all,
        Type::I64,
        257,
        seeded(0),
        Threads {
            multiprocessors: 1,
            of_each: 256,
        },
    );
    let word = |high: u64, low: u64| (high << 32 | low) as i64 as f64;
    assert_eq!(wide[0], word(0x6627_e8d5, 0xe169_c58d));
    assert_eq!(wide[256], word(0xbc57_ac4c, 0x9b00_dbd8));
}

#[test]
fn shares_are_right_and_offsets_go_on() {
    if !ready() {
        return;
    }
    let n = 5001;
    for ty in Type::FLOATS {
        let per_call = if ty == Type::F64 { 2 } else { 4 };
        let (x, used) = draw(
            Random::Uniform {
                low: -1.0,
                high: 3.0,
            },
            ty,
            n,
            seeded(7),
            SMALL,
        );
        assert_eq!(used as usize, 4 * n.div_ceil(512 * per_call));
        assert!(x.iter().all(|v| (-1.0..3.0).contains(v)));
        let mean = x.iter().sum::<f64>() / n as f64;
        let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
        // Within four standard errors.
        assert!(
            (mean - 1.0).abs() < 4.0 * (16.0f64 / 12.0 / n as f64).sqrt(),
            "{mean}"
        );
        assert!((var - 16.0 / 12.0).abs() < 0.1, "{var}");
        let (x, _) = draw(
            Random::Normal {
                mean: 2.0,
                std: 0.5,
            },
            ty,
            n,
            seeded(7),
            SMALL,
        );
        let mean = x.iter().sum::<f64>() / n as f64;
        let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
        assert!((mean - 2.0).abs() < 4.0 * 0.5 / (n as f64).sqrt(), "{mean}");
        assert!(
            (var - 0.25).abs() < 4.0 * 0.25 * (2.0 / n as f64).sqrt(),
            "{var}"
        );
    }
    // The next call of the generator goes on where this one ended.
    let (long, _) = draw(UNIFORM, Type::F32, 4096, seeded(3), SMALL);
    let later = Philox {
        offset: 4,
        ..seeded(3)
    };
    let (rest, _) = draw(UNIFORM, Type::F32, 2048, later, SMALL);
    assert_eq!(long[2048..], rest);
    let (bits, _) = draw(
        Random::Bernoulli { p: 0.3 },
        Type::Bool,
        n,
        seeded(1),
        SMALL,
    );
    let share = bits.iter().sum::<f64>() / n as f64;
    assert!(
        (share - 0.3).abs() < 4.0 * (0.21 / n as f64).sqrt(),
        "{share}"
    );
    let dice = Random::Integers { base: -2, range: 6 };
    let (x, _) = draw(dice, Type::I32, n, seeded(1), SMALL);
    for face in -2..4 {
        let share = x.iter().filter(|&&v| v == f64::from(face)).count() as f64 / n as f64;
        assert!((share - 1.0 / 6.0).abs() < 0.022, "{face}: {share}");
    }
    assert!(UNIFORM.launch(Type::F32, 0, seeded(0), GPU, 0).is_none());
}

/// A generator whose state lies on the device, as for launches that are replayed.
#[test]
fn a_state_on_the_device() {
    if !ready() {
        return;
    }
    let mut state = Buffer::of(Type::I64, &[3.0, 4.0]);
    let mut out = Buffer::new(Type::F32, 100);
    let there = Philox {
        seed: 99,
        offset: 4,
        state: state.ptr(),
    };
    let (launch, _) = UNIFORM
        .launch(Type::F32, 100, there, SMALL, out.ptr())
        .unwrap();
    run(Order::Forward, [launch]);
    let here = Philox {
        offset: 8,
        ..seeded(3)
    };
    assert_eq!(out.values(), draw(UNIFORM, Type::F32, 100, here, SMALL).0);
}

#[test]
fn dropout_keeps_a_share_and_scales_it() {
    if !ready() {
        return;
    }
    for ty in Type::FLOATS {
        for n in [4000, 4001] {
            let x: Vec<f64> = numbers(ty, n, 2).iter().map(|v| v + 4.0).collect();
            let [y, mask] = both_orders(|order| {
                let mut xs = Buffer::of(ty, &x);
                let (mut y, mut mask) = (Buffer::new(ty, n), Buffer::new(Type::Bool, n));
                let to = [y.ptr(), mask.ptr()];
                let launch = dropout(ty, n, 0.8, seeded(5), SMALL, xs.ptr(), to);
                run(order, launch.map(|(launch, _)| launch));
                [y, mask]
            });
            let want: Vec<f64> = (0..n).map(|i| x[i] * mask[i] / 0.8).collect();
            close("dropout", &y, &want, epsilon(ty));
            let share = mask.iter().sum::<f64>() / n as f64;
            assert!(
                (share - 0.8).abs() < 4.0 * (0.16 / n as f64).sqrt(),
                "{share}"
            );
        }
    }
    // A thread's four numbers go to neighbours: the mask is that of the uniform numbers, turned.
    let (u, _) = draw(UNIFORM, Type::F32, 2048, seeded(5), SMALL);
    let (mut x, mut y) = (
        Buffer::of(Type::F32, &[1.0; 2048]),
        Buffer::new(Type::F32, 2048),
    );
    let mut mask = Buffer::new(Type::Bool, 2048);
    let to = [y.ptr(), mask.ptr()];
    let launch = dropout(Type::F32, 2048, 0.5, seeded(5), SMALL, x.ptr(), to);
    run(Order::Forward, launch.map(|(launch, _)| launch));
    let want: Vec<f64> = (0..2048)
        .map(|i| f64::from(u8::from(u[i % 4 * 512 + i / 4] < 0.5)))
        .collect();
    assert_eq!(mask.values(), want);
}
