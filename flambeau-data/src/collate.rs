//! Samples to a batch (`torch.utils.data.default_collate`).

use flambeau_core::{Result, Tensor, bail};

/// Samples of which a [`DataLoader`](crate::DataLoader) makes batches.
///
/// | samples | batch |
/// | --- | --- |
/// | [`Tensor`] of one shape `[...]` and type | `Tensor [N, ...]` |
/// | `i64`, `i32`, `u8`, `bool`, `f64` | `Tensor [N]`: `i64`, but `bool` for `bool`, `f64` for `f64` |
/// | `f32`, `usize` | `Tensor [N]` of `f32`, `i64` |
/// | tuples | the tuple of the fields' batches |
/// | `Vec`s of one length | a `Vec` with the batch of each place |
/// | `String`, `&'static str` | the `Vec` of them |
///
/// As in PyTorch numbers become `i64` and `f64`, except that Rust's `f32` stays.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_data::Collate;
/// let samples = vec![(Tensor::new([1.0f32, 2.0])?, 7i64), (Tensor::new([3.0f32, 4.0])?, 8)];
/// let (x, y) = Collate::collate(samples)?;
/// assert_eq!((x.shape(), y.to_vec::<i64>()?), (&[2, 2][..], vec![7, 8]));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub trait Collate: Send + Sized + 'static {
    /// What a batch of them is.
    type Batch: Send + 'static;

    /// The batch of `samples`, of which there is at least one.
    ///
    /// # Errors
    /// Where the samples do not fit together.
    fn collate(samples: Vec<Self>) -> Result<Self::Batch>;
}

impl Collate for Tensor {
    type Batch = Tensor;
    fn collate(samples: Vec<Tensor>) -> Result<Tensor> {
        stack(&samples)
    }
}

/// The samples copied behind each other into one new tensor, without history.
///
/// ```
/// use flambeau_core::Tensor;
/// use flambeau_data::stack;
/// let rows = [Tensor::new([1i64, 2])?, Tensor::new([3i64, 4])?];
/// assert_eq!(stack(&rows)?.to_vec2::<i64>()?, [[1, 2], [3, 4]]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where shapes or types differ, or there is no sample.
pub fn stack(samples: &[Tensor]) -> Result<Tensor> {
    let Some(first) = samples.first() else {
        bail!("collate", "a batch needs at least one sample");
    };
    let (shape, dtype) = (first.shape(), first.dtype());
    for (i, sample) in samples.iter().enumerate() {
        if sample.shape() != shape || sample.dtype() != dtype {
            bail!(
                "collate",
                "the samples of a batch must agree in shape and type, but sample 0 of this batch is {dtype} {shape:?} and sample {i} is {} {:?}; bring them to one size in the dataset, or give the loader a collate function",
                sample.dtype(),
                sample.shape()
            );
        }
    }
    let mut size = vec![samples.len()];
    size.extend_from_slice(shape);
    Tensor::from_fill_bytes(size, dtype, |out| {
        let bytes = first.numel() * dtype.size();
        for (i, sample) in samples.iter().enumerate() {
            sample.with_bytes(|from| out[i * bytes..][..bytes].copy_from_slice(from))?;
        }
        Ok(())
    })
}

macro_rules! numbers {
    ($($t:ty => $as:ty),*) => {$(
        impl Collate for $t {
            type Batch = Tensor;
            fn collate(samples: Vec<$t>) -> Result<Tensor> {
                Tensor::from_fill::<$as>(samples.len(), |out| {
                    out.iter_mut().zip(samples).for_each(|(out, v)| *out = v as _);
                    Ok(())
                })
            }
        }
    )*};
}
numbers!(i64 => i64, i32 => i64, u8 => i64, usize => i64, f64 => f64, f32 => f32, bool => bool);

macro_rules! as_they_are {
    ($($t:ty),*) => {$(
        impl Collate for $t {
            type Batch = Vec<$t>;
            fn collate(samples: Vec<$t>) -> Result<Vec<$t>> { Ok(samples) }
        }
    )*};
}
as_they_are!(String, &'static str);

impl<T: Collate> Collate for Vec<T> {
    type Batch = Vec<T::Batch>;
    fn collate(samples: Vec<Vec<T>>) -> Result<Self::Batch> {
        let (length, count) = (samples.first().map_or(0, Vec::len), samples.len());
        let mut places: Vec<Vec<T>> = (0..length).map(|_| Vec::with_capacity(count)).collect();
        for (i, sample) in samples.into_iter().enumerate() {
            if sample.len() != length {
                bail!(
                    "collate",
                    "the lists of a batch must have one length, but sample 0 of this batch has {length} elements and sample {i} has {}",
                    sample.len()
                );
            }
            places
                .iter_mut()
                .zip(sample)
                .for_each(|(place, v)| place.push(v));
        }
        places.into_iter().map(T::collate).collect()
    }
}

macro_rules! tuples {
    ($(($($T:ident $v:ident),+))*) => {$(
        impl<$($T: Collate),+> Collate for ($($T,)+) {
            type Batch = ($($T::Batch,)+);
            fn collate(samples: Vec<Self>) -> Result<Self::Batch> {
                $(let mut $v = Vec::with_capacity(samples.len());)+
                for sample in samples {
                    #[allow(non_snake_case)]
                    let ($($T,)+) = sample;
                    $($v.push($T);)+
                }
                Ok(($($T::collate($v)?,)+))
            }
        }
    )*};
}
tuples! { (A a) (A a, B b) (A a, B b, C c) (A a, B b, C c, D d) (A a, B b, C c, D d, E e) }
