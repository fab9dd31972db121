//! Indexing and assignment with items of every kind together, against PyTorch: see
//! `goldens/io/make_index.py`.

use flambeau_core::{DType, Ellipsis, IndexItem, IntoIndexItem, NewAxis, Result, Tensor};

fn numbers<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> Vec<T> {
    text.split([' ', ','])
        .filter(|t| !t.is_empty())
        .map(|t| t.parse().expect("a number"))
        .collect()
}

fn item(text: &str) -> Result<IndexItem> {
    Ok(match text.split_at(1) {
        _ if text == "..." => Ellipsis.into_index_item(),
        _ if text == "None" => NewAxis.into_index_item(),
        ("t", list) => Tensor::new(numbers::<i64>(list))?.into_index_item(),
        // Integers of any width are indices.
        ("g", list) => Tensor::new(numbers::<i32>(list))?
            .view([2, 3])?
            .into_index_item(),
        ("m", bits) => {
            let bits: Vec<bool> = bits.chars().map(|c| c == '1').collect();
            Tensor::new(bits)?.into_index_item()
        }
        _ => match text.split(':').collect::<Vec<_>>()[..] {
            [start, stop, step] => IndexItem::Slice {
                start: start.parse().ok(),
                stop: stop.parse().ok(),
                step: step.parse().expect("a step"),
            },
            _ => IndexItem::Int(text.parse().expect("an index")),
        },
    })
}

fn check(line: &str) -> Result<()> {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let [shape, items, result_shape, result, after, gradient] = fields[..] else {
        panic!("six fields: {line}")
    };
    let shape = numbers::<usize>(shape);
    let index = items.split(' ').map(item).collect::<Result<Vec<_>>>()?;
    let n: usize = shape.iter().product();
    let x = Tensor::arange_with(0, n, 1, DType::F64)?
        .view(&shape)?
        .copy()?;
    x.requires_grad_(true)?;
    let y = x.i(&index[..])?;
    assert_eq!(y.shape(), numbers::<usize>(result_shape), "{line}");
    let picked = y.to_vec::<f64>()?;
    assert_eq!(picked, numbers::<f64>(result), "{line}");

    let count = y.numel();
    let w = Tensor::arange_with(1, count + 1, 1, DType::F64)?.view(y.shape())?;
    y.mul(&w)?.sum()?.backward()?;
    let grad = x.grad().expect("x is a leaf");
    assert_eq!(grad.to_vec::<f64>()?, numbers::<f64>(gradient), "{line}");

    let x = x.detach().copy()?;
    let mut places = picked;
    places.sort_by(f64::total_cmp);
    if places.windows(2).all(|w| w[0] != w[1]) {
        x.set(&index[..], w.neg()?)?;
    } else {
        x.set(&index[..], -1.0)?;
    }
    assert_eq!(x.to_vec::<f64>()?, numbers::<f64>(after), "{line}");
    Ok(())
}

#[test]
fn items_of_every_kind_together_are_pytorchs() -> Result<()> {
    let lines = include_str!("../goldens/io/index.txt").lines();
    assert_eq!(lines.clone().count(), 120);
    lines.into_iter().try_for_each(check)
}
