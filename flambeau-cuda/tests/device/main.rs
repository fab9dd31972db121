//! Devices, their memory and checked calls, on the device in plain memory.

mod capture;
mod nccl;
mod pinned;

use flambeau_cuda::kernels::{Along, Expr, Params};
use flambeau_cuda::tensor::{Operand, Place, Slice, SliceMut, elementwise, gather};
use flambeau_cuda::{Device, Result, Type, available, count, device, emulate, scope};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The device, for one test at a time: they look at what its allocator holds.
fn alone() -> Option<(&'static Device, MutexGuard<'static, ()>)> {
    static LOCK: Mutex<()> = Mutex::new(());
    let turn = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(e) = emulate::install() {
        eprintln!("skipped: {e}");
        return None;
    }
    device(0).ok().map(|d| (d, turn))
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_ne_bytes()).collect()
}

#[test]
fn devices_are_counted() {
    let Some((device, _turn)) = alone() else {
        return;
    };
    assert!(available().is_ok() && count() == 1);
    assert_eq!(
        (device.index(), format!("{device:?}")),
        (0, "cuda:0".into())
    );
    let error = flambeau_cuda::device(7).unwrap_err().to_string();
    assert!(
        error.contains("there is no cuda:7") && error.contains("1 CUDA device"),
        "{error}"
    );
}

#[test]
fn memory_is_split_reused_and_joined() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    device.empty_cache();
    let before = device.stats();
    assert_eq!(
        (before.allocated, before.reserved, before.buffers),
        (0, 0, 0)
    );
    // Three small ones share a segment of 2 MiB.
    let three = [
        device.allocate(100)?,
        device.allocate(600)?,
        device.allocate(512)?,
    ];
    let held = device.stats();
    assert_eq!(
        (held.allocated, held.reserved, held.buffers),
        (512 + 1024 + 512, 2 << 20, 3)
    );
    assert_eq!(held.driver_requests - before.driver_requests, 1);
    // Freed neighbours are one run again.
    drop(three);
    let free = device.stats();
    assert_eq!(
        (free.allocated, free.largest_free, free.peak),
        (0, 2 << 20, held.allocated.max(before.peak))
    );
    // What is larger comes from a segment of 20 MiB, and then from its own.
    let (middle, large) = (device.allocate(3 << 20)?, device.allocate(30 << 20)?);
    assert_eq!(device.stats().reserved, (2 + 20 + 30) << 20);
    drop((middle, large));
    let again = device.allocate(30 << 20)?;
    assert_eq!(device.stats().driver_requests, free.driver_requests + 2);
    device.empty_cache();
    assert_eq!(device.stats().reserved, 30 << 20);
    drop(again);
    device.empty_cache();
    assert_eq!(device.stats().reserved, 0);
    assert_eq!(device.allocate(0)?.len(), 0);
    Ok(())
}

#[test]
fn too_much_is_refused_with_what_is_held_and_what_would_fit() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    device.empty_cache();
    let (parameters, state, batch);
    {
        let _scope = scope::role(scope::Role::Parameter);
        parameters = device.allocate(64 << 20)?;
    }
    {
        let _scope = scope::role(scope::Role::Optimizer);
        state = device.allocate(32 << 20)?;
    }
    {
        let _scope = scope::role(scope::Role::Input);
        batch = device.allocate(16 << 20)?;
        device.note_batch(1000);
    }
    let activation = |name: &str, mib: usize| {
        let _scope = scope::module(name);
        device.allocate(mib << 20)
    };
    let results = [activation("net.conv1", 512)?, activation("net.fc", 1024)?];
    let error = activation("net.conv2", 8 << 10).unwrap_err().to_string();
    for part in [
        "8.00 GiB asked of emulated, which has 4.00 GiB in all",
        "1.61 GiB in 5 tensors",
        "parameters 64.00 MiB, optimizer 32.00 MiB, inputs 16.00 MiB, activations 1.50 GiB",
        "(of modules: net.fc 1.00 GiB, net.conv1 512.00 MiB)",
        // (4096 - 96) MiB over the (16 + 1536 + 8192) / 1000 that a sample takes.
        "Of the batch of 1000, about 410 would fit",
    ] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    drop((parameters, state, batch, results));
    device.empty_cache();
    Ok(())
}

#[test]
fn copies_keep_to_their_buffers() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    let (mut a, mut b) = (device.allocate(16)?, device.allocate(16)?);
    a.upload(0, &bytes(&[1.0, 2.0, 3.0, 4.0]))?;
    b.copy(4, &a, 0, 12)?;
    assert!(b.fill(0, &9.0f32.to_ne_bytes(), 1)?);
    let mut back = [0; 16];
    b.download(0, &mut back)?;
    assert_eq!(back.to_vec(), bytes(&[9.0, 1.0, 2.0, 3.0]));
    assert!(a.upload(8, &[0; 12]).is_err() && a.download(17, &mut []).is_err());
    assert!(a.copy(0, &b, 8, 12).is_err() && a.fill(4, &[0; 4], 4).is_err());
    Ok(())
}

/// Where `n` floats lie one after the other.
fn row(n: &[usize; 1]) -> Place<'_> {
    Place {
        ty: Type::F32,
        offset: 0,
        shape: n,
        strides: &[1],
    }
}

#[test]
fn places_beyond_a_buffer_are_refused() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    let (a, mut out) = (device.allocate(16)?, device.allocate(16)?);
    assert!(Slice::new(&a, row(&[5])).is_err());
    assert!(
        Slice::new(
            &a,
            Place {
                offset: 1,
                ..row(&[4])
            }
        )
        .is_err()
    );
    assert!(
        Slice::new(
            &a,
            Place {
                strides: &[usize::MAX],
                ..row(&[4])
            }
        )
        .is_err()
    );
    let x = Slice::new(&a, row(&[3]))?;
    let mut to = SliceMut::new(&mut out, row(&[4]))?;
    let operands = [Operand::Elements(x)];
    let params = Params::default();
    assert!(elementwise(Expr::COPY, Type::F32, &mut to, &operands, params).is_err());
    Ok(())
}

#[test]
fn numbers_and_the_target_are_operands() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    let mut buffer = device.allocate(12)?;
    buffer.upload(0, &bytes(&[1.0, 2.0, 3.0]))?;
    let mut params = Params::default();
    params.real[3] = 0.5;
    let expr = Expr::binary("a * b + 1");
    let operands = [Operand::Target, Operand::Number(3)];
    let mut to = SliceMut::new(&mut buffer, row(&[3]))?;
    elementwise(expr, Type::F32, &mut to, &operands, params)?;
    let mut back = [0; 12];
    buffer.download(0, &mut back)?;
    assert_eq!(back.to_vec(), bytes(&[1.5, 2.0, 2.5]));
    Ok(())
}

#[test]
fn an_index_out_of_range_is_reported_when_waited_for() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    let (mut x, mut index, mut out) = (
        device.allocate(12)?,
        device.allocate(16)?,
        device.allocate(8)?,
    );
    x.upload(0, &bytes(&[1.0, 2.0, 3.0]))?;
    index.upload(0, &[2i64, 3].map(i64::to_ne_bytes).concat())?;
    let along = Along {
        sizes: &[3],
        dim: 0,
        shape: &[2],
    };
    let at = Place {
        ty: Type::I64,
        ..row(&[2])
    };
    let (from, at) = (Slice::new(&x, row(&[3]))?, Slice::new(&index, at)?);
    gather(&along, &from, &at, &mut SliceMut::new(&mut out, row(&[2]))?)?;
    let error = device.synchronize().unwrap_err().to_string();
    assert!(
        error.contains("an index of 3 is out of range: there are 3"),
        "{error}"
    );
    // Reported once.
    device.synchronize()
}
