//! Collectives, of ranks that are threads on the device in plain memory.

use super::{alone, bytes, row};
use flambeau_cuda::tensor::{Place, Slice, SliceMut};
use flambeau_cuda::{Buffer, Communicator, Device, ReduceOp, Result, Type, UniqueId, nccl_version};

const RANKS: usize = 3;

/// What each rank's `f` gives, in order.
fn ranks<R: Send>(
    device: &'static Device,
    f: impl Fn(&Communicator) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let id = UniqueId::new(device)?;
    let one = |rank| Communicator::new(device, id, rank, RANKS).and_then(|c| f(&c));
    std::thread::scope(|s| {
        let threads: Vec<_> = (0..RANKS).map(|rank| s.spawn(move || one(rank))).collect();
        let joined = threads.into_iter().map(|t| t.join());
        joined
            .map(|r| r.unwrap_or_else(|_| panic!("a rank panicked")))
            .collect()
    })
}

fn of(device: &'static Device, values: &[f32]) -> Result<Buffer> {
    let mut buffer = device.allocate(4 * values.len())?;
    buffer.upload(0, &bytes(values))?;
    Ok(buffer)
}

fn floats(buffer: &Buffer) -> Result<Vec<f32>> {
    let mut back = vec![0; buffer.len()];
    buffer.download(0, &mut back)?;
    Ok(back
        .as_chunks()
        .0
        .iter()
        .map(|&b| f32::from_ne_bytes(b))
        .collect())
}

#[test]
fn every_collective_gives_what_it_says() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    let results = ranks(device, |c| {
        let r = c.rank() as f32;
        let mut all = vec![of(device, &[r, 10.0 * r])?, of(device, &[r, 1.0 - r])?];
        all.push(of(device, &[r + 1.0, 2.0])?);
        all.push(of(device, &[r, -r])?);
        let mut gathered = device.allocate(8 * RANKS)?;
        let mut part = device.allocate(4)?;
        let whole = of(device, &[r, r + 1.0, r + 2.0])?;
        let (two, six, three, one) = ([2], [2 * RANKS], [RANKS], [1]);
        let own = of(device, &[r, r + 0.5])?;
        {
            let [a, b, c0, d] = &mut all[..] else {
                unreachable!()
            };
            let mut group = c.group();
            group.all_reduce(SliceMut::new(a, row(&two))?, ReduceOp::Sum)?;
            group.all_reduce(SliceMut::new(b, row(&two))?, ReduceOp::Max)?;
            group.reduce(SliceMut::new(c0, row(&two))?, ReduceOp::Product, 1)?;
            group.broadcast(SliceMut::new(d, row(&two))?, 2)?;
            group.all_gather(
                Slice::new(&own, row(&two))?,
                SliceMut::new(&mut gathered, row(&six))?,
            )?;
            let to = SliceMut::new(&mut part, row(&one))?;
            group.reduce_scatter(Slice::new(&whole, row(&three))?, to, ReduceOp::Average)?;
            group.run()?;
        }
        let mut all: Vec<Vec<f32>> = all.iter().map(floats).collect::<Result<_>>()?;
        all.extend([floats(&gathered)?, floats(&part)?]);
        Ok(all)
    })?;
    for (rank, all) in results.iter().enumerate() {
        let r = rank as f32;
        assert_eq!(all[0], [3.0, 30.0]);
        assert_eq!(all[1], [2.0, 1.0]);
        assert_eq!(
            all[2],
            if rank == 1 {
                [6.0, 8.0]
            } else {
                [r + 1.0, 2.0]
            }
        );
        assert_eq!(all[3], [2.0, -2.0]);
        assert_eq!(all[4], [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]);
        assert_eq!(all[5], [r + 1.0]);
    }
    Ok(())
}

#[test]
fn ranks_send_to_each_other_around() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    let results = ranks(device, |c| {
        let (x, mut y) = (of(device, &[c.rank() as f32; 2])?, device.allocate(8)?);
        let two = [2];
        let mut group = c.group();
        group.receive(
            SliceMut::new(&mut y, row(&two))?,
            (c.rank() + RANKS - 1) % RANKS,
        )?;
        group.send(Slice::new(&x, row(&two))?, (c.rank() + 1) % RANKS)?;
        group.run()?;
        c.check()?;
        floats(&y)
    })?;
    assert_eq!(results, [[2.0; 2], [0.0; 2], [1.0; 2]]);
    Ok(())
}

#[test]
fn collectives_that_do_not_fit_are_refused() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    let id = UniqueId::new(device)?;
    assert!(Communicator::new(device, id, 1, 1).is_err());
    let c = Communicator::new(device, id, 0, 1)?;
    let (mut x, y) = (of(device, &[1.0, 2.0])?, of(device, &[3.0; 4])?);
    let (two, four) = ([2], [4]);
    let mut group = c.group();
    let place = Place {
        ty: Type::I16,
        ..row(&four)
    };
    assert!(
        group
            .all_reduce(SliceMut::new(&mut x, place)?, ReduceOp::Sum)
            .is_err()
    );
    let apart = Place {
        strides: &[2],
        ..row(&two)
    };
    let mut group = c.group();
    assert!(group.send(Slice::new(&y, apart)?, 0).is_err());
    assert!(group.send(Slice::new(&y, row(&four))?, 0).is_err());
    assert!(
        group
            .broadcast(SliceMut::new(&mut x, row(&two))?, 1)
            .is_err()
    );
    let mut group = c.group();
    let to = SliceMut::new(&mut x, row(&two))?;
    let error = group
        .all_gather(Slice::new(&y, row(&four))?, to)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("4 elements F32 of each of 1 ranks are not 2 elements F32"),
        "{error}"
    );
    // Ranks that call different collectives.
    let failed = ranks(device, |c| {
        let mut x = of(device, &[1.0, 2.0])?;
        let mut group = c.group();
        group.broadcast(SliceMut::new(&mut x, row(&two))?, c.rank())?;
        Ok(group.run().is_err())
    })?;
    assert_eq!(failed, [true; RANKS]);
    Ok(())
}

#[test]
fn nccl_has_every_function_that_is_used() {
    match nccl_version() {
        Ok(version) => assert!(version >= (2, 10, 0), "{version:?}"),
        Err(e) => eprintln!("skipped: {e}"),
    }
}
