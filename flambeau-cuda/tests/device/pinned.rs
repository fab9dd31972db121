//! Pinned memory: copies that the host does not wait for. The device in plain memory runs them as late
//! as it may.

use super::{alone, bytes};
use flambeau_cuda::Result;

#[test]
fn a_block_waits_for_the_copy_that_reads_it() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    device.empty_cache();
    let before = device.pinned_stats();
    assert_eq!(before.reserved, 0);
    let asked = || device.pinned_stats().driver_requests - before.driver_requests;
    let (mut first, mut second) = (device.allocate(16)?, device.allocate(16)?);
    let mut host = device.pin(16)?;
    host.slice_mut::<f32>()?
        .copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
    first.upload_pinned(0, &host, 0, 16)?;
    // Given back while the copy is still to come, it is not given out again.
    drop(host);
    let mut other = device.pin(10)?;
    assert_eq!(asked(), 2);
    other.slice_mut::<u8>()?.fill(9);
    let mut back = [0; 16];
    first.download(0, &mut back)?;
    assert_eq!(back.to_vec(), bytes(&[1.0, 2.0, 3.0, 4.0]));
    // Once the copy has run, it is.
    let mut again = device.pin(16)?;
    let stats = device.pinned_stats();
    assert_eq!((asked(), stats.allocated, stats.reserved), (2, 1024, 1024));
    // Changing what a copy is to read waits for the copy.
    again.slice_mut::<f32>()?.fill(5.0);
    second.upload_pinned(4, &again, 0, 12)?;
    again.slice_mut::<f32>()?.fill(6.0);
    second.download(4, &mut back[..12])?;
    assert_eq!(back[..12].to_vec(), bytes(&[5.0; 3]));
    drop((other, again));
    device.empty_cache();
    assert_eq!(device.pinned_stats().reserved, 0);
    Ok(())
}

#[test]
fn what_is_copied_to_the_host_is_looked_at_when_it_is_there() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    let mut buffer = device.allocate(8)?;
    buffer.upload(0, &bytes(&[1.0, 2.0]))?;
    let mut host = device.pin(8)?;
    host.slice_mut::<f32>()?.fill(0.0);
    buffer.download_pinned(0, &mut host, 8)?;
    assert_eq!(host.slice::<f32>()?, [1.0, 2.0]);
    // From there on to the device again, without a look in between.
    buffer.upload(0, &bytes(&[3.0, 4.0]))?;
    let mut third = device.allocate(8)?;
    buffer.download_pinned(4, &mut host, 4)?;
    third.upload_pinned(0, &host, 0, 8)?;
    let mut back = [0; 8];
    third.download(0, &mut back)?;
    assert_eq!(back.to_vec(), bytes(&[4.0, 2.0]));
    Ok(())
}

#[test]
fn pinned_bytes_beyond_a_buffer_are_refused() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    let (mut buffer, mut host) = (device.allocate(8)?, device.pin(8)?);
    assert!(buffer.upload_pinned(4, &host, 0, 8).is_err());
    assert!(buffer.upload_pinned(0, &host, 4, 8).is_err());
    assert!(buffer.upload_pinned(0, &host, usize::MAX, 8).is_err());
    assert!(buffer.download_pinned(4, &mut host, 8).is_err());
    assert!(device.pin(usize::MAX).is_err());
    assert!(device.pin(0)?.slice::<f64>()?.is_empty());
    Ok(())
}
