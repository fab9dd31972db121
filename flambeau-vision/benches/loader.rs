//! What the loader costs a training loop: microseconds a batch of 4 pictures of 3 x 32 x 32, with
//! nothing else to do, and beside a step that keeps this thread busy for 200 microseconds.
//! `cargo bench -p flambeau-vision --bench loader`

use flambeau_data::DataLoader;
use flambeau_vision::datasets::FashionSample;
use flambeau_vision::transforms::*;
use std::hint::spin_loop;
use std::time::{Duration, Instant};

fn main() -> flambeau_core::Result<()> {
    let plain = || {
        Compose::new()
            .then(ToTensor)
            .then(Normalize::new([0.5; 3], [0.5; 3]))
    };
    let augmented = || {
        Compose::new()
            .then(RandomCrop::new(32).padding(4))
            .then(RandomHorizontalFlip::new(0.5))
            .then(plain())
    };
    for (name, augment) in [
        ("ToTensor, Normalize", false),
        ("RandomCrop, Flip before", true),
    ] {
        for workers in [0, 1, 2] {
            let set = FashionSample::train()?;
            let set = if augment {
                set.transform(augmented())
            } else {
                set.transform(plain())
            };
            let loader = DataLoader::new(set)
                .batch_size(4)
                .shuffle(true)
                .num_workers(workers);
            // Of each epoch the mean and the median; of the epochs the best.
            let mut best = [[f64::INFINITY; 2]; 2];
            for _ in 0..7 {
                for (best, step) in best.iter_mut().zip([0, 200]) {
                    let mut times = Vec::new();
                    let mut iter = loader.iter();
                    loop {
                        let start = Instant::now();
                        let Some(batch) = iter.next() else { break };
                        std::hint::black_box(&batch?);
                        times.push(start.elapsed().as_secs_f64() * 1e6);
                        while start.elapsed() < Duration::from_micros(step) {
                            spin_loop();
                        }
                    }
                    let mean = times.iter().sum::<f64>() / times.len() as f64;
                    times.sort_by(f64::total_cmp);
                    *best = [best[0].min(mean), best[1].min(times[times.len() / 2])];
                }
            }
            println!(
                "{name:<24} workers {workers}: mean {:5.1}, median {:5.1} us a batch alone; {:5.1}, {:5.1} us beside a step",
                best[0][0], best[0][1], best[1][0], best[1][1]
            );
        }
    }
    Ok(())
}
