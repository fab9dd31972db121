//! Reads goldens/transforms.txt, which make_transforms.py wrote, and makes its pictures.

use flambeau_core::{DType, Tensor};
use flambeau_data::SampleRng;
use flambeau_vision::Image;
use flambeau_vision::transforms::*;
use std::collections::HashMap;
use std::sync::LazyLock;

pub struct Golden {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub numbers: Vec<f64>,
}

pub fn golden(name: &str) -> &'static Golden {
    static ALL: LazyLock<HashMap<&str, Golden>> = LazyLock::new(|| {
        let lines = include_str!("../goldens/transforms.txt").lines();
        lines
            .map(|line| {
                let (head, numbers) = line.split_once(':').unwrap();
                let [name, dtype, shape] = head.split(' ').collect::<Vec<_>>()[..] else {
                    panic!("{head}");
                };
                let dtype = DType::from_name(dtype).unwrap();
                // Nine digits tell every `f32` from its neighbours.
                let parse = |v: &str| match dtype {
                    DType::F32 => v.parse::<f32>().unwrap().into(),
                    _ => v.parse().unwrap(),
                };
                let numbers = numbers.split_whitespace().map(parse).collect();
                let shape = shape.split(',').map(|v| v.parse().unwrap()).collect();
                (
                    name,
                    Golden {
                        dtype,
                        shape,
                        numbers,
                    },
                )
            })
            .collect()
    });
    ALL.get(name).unwrap_or_else(|| panic!("no golden {name}"))
}

/// Asserts that `x` is the golden, with numbers at most `apart` apart.
pub fn check(name: &str, x: &Tensor, apart: f64) {
    let golden = golden(name);
    assert_eq!(
        (x.dtype(), x.shape()),
        (golden.dtype, &golden.shape[..]),
        "{name}"
    );
    let found = x.to_dtype(DType::F64).unwrap().to_vec::<f64>().unwrap();
    for (i, (a, b)) in found.iter().zip(&golden.numbers).enumerate() {
        assert!(
            (a - b).abs() <= apart,
            "{name}: element {i} is {a}, should be {b}"
        );
    }
}

fn picture(h: usize, w: usize, f: impl Fn(usize) -> usize) -> Image {
    Image::from_hwc((0..h * w * 3).map(|i| f(i) as u8).collect(), [h, w, 3]).unwrap()
}

pub fn small() -> Image {
    picture(7, 9, |i| 31 * i * i + 17 * i + 7)
}

pub fn wide() -> Image {
    picture(20, 33, |i| 13 * i + i * i / 50)
}

/// The picture as torchvision's three kinds: bytes, a float tensor, a tensor of bytes; and, for
/// what is ours, a float picture whose numbers are not written yet, from planes.
pub fn kinds(image: &Image) -> Vec<(&'static str, Image)> {
    let bytes = image.to_tensor().unwrap();
    let shape = image.shape();
    let planar = Image::from_chw(bytes.to_vec().unwrap(), shape).unwrap();
    let lazy = apply(&ToTensor, image.clone());
    vec![
        ("bytes", image.clone()),
        ("bytes", planar.clone()),
        ("float", lazy.to_tensor().unwrap().try_into().unwrap()),
        ("float", lazy),
        ("float", apply(&ToTensor, planar)),
        ("uint8", bytes.try_into().unwrap()),
    ]
}

pub fn apply(transform: &dyn Transform, image: Image) -> Image {
    transform.apply(image, &mut SampleRng::new(0, 0)).unwrap()
}

pub fn error(transform: &dyn Transform, image: Image) -> String {
    let result = transform.apply(image, &mut SampleRng::new(0, 0));
    result
        .and_then(|image| image.to_tensor())
        .unwrap_err()
        .to_string()
}
