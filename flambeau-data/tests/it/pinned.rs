//! Batches in pinned memory, on the machine's CUDA device or one in plain memory.

use flambeau_core::{Device, Result, cuda};
use flambeau_data::{DataLoader, ListDataset, ToDevice};

#[test]
fn pinned_batches_reach_the_device_in_order() -> Result<()> {
    if !cuda::is_available()
        && let Err(e) = cuda::install_emulated()
    {
        eprintln!("skipped: {e}");
        return Ok(());
    }
    let samples = || ListDataset::from_iter((0..40i64).map(|i| (i, i as f32)));
    for workers in [0, 2] {
        let loader = DataLoader::new(samples())
            .batch_size(3)
            .num_workers(workers);
        assert!(!loader.iter().next().unwrap()?.0.is_pinned());
        let loader = loader.pin_memory(true);
        let mut there = Vec::new();
        for batch in &loader {
            let batch = batch?;
            assert!(batch.0.is_pinned() && batch.1.is_pinned());
            // The batch is given back while its copy may be under way.
            there.push(batch.to(Device::Cuda(0))?);
        }
        let mut all = Vec::new();
        for (whole, real) in &there {
            let whole = whole.to_vec::<i64>()?;
            assert!(
                whole
                    .iter()
                    .zip(real.to_vec::<f32>()?)
                    .all(|(&w, r)| w as f32 == r)
            );
            all.extend(whole);
        }
        assert_eq!(all, (0..40).collect::<Vec<i64>>());
    }
    // The second epoch takes the blocks of the first one.
    let stats = cuda::pinned_memory_stats(0)?;
    assert!(stats.requests >= 56 && stats.driver_requests < stats.requests);
    assert!(
        DataLoader::new(samples())
            .pin_memory(false)
            .iter()
            .next()
            .is_some()
    );
    Ok(())
}
