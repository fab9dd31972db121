//! The order of samples against PyTorch's (goldens/make_order.py).

use flambeau_core::{Result, Tensor, manual_seed};
use flambeau_data::*;
use std::collections::HashMap;
use std::sync::Mutex;

/// The default generator is one for the process; tests that draw from it take turns.
pub static TURN: Mutex<()> = Mutex::new(());

fn goldens() -> HashMap<&'static str, &'static str> {
    let lines = include_str!("../goldens/order.txt").lines();
    lines.map(|l| l.split_once(": ").unwrap()).collect()
}

fn show(batches: impl Iterator<Item = Vec<i64>>) -> String {
    let batches: Vec<String> = batches
        .map(|b| b.iter().map(i64::to_string).collect::<Vec<_>>().join(" "))
        .collect();
    batches.join(" | ")
}

fn values(loader: &DataLoader<Tensor>) -> String {
    show(loader.iter().map(|b| b.unwrap().to_vec().unwrap()))
}

/// Two epochs and the default generator's next number.
fn check(name: &str, epoch: impl Fn() -> String) {
    let goldens = goldens();
    for (number, after) in [("1", false), ("2", false), ("after", true)] {
        let found = if after {
            Tensor::randint(0, 1000, ())
                .unwrap()
                .item::<i64>()
                .unwrap()
                .to_string()
        } else {
            epoch()
        };
        assert_eq!(
            found,
            goldens[&*format!("{name} {number}")],
            "{name} {number}"
        );
    }
}

fn digits() -> ListDataset<i64> {
    (0..10).collect()
}

#[test]
fn loaders_draw_as_pytorchs() -> Result<()> {
    let _turn = TURN.lock();
    // PyTorch's workers change nothing in the order; ours must not either, however many.
    for (workers, golden) in [(0, 0), (1, 2), (2, 2), (5, 2)] {
        let new = || DataLoader::new(digits()).num_workers(workers);
        let cases: [(&str, &dyn Fn() -> DataLoader<Tensor>); 7] = [
            ("plain", &|| new().batch_size(3)),
            ("shuffle", &|| new().batch_size(3).shuffle(true)),
            ("whole", &|| new().batch_size(5).shuffle(true)),
            ("drop", &|| {
                new().batch_size(3).shuffle(true).drop_last(true)
            }),
            ("generator", &|| {
                new().batch_size(3).shuffle(true).generator(5)
            }),
            ("generator-whole", &|| {
                new().batch_size(5).shuffle(true).generator(5)
            }),
            ("generator-drop", &|| {
                new()
                    .batch_size(3)
                    .shuffle(true)
                    .drop_last(true)
                    .generator(5)
            }),
        ];
        for (name, make) in cases {
            manual_seed(7);
            let loader = make();
            check(&format!("{name} w{golden}"), || values(&loader));
        }
    }
    Ok(())
}

#[test]
fn samplers_draw_as_pytorchs() -> Result<()> {
    let _turn = TURN.lock();
    let weights = [0.1, 0.9, 0.4, 0.7, 3.0, 0.6, 0.0, 0.2, 0.5, 1.5];
    let once = WeightedRandomSampler::new(weights, 6)?.replacement(false);
    let subset = SubsetRandomSampler::new([1, 4, 7, 8, 9]);
    let random = || RandomSampler::new(10);
    let new = |size| DataLoader::new(digits()).batch_size(size);
    let batches = BatchSampler::new(random().generator(4), 4)?;
    let cases = [
        (
            "replacement",
            new(16).sampler(random().replacement(true).num_samples(40)),
        ),
        (
            "replacement-generator",
            new(16).sampler(random().replacement(true).num_samples(40).generator(3)),
        ),
        (
            "many",
            new(8).sampler(random().num_samples(24).generator(3)),
        ),
        ("few", new(3).sampler(random().num_samples(3).generator(3))),
        ("subset", new(2).sampler(subset.clone())),
        ("subset-generator", new(2).sampler(subset.generator(3))),
        (
            "weighted",
            new(4).sampler(WeightedRandomSampler::new(weights, 12)?),
        ),
        ("weighted-once", new(4).sampler(once)),
        ("batches", DataLoader::new(digits()).batch_sampler(batches)),
    ];
    for (name, loader) in cases {
        manual_seed(7);
        check(name, || values(&loader));
    }
    Ok(())
}

#[test]
fn random_split_cuts_as_pytorchs() -> Result<()> {
    let _turn = TURN.lock();
    let show_parts = |parts: Vec<Subset<_>>| {
        show(
            parts
                .iter()
                .map(|p| p.indices().iter().map(|&i| i as i64).collect()),
        )
    };
    // The split is drawn once and shown twice.
    manual_seed(7);
    let parts = show_parts(random_split(digits(), [0.35, 0.35, 0.3], None)?);
    check("split", || parts.clone());
    manual_seed(7);
    let parts = show_parts(random_split(digits(), [3, 7], Some(42.into()))?);
    check("split-generator", || parts.clone());

    let wrong = |lengths: Lengths| {
        random_split(digits(), lengths, None)
            .unwrap_err()
            .to_string()
    };
    assert!(wrong([4, 5].into()).contains("sum to 9, but ListDataset has 10 samples"));
    assert!(wrong([0.5, 0.6].into()).contains("sum to 1.1"));
    assert!(wrong([1.5, -0.5].into()).contains("between 0 and 1"));
    assert!(wrong([usize::MAX, 11].into()).contains("has 10 samples"));
    Ok(())
}

#[test]
fn leaving_early_draws_no_last_permutation() -> Result<()> {
    // g = torch.Generator().manual_seed(5); loader = DataLoader(range(10), 3, shuffle=True,
    // generator=g); next(iter(loader)); the state is that after one seed and one permutation.
    for workers in [0, 2] {
        let generator = SharedGenerator::from(5);
        let loader = DataLoader::new(digits())
            .batch_size(3)
            .shuffle(true)
            .num_workers(workers);
        let loader = if workers > 0 {
            loader.prefetch_factor(1)
        } else {
            loader
        };
        let first = loader.generator(generator.clone()).iter().next().unwrap()?;
        assert_eq!(first.to_vec::<i64>()?, [7, 4, 8]);
        let mut expected = flambeau_cpu::random::Generator::from_seed(5);
        expected.random64();
        expected.randperm(10).expect("ten numbers");
        assert_eq!(generator.with(|g| g.random64()), expected.random64());
    }
    Ok(())
}

#[test]
fn bad_options_of_samplers_are_errors() -> Result<()> {
    let weighted = |w: &[f64], n| WeightedRandomSampler::new(w, n).unwrap_err().to_string();
    assert!(weighted(&[1.0, -2.0], 1).contains("weight 1 is -2"));
    assert!(weighted(&[f64::NAN], 1).contains("weight 0 is NaN"));
    assert!(weighted(&[f64::INFINITY], 1).contains("inf"));
    assert!(weighted(&[0.0, 0.0], 1).contains("above 0"));
    assert!(weighted(&[], 1).contains("there are 0"));
    assert!(weighted(&[1.0], 0).contains("num_samples is 0"));
    let too_many = WeightedRandomSampler::new([1.0, 1.0], 3)?.replacement(false);
    let error = too_many.epoch().err().unwrap().to_string();
    assert!(error.contains("cannot draw 3 of 2"), "{error}");
    let error = RandomSampler::new(0).epoch().err().unwrap().to_string();
    assert!(error.contains("dataset is empty"), "{error}");
    assert!(RandomSampler::new(0).num_samples(3).epoch().is_err());
    assert!(RandomSampler::new(3).num_samples(0).epoch().is_err());
    assert!(BatchSampler::new(SequentialSampler::new(3), 0).is_err());
    // A batch far larger than memory is only the whole epoch.
    let all = BatchSampler::new(SequentialSampler::new(3), usize::MAX)?;
    assert_eq!(all.epoch()?.collect::<Vec<_>>(), [[0, 1, 2]]);
    Ok(())
}
