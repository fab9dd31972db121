//! Work captured into graphs.

use super::{alone, bytes, row};
use flambeau_cuda::kernels::{Expr, Params, Random};
use flambeau_cuda::tensor::{Operand, Slice, SliceMut, Update, elementwise, random, update};
use flambeau_cuda::{Buffer, Device, Result, Type};
use smallvec::smallvec;

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

fn of(device: &'static Device, values: &[f32]) -> Result<Buffer> {
    let mut buffer = device.allocate(4 * values.len())?;
    buffer.upload(0, &bytes(values))?;
    Ok(buffer)
}

/// `to = x + 1`.
fn increment(x: &Buffer, to: &mut Buffer) -> Result<()> {
    let n = [x.len() / 4];
    let mut params = Params::default();
    params.real[0] = 1.0;
    let operands = [
        Operand::Elements(Slice::new(x, row(&n))?),
        Operand::Number(0),
    ];
    let mut to = SliceMut::new(to, row(&n))?;
    elementwise(Expr::binary("a + b"), Type::F32, &mut to, &operands, params)
}

#[test]
fn a_replay_does_again_what_was_captured() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    let mut x = of(device, &[1.0, 2.0])?;
    let mut y = device.allocate(8)?;
    let capture = device.capture()?;
    let mut between = device.allocate(8)?;
    increment(&x, &mut between)?;
    increment(&between, &mut y)?;
    drop(between);
    let mut graph = capture.end()?;
    y.fill(0, &[0; 4], 2)?;
    assert_eq!(floats(&y)?, [0.0, 0.0], "capturing runs nothing");
    // Nobody is given the memory in between.
    let others: Vec<Buffer> = (0..8)
        .map(|_| of(device, &[9.0, 9.0]))
        .collect::<Result<_>>()?;
    graph.replay((0, 0))?;
    assert_eq!(floats(&y)?, [3.0, 4.0]);
    assert!(
        others
            .iter()
            .all(|o| floats(o).is_ok_and(|v| v == [9.0, 9.0]))
    );
    x.upload(0, &bytes(&[10.0, 20.0]))?;
    graph.replay((0, 0))?;
    assert_eq!(floats(&y)?, [12.0, 22.0]);
    Ok(())
}

#[test]
fn what_a_graph_uses_outlives_its_tensors_and_goes_with_the_graph() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    device.empty_cache();
    let x = of(device, &[1.0, 2.0])?;
    let capture = device.capture()?;
    let mut y = device.allocate(8)?;
    increment(&x, &mut y)?;
    let mut graph = capture.end()?;
    drop(x);
    // Would be where x was.
    let other = of(device, &[7.0, 7.0])?;
    graph.replay((0, 0))?;
    assert_eq!(
        (floats(&y)?, floats(&other)?),
        (vec![2.0, 3.0], vec![7.0, 7.0])
    );
    let held = device.stats();
    drop((graph, other));
    // A result stays, and what only the graph had is there for others.
    assert_eq!(floats(&y)?, [2.0, 3.0]);
    assert_eq!((held.buffers, device.stats().buffers), (4, 1));
    drop(y);
    device.empty_cache();
    assert_eq!(device.stats().reserved, 0);
    Ok(())
}

#[test]
fn addresses_that_a_graph_knows_are_not_exchanged() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    let (mut x, mut y) = (of(device, &[1.0])?, of(device, &[0.0])?);
    let capture = device.capture()?;
    increment(&x, &mut y)?;
    let mut graph = capture.end()?;
    x.swap(&mut of(device, &[5.0])?)?;
    graph.replay((0, 0))?;
    assert_eq!(floats(&y)?, [6.0]);
    drop(graph);
    let mut other = of(device, &[8.0])?;
    x.swap(&mut other)?;
    assert_eq!((floats(&x)?, floats(&other)?), (vec![8.0], vec![5.0]));
    Ok(())
}

#[test]
fn random_numbers_and_an_updates_numbers_are_those_of_the_replay() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    let n = [100];
    let uniform = Random::Uniform {
        low: 0.0,
        high: 1.0,
    };
    let draw =
        |offset: u64, to: &mut Buffer| random(uniform, 7, offset, &mut SliceMut::new(to, row(&n))?);
    let (mut a, mut b) = (device.allocate(400)?, device.allocate(400)?);
    let step = draw(0, &mut a)?;
    let expected = [
        draw(40, &mut a).and_then(|_| floats(&a))?,
        draw(40 + step, &mut b).and_then(|_| floats(&b))?,
    ];
    let mut w = of(device, &[1.0])?;
    let g = of(device, &[2.0])?;
    let capture = device.capture()?;
    assert_eq!(draw(0, &mut a)? + draw(0, &mut b)?, 0);
    let one = [1];
    let group = Update {
        written: smallvec![SliceMut::new(&mut w, row(&one))?],
        read: smallvec![Slice::new(&g, row(&one))?],
    };
    update("w0 -= p[0] * r0", &[group], &[0.25], None)?;
    let mut graph = capture.end()?;
    assert_eq!((graph.random(), graph.updates().len()), (2 * step, 1));
    graph.replay((7, 40))?;
    assert_eq!([floats(&a)?, floats(&b)?], expected);
    assert_eq!(floats(&w)?, [0.5]);
    let mut updates = graph.updates().to_vec();
    updates[0].numbers[0] = 0.5;
    graph.set_updates(updates.clone())?;
    graph.replay((7, 40 + step))?;
    assert_eq!(floats(&a)?, expected[1]);
    assert_eq!(floats(&w)?, [-0.5]);
    assert!(graph.set_updates(Vec::new()).is_err());
    updates[0].body = "w0 += r0";
    let error = graph.set_updates(updates).unwrap_err().to_string();
    assert!(error.contains("another formula"), "{error}");
    Ok(())
}

#[test]
fn what_waits_is_refused_while_capturing() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    let (mut x, mut pinned) = (of(device, &[1.0])?, device.pin(4)?);
    let capture = device.capture()?;
    for error in [
        x.download(0, &mut [0; 4]).unwrap_err(),
        x.upload(0, &[0; 4]).unwrap_err(),
        x.upload_pinned(0, &pinned, 0, 4).unwrap_err(),
        x.download_pinned(0, &mut pinned, 4).unwrap_err(),
        device.synchronize().unwrap_err(),
    ] {
        assert!(
            error
                .to_string()
                .contains("while a graph is captured on cuda:0"),
            "{error}"
        );
    }
    assert!(device.capture().is_err());
    let error = std::thread::spawn(|| device.allocate(4).map(drop)).join();
    let error = error
        .map(|r| r.unwrap_err().to_string())
        .unwrap_or_default();
    assert!(error.contains("another thread captures"), "{error}");
    // Given up, everything is as before.
    drop(capture);
    assert_eq!(floats(&x)?, [1.0]);
    device.synchronize()
}
