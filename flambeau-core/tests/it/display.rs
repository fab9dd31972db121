//! Printed tensors against PyTorch's text: see `goldens/io/make_display.py`.

use flambeau_core::{DType, PrintOptions, Result, Tensor, set_printoptions};

fn build(dtype: &str, shape: &str, values: &str, gradient: &str) -> Result<Tensor> {
    let shape: Vec<usize> = shape
        .split_whitespace()
        .map(|s| s.parse().unwrap())
        .collect();
    let numbers =
        |s: &str| -> Vec<f64> { s.split_whitespace().map(|v| v.parse().unwrap()).collect() };
    let data = match values.strip_prefix("lin ") {
        Some(line) => {
            let line = numbers(line);
            let n = shape.iter().product::<usize>();
            (0..n).map(|i| line[0] + line[1] * i as f64).collect()
        }
        None => numbers(values),
    };
    let x = Tensor::from_vec(data, shape)?.to_dtype(DType::from_name(dtype).unwrap())?;
    let x = x.requires_grad_(!gradient.is_empty())?;
    match gradient {
        "" | "leaf" => Ok(x),
        "mul" => x.mul(2),
        "exp" => x.exp(),
        "select" => x.select(0, 0),
        "t" => x.t(),
        "relu" => x.relu(),
        "view" => x.view(-1),
        "slices" => {
            let y = x.mul(1)?;
            y.select(0, 0)?.zero_()?;
            Ok(y)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn tensors_print_as_pytorch_prints_them() {
    let mut wrong = Vec::new();
    let text = include_str!("../goldens/io/display.txt");
    let cases: Vec<&str> = text.split("# ").skip(1).collect();
    assert!(cases.len() > 60);
    for case in cases {
        let (head, want) = case.split_once('\n').unwrap();
        let fields: Vec<&str> = head.split('|').map(str::trim).collect();
        let mut options = PrintOptions::default();
        for option in fields[4].split_whitespace() {
            let (name, value) = option.split_once('=').unwrap();
            let number = value.parse();
            match name {
                "precision" => options.precision = number.unwrap(),
                "threshold" => options.threshold = number.unwrap(),
                "edgeitems" => options.edgeitems = number.unwrap(),
                "linewidth" => options.linewidth = number.unwrap(),
                "sci_mode" => options.sci_mode = Some(value == "True"),
                other => panic!("{other}"),
            }
        }
        let x = build(fields[0], fields[1], fields[2], fields[3]).unwrap();
        set_printoptions(options);
        let got = x.to_string();
        set_printoptions(PrintOptions::default());
        if got != want.trim_end() {
            wrong.push(format!("# {head}\n{got}\nexpected\n{want}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn views_print_their_own_elements() -> Result<()> {
    let x = Tensor::arange(0, 12, 1)?.view([3, 4])?;
    assert_eq!(
        x.slice(1, 1, 4, 2)?.t()?.to_string(),
        "tensor([[ 1,  5,  9],\n        [ 3,  7, 11]])"
    );
    assert_eq!(x.select(0, 1)?.select(0, 2)?.to_string(), "tensor(6)");
    assert_eq!(
        format!("{:?}", Tensor::ones(1)?.expand([3])?),
        "tensor([1., 1., 1.])"
    );
    Ok(())
}
