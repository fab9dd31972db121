//! Creation functions against PyTorch: see `goldens/io/make_create.py`.

use flambeau_core::{DType, Result, Scalar, Tensor};

fn made(name: &str) -> Result<Tensor> {
    let i = |a: i64| Scalar::Int(a);
    let f = |a: f64| Scalar::Float(a);
    let ranges = [
        (i(0), i(10), i(1)),
        (i(5), i(-5), i(-2)),
        (i(0), i(1), f(0.1)),
        (f(0.0), f(3.0), i(1)),
        (i(1), f(2.05), f(0.35)),
        (i(-1), i(1), f(0.3)),
        (i(0), i(0), i(1)),
        (i(10), i(3), i(-3)),
        (f(0.5), f(20.5), f(0.7)),
        (f(2.5), i(3), i(1)),
        (i(-3), f(1e-9), f(0.1)),
        (i(1), f(1.0000001), i(1)),
    ];
    let spaces = [
        (0.0, 1.0, 5),
        (-10.0, 10.0, 7),
        (3.0, 3.0, 4),
        (1.0, 0.0, 3),
        (2.0, 5.0, 1),
        (0.0, 1.0, 0),
        (-1.5, 2.25, 10),
        (0.0, 100.0, 2),
    ];
    let triangles = [
        (3, 3, 0),
        (4, 3, -1),
        (4, 3, 1),
        (2, 5, 2),
        (5, 2, -2),
        (3, 3, 9),
        (3, 3, -9),
        (0, 4, 0),
    ];
    let like = Tensor::ones_with([2, 3], DType::I32)?;
    let (kind, index) = name.split_once(' ').unwrap_or((name, ""));
    let at = index.parse::<usize>().unwrap_or(0);
    match kind {
        "arange" => {
            let (a, b, s) = ranges[at];
            Tensor::arange(a, b, s)
        }
        "arange64" => {
            let (a, b, s) = ranges[at];
            Tensor::arange_with(a, b, s, DType::F64)
        }
        "arange_int" => Tensor::arange_with(0.5, 6.2, 1.5, DType::I64),
        "arange_u8" => Tensor::arange_with(0, 5, 1, DType::U8),
        "arange_half" => Tensor::arange_with(0, 1, 0.125, DType::F16),
        "linspace" | "linspace64" | "linspace_i" => {
            let (a, b, n) = spaces[at];
            match kind {
                "linspace" => Tensor::linspace(a, b, n),
                "linspace64" => Tensor::linspace_with(a, b, n, DType::F64),
                _ => Tensor::linspace_with(a, b, n, DType::I64),
            }
        }
        "logspace" => {
            let (a, b, n) = spaces[at];
            Tensor::logspace(a / 10.0, b / 10.0, n, 10.0)
        }
        "logspace2" => {
            let (a, b, n) = spaces[at];
            Tensor::logspace_with(a / 10.0, b / 10.0, n, 2.0, DType::F64)
        }
        "eye" => match index {
            "3 3" => Tensor::eye(3, 3),
            "2 4" => Tensor::eye_with(2, 4, DType::I64),
            "4 2" => Tensor::eye_with(4, 2, DType::Bool),
            _ => Tensor::eye(0, 3),
        },
        "full" => match index {
            "int" => Tensor::full([2, 2], 7),
            "float" => Tensor::full(3, 0.1),
            "bool" => Tensor::full(1, true),
            _ => Tensor::full_with(2, 3.9, DType::I32),
        },
        "zeros" => Tensor::zeros([2, 0, 3]),
        "ones" => Tensor::ones_with(2, DType::U8),
        "zeros_like" => like.zeros_like(),
        "ones_like" => like.ones_like_with(DType::F64),
        "full_like" if index.is_empty() => like.full_like(2.7),
        "full_like" => like.full_like_with(2.5, DType::BF16),
        "tril" => {
            let (r, c, o) = triangles[at];
            Tensor::tril_indices(r, c, o)
        }
        "triu" => {
            let (r, c, o) = triangles[at];
            Tensor::triu_indices(r, c, o)
        }
        "meshgrid" => {
            let (a, b) = (Tensor::arange(0, 2, 1)?, Tensor::arange(0, 3, 1)?);
            Ok(Tensor::meshgrid(&[&a, &b, &Tensor::from(5i64)])?.swap_remove(at))
        }
        other => panic!("{other}"),
    }
}

#[test]
fn creation_gives_what_pytorch_gives() -> Result<()> {
    let mut wrong = Vec::new();
    for line in include_str!("../goldens/io/create.txt").lines() {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let got = made(fields[0])?;
        let shape: Vec<usize> = fields[2]
            .split_whitespace()
            .map(|v| v.parse().unwrap())
            .collect();
        let want: Vec<f64> = fields[3]
            .split_whitespace()
            .map(|v| v.parse().unwrap())
            .collect();
        let values = got.to_dtype(DType::F64)?.to_vec::<f64>()?;
        // PyTorch's last bit depends on the width of the CPU's vectors.
        let slack = match got.dtype() {
            DType::F32 => 2.0 * f64::from(f32::EPSILON),
            DType::F64 => 2.0 * f64::EPSILON,
            _ => 0.0,
        };
        let largest = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let close = want
            .iter()
            .zip(&values)
            .all(|(w, v)| (w - v).abs() <= slack * largest);
        if got.dtype().name() != fields[1]
            || got.shape() != shape
            || values.len() != want.len()
            || !close
        {
            wrong.push(format!(
                "{line}\n got {} {:?} {values:?}",
                got.dtype(),
                got.shape()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn bad_arguments_say_why() {
    for (made, word) in [
        (Tensor::arange(0, 10, 0), "step"),
        (Tensor::arange(0, 10, -1), "away"),
        (Tensor::arange(0.0, f64::INFINITY, 1), "finite"),
        (Tensor::arange(0.0, 1e300, 1e-300), "arange"),
        (Tensor::zeros([-1i64]), "negative"),
        (Tensor::zeros([usize::MAX / 2, 8]), "memory"),
        (Tensor::eye(1 << 40, 1 << 40), "memory"),
        (Tensor::tril_indices(1 << 40, 1 << 40, 0), "memory"),
        (
            Tensor::new([[1.0f32; 2]; 3]).and_then(|t| t.view([4])),
            "elements",
        ),
    ] {
        let error = made.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(Tensor::meshgrid(&[&Tensor::zeros([2, 2]).unwrap()]).is_err());
    assert_eq!(Tensor::zeros([usize::MAX / 2, 8, 0]).unwrap().numel(), 0);
}

#[test]
fn conversions_go_both_ways() -> Result<()> {
    let x = Tensor::new([[[1i64, 2], [3, 4]], [[5, 6], [7, 8]]])?;
    assert_eq!(x.to_vec3::<i64>()?, [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]);
    assert_eq!(x.select(2, 1)?.to_vec2::<i64>()?, [[2, 4], [6, 8]]);
    assert!(
        x.to_vec2::<i64>()
            .unwrap_err()
            .to_string()
            .contains("3 dimensions")
    );
    assert_eq!(
        (x.ndim(), x.len()?, x.nbytes(), x.element_size()),
        (3, 2, 64, 8)
    );
    assert_eq!(
        x.iter()?
            .map(|r| r.sum()?.item::<i64>())
            .collect::<Result<Vec<_>>>()?,
        [10, 26]
    );
    assert_eq!(
        (x.float()?.dtype(), x.bool()?.dtype(), x.half()?.dtype()),
        (DType::F32, DType::Bool, DType::F16)
    );
    assert_eq!(
        Tensor::new([1.9f64, -1.9])?.long()?.to_vec::<i64>()?,
        [1, -1]
    );
    assert!(x.to(&Tensor::ones(1)?)?.is_floating_point() && x.cpu()?.is(&x));
    let nowhere = x.to_device(flambeau_core::Device::Cuda(99)).unwrap_err();
    assert!(nowhere.to_string().contains("cuda:99 is not available"));
    assert_eq!(f32::try_from(&Tensor::from(2.5f64))?, 2.5);
    assert!(
        i64::try_from(&x).is_err()
            && Tensor::from(3u8).iter().is_err()
            && Tensor::from(3u8).len().is_err()
    );
    assert_eq!(
        Vec::<f32>::try_from(&Tensor::try_from(vec![1.0f32, 2.0])?)?,
        [1.0, 2.0]
    );
    Ok(())
}
