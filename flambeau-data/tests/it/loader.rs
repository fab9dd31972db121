//! The loader: workers, errors, ends.

use crate::order::TURN;
use flambeau_core::{Error, Result, Tensor, manual_seed};
use flambeau_data::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn digits(n: i64) -> ListDataset<i64> {
    (0..n).collect()
}

fn ints(batch: Result<Tensor>) -> Vec<i64> {
    batch.unwrap().to_vec().unwrap()
}

#[test]
fn order_and_augmentation_do_not_depend_on_the_workers() -> Result<()> {
    let _turn = TURN.lock();
    let run = |workers: usize, factor: Option<usize>| {
        manual_seed(11);
        let noisy = digits(103).map(|x, rng| {
            // Unequal times, so that workers finish out of order.
            sleep(Duration::from_micros((x as u64 * 37) % 200));
            Ok((x, rng.uniform(), rng.range(0..1000)))
        });
        let mut loader = DataLoader::new(noisy)
            .batch_size(4)
            .shuffle(true)
            .num_workers(workers);
        if let Some(factor) = factor {
            loader = loader.prefetch_factor(factor);
        }
        let epoch = || -> Vec<(Vec<i64>, Vec<f64>, Vec<i64>)> {
            let batches = loader.iter().map(|b| {
                let (x, u, i) = b.unwrap();
                (
                    x.to_vec().unwrap(),
                    u.to_vec().unwrap(),
                    i.to_vec().unwrap(),
                )
            });
            batches.collect()
        };
        (epoch(), epoch())
    };
    let expected = run(0, None);
    assert_eq!(expected.0.len(), 26);
    assert_ne!(expected.0, expected.1);
    for (workers, factor) in [(1, None), (2, None), (2, Some(1)), (7, Some(3))] {
        assert_eq!(run(workers, factor), expected, "{workers} workers");
    }
    Ok(())
}

#[test]
fn an_index_drawn_twice_is_augmented_twice() -> Result<()> {
    let noisy = digits(1).map(|_, rng| Ok(rng.uniform()));
    let loader = DataLoader::new(noisy)
        .batch_size(2)
        .sampler(vec![0, 0])
        .generator(1);
    let drawn = loader.iter().next().unwrap()?.to_vec::<f64>()?;
    assert_ne!(drawn[0], drawn[1]);
    Ok(())
}

#[test]
fn lengths_and_last_batches() {
    for workers in [0, 2] {
        let new = || {
            DataLoader::new(digits(10))
                .batch_size(4)
                .num_workers(workers)
        };
        assert_eq!((new().len(), new().dataset_len()), (3, 10));
        assert_eq!(
            new().iter().map(|b| ints(b).len()).collect::<Vec<_>>(),
            [4, 4, 2]
        );
        let dropped = new().drop_last(true);
        assert_eq!((dropped.len(), dropped.iter().count()), (2, 2));
        let large = new().batch_size(100);
        assert_eq!((large.len(), large.iter().count()), (1, 1));
        let one = DataLoader::new(digits(3)).num_workers(workers);
        assert_eq!(one.iter().map(ints).collect::<Vec<_>>(), [[0], [1], [2]]);
        // Over is over.
        let mut iter = one.iter();
        assert_eq!(iter.by_ref().count(), 3);
        assert!(iter.next().is_none());
    }
}

#[test]
fn an_empty_dataset_has_no_batches_but_cannot_be_shuffled() {
    for workers in [0, 2] {
        let empty = || DataLoader::new(digits(0)).num_workers(workers);
        assert!(empty().is_empty());
        assert!(empty().iter().next().is_none());
        let mut shuffled = empty().shuffle(true).iter();
        let error = shuffled.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("the dataset is empty"), "{error}");
        assert!(shuffled.next().is_none());
    }
}

#[test]
fn options_that_cannot_be_are_the_first_batchs_error() {
    let new = || DataLoader::new(digits(5));
    let list = || BatchSampler::new(SequentialSampler::new(5), 2).unwrap();
    let cases = [
        (new().batch_size(0), "batch_size is 0"),
        (new().shuffle(true).sampler(vec![1]), "exclude each other"),
        (
            new().batch_sampler(list()).batch_size(2),
            "leave out batch_size",
        ),
        (
            new().batch_sampler(list()).shuffle(true),
            "leave out batch_size",
        ),
        (new().prefetch_factor(2), "need num_workers"),
        (new().timeout(Duration::from_secs(1)), "need num_workers"),
        (
            new().num_workers(1).prefetch_factor(0),
            "prefetch_factor is 0",
        ),
        (new().num_workers(usize::MAX), "more than 1024 threads"),
        (
            new().num_workers(2).prefetch_factor(usize::MAX),
            "65536 are the most",
        ),
    ];
    for (loader, text) in cases {
        assert_eq!(loader.len(), 0);
        assert!(
            loader.check().unwrap_err().to_string().contains(text),
            "{text}"
        );
        let mut iter = loader.iter();
        let error = iter.next().unwrap().unwrap_err().to_string();
        assert!(
            error.contains(text) && error.contains("loader.rs"),
            "{error}"
        );
        assert!(iter.next().is_none());
    }
    assert!(new().timeout(Duration::ZERO).check().is_ok());
}

/// What would not fit into memory, or not come back.
#[test]
fn samplers_without_measure_are_the_first_batchs_error() {
    let _turn = TURN.lock();
    const MAX: usize = usize::MAX;
    let new = || DataLoader::new(digits(5));
    let weighted = WeightedRandomSampler::new([1.0, 2.0], MAX).unwrap();
    let cases = [
        (
            new().sampler(RandomSampler::new(MAX)),
            "the order of 18446744073709551615 samples does not fit into memory",
        ),
        (new().sampler(weighted), "do not fit into memory"),
        (
            new().batch_size(MAX).sampler(SequentialSampler::new(MAX)),
            "268435456 are the most",
        ),
    ];
    for (loader, text) in cases {
        let error = loader.iter().next().unwrap().unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(text), "{cause}");
    }
    // Drawn one by one, with replacement: as many as anybody takes.
    let endless = RandomSampler::new(5).replacement(true).num_samples(MAX);
    assert_eq!(new().sampler(endless).iter().take(7).count(), 7);
    let list = ListDataset::from(vec![1i64; 3]);
    assert!(random_split(list, [MAX, MAX], None).is_err());
}

#[test]
fn a_patience_beyond_any_clock_is_endless() {
    let loader = DataLoader::new(digits(6))
        .num_workers(1)
        .timeout(Duration::MAX);
    assert!(loader.iter().flat_map(ints).eq(0..6));
}

struct Moody;

impl Dataset for Moody {
    type Item = i64;
    fn len(&self) -> usize {
        20
    }
    fn get(&self, index: usize, _: &mut SampleRng) -> Result<i64> {
        match index {
            5 => Err(Error::new("read", "the file 5.png is damaged")),
            11 => panic!("no sample {index}, ever"),
            _ => Ok(index as i64),
        }
    }
}

#[test]
fn errors_and_panics_name_the_sample_and_the_loop_goes_on() {
    for workers in [0, 1, 3] {
        let loader = DataLoader::new(Moody).batch_size(4).num_workers(workers);
        for _epoch in 0..2 {
            let batches: Vec<Result<Vec<i64>, String>> = loader
                .iter()
                .map(|b| b.map(|b| b.to_vec().unwrap()).map_err(|e| e.to_string()))
                .collect();
            assert_eq!(batches.len(), 5);
            assert_eq!(batches[0], Ok(vec![0, 1, 2, 3]));
            let error = batches[1].as_ref().unwrap_err();
            let expected = "DataLoader: sample 5 of Moody: read: the file 5.png is damaged";
            assert!(error.starts_with(expected), "{error}");
            let error = batches[2].as_ref().unwrap_err();
            let expected = "DataLoader: sample 11 of Moody: panicked: no sample 11, ever";
            assert!(error.starts_with(expected), "{error}");
            assert_eq!(batches[4], Ok(vec![16, 17, 18, 19]));
        }
    }
}

#[test]
fn errors_of_samplers_and_collate_functions_arrive() {
    for workers in [0, 2] {
        let loader = DataLoader::new(digits(3)).num_workers(workers);
        let loader = loader.batch_sampler(vec![vec![0, 9], vec![2]]);
        let mut iter = loader.iter();
        let error = iter.next().unwrap().unwrap_err().to_string();
        assert!(
            error.contains("gave index 9, but ListDataset has 3 samples"),
            "{error}"
        );
        assert_eq!(ints(iter.next().unwrap()), [2]);

        let strict = DataLoader::with_collate(digits(4), |samples| {
            assert!(samples[0] < 2, "too large");
            Tensor::new(samples)
        });
        let strict = strict.batch_size(2).num_workers(workers);
        let mut iter = strict.iter();
        assert_eq!(ints(iter.next().unwrap()), [0, 1]);
        let error = iter.next().unwrap().unwrap_err().to_string();
        assert!(
            error.contains("a batch of samples [2, 3] of ListDataset: panicked: too large"),
            "{error}"
        );
    }
}

/// Counts calls and takes its time.
struct Slow {
    calls: AtomicUsize,
    time: Duration,
}

struct Shared(Arc<Slow>);

impl Dataset for Shared {
    type Item = i64;
    fn len(&self) -> usize {
        1000
    }
    fn get(&self, index: usize, _: &mut SampleRng) -> Result<i64> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        sleep(self.0.time);
        Ok(index as i64)
    }
}

fn slow(time: Duration) -> (Arc<Slow>, Shared) {
    let slow = Arc::new(Slow {
        calls: AtomicUsize::new(0),
        time,
    });
    (slow.clone(), Shared(slow))
}

#[test]
fn leaving_the_loop_stops_the_workers_and_leaks_nothing() {
    let (slow, dataset) = slow(Duration::from_millis(8));
    let loader = DataLoader::new(dataset).batch_size(50).num_workers(3);
    let mut iter = loader.iter();
    assert_eq!(ints(iter.next().unwrap()).len(), 50);
    let start = Instant::now();
    drop(iter);
    // Each worker ends with its sample, not with its batch of 400 ms.
    assert!(
        start.elapsed() < Duration::from_millis(250),
        "{:?}",
        start.elapsed()
    );
    let calls = slow.calls.load(Ordering::Relaxed);
    sleep(Duration::from_millis(10));
    assert_eq!(slow.calls.load(Ordering::Relaxed), calls);
    drop(loader);
    assert_eq!(
        Arc::strong_count(&slow),
        1,
        "a worker still holds the dataset"
    );
}

#[test]
fn workers_load_ahead_within_the_bound() {
    let (slow, dataset) = slow(Duration::from_micros(100));
    let loader = DataLoader::new(dataset)
        .batch_size(10)
        .num_workers(2)
        .prefetch_factor(3);
    let mut iter = loader.iter();
    for taken in 1..=5 {
        iter.next().unwrap().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        // At least half of the bound of 2 * 3 batches is loaded without being asked for.
        while slow.calls.load(Ordering::Relaxed) < 10 * (taken + 2) && Instant::now() < deadline {
            sleep(Duration::from_millis(1));
        }
        let calls = slow.calls.load(Ordering::Relaxed);
        assert!(
            (10 * (taken + 2)..=10 * (taken + 5)).contains(&calls),
            "{taken}: {calls}"
        );
    }
}

#[test]
fn a_loop_out_of_patience_gets_an_error_and_may_wait_on() {
    let (_, dataset) = slow(Duration::from_millis(60));
    let loader = DataLoader::new(dataset)
        .num_workers(1)
        .timeout(Duration::from_millis(20));
    let mut iter = loader.iter();
    let error = iter.next().unwrap().unwrap_err().to_string();
    assert!(
        error.contains("begins with sample 0") && error.contains("20ms"),
        "{error}"
    );
    let next = std::iter::from_fn(|| iter.next())
        .find_map(Result::ok)
        .unwrap();
    assert_eq!(next.to_vec::<i64>().unwrap(), [0]);
}

#[test]
fn an_epoch_can_be_taken_up_in_the_middle() -> Result<()> {
    let _turn = TURN.lock();
    for workers in [0, 2] {
        let noisy = digits(30).map(|x, rng| Ok((x, rng.uniform())));
        let loader = DataLoader::new(noisy)
            .batch_size(4)
            .shuffle(true)
            .num_workers(workers);
        let show = |iter: Iter<(Tensor, Tensor)>| -> Vec<(Vec<i64>, Vec<f64>)> {
            let batches = iter.map(|b| b.unwrap());
            batches
                .map(|(x, u)| (x.to_vec().unwrap(), u.to_vec().unwrap()))
                .collect()
        };
        manual_seed(3);
        let state = flambeau_core::random::get_rng_state();
        let whole = show(loader.iter());
        flambeau_core::random::set_rng_state(&state)?;
        assert_eq!(show(loader.iter_from(5)), whole[5..]);
        assert!(loader.iter_from(100).next().is_none());
    }
    Ok(())
}

#[test]
fn threads_may_share_a_loader() {
    let loader = DataLoader::new(digits(100)).batch_size(3).num_workers(2);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                assert_eq!(
                    loader.iter().flat_map(ints).collect::<Vec<_>>(),
                    (0..100).collect::<Vec<_>>()
                )
            });
        }
    });
}
