//! The methods of a tensor.

use crate::Family;
use crate::draw::Draw;
use flambeau::{Result, Rounding, Tensor, s};

pub const ALL: &[(&str, Family, u64)] = &[
    ("view", view, 300),
    ("join", join, 300),
    ("index", index, 400),
    ("reduce", reduce, 400),
    ("binary", binary, 300),
    ("product", product, 300),
    ("create", create, 200),
    ("convert", convert, 150),
];

fn view(r: &mut Draw) -> Result<Vec<Tensor>> {
    let x = r.tensor(&[2, 3, 4])?;
    Ok(vec![match r.below(24) {
        0 => x.view([r.int(6), r.int(4)])?,
        1 => x.reshape([r.int(-1), r.int(4)])?,
        2 => x.transpose(r.int(0), r.int(1))?,
        3 => x.permute([r.int(2), r.int(0), r.int(1)])?,
        4 => x.narrow(r.int(1), r.int(1), r.size(2))?,
        5 => x.select(r.int(1), r.int(1))?,
        6 => x.slice(r.int(1), r.size(0), r.size(3), r.size(2))?,
        7 => x.expand([r.int(2), r.int(3), r.int(4)])?,
        8 => x
            .unsqueeze(r.int(1))?
            .expand([r.int(2), r.int(5), r.int(3), r.int(4)])?,
        9 => x.squeeze()?,
        10 => x.squeeze_dims([r.int(0), r.int(1)])?,
        11 => x.flatten(r.int(0), r.int(1))?,
        12 => x.unflatten(r.int(2), [r.int(2), r.int(2)])?,
        13 => x.unfold(r.int(2), r.size(2), r.size(1))?,
        14 => {
            let (size, strides) = (r.sizes::<2>(2), r.sizes::<2>(1));
            x.as_strided(size, strides, r.size(0))?
        }
        15 => x.diagonal(r.int(0), r.int(0), r.int(1))?,
        16 => x.movedim([r.int(0), r.int(1)], [r.int(1), r.int(0)])?,
        17 => x.flip([r.int(0), r.int(1)])?,
        18 => x.roll([r.int(1), r.int(2)], [r.int(0), r.int(1)])?,
        19 => x.swapaxes(r.int(0), r.int(1))?,
        20 => x.select(0, 0)?.t()?,
        21 => x.sum_to_size(&r.sizes::<3>(1))?,
        22 => {
            let y = x.transpose(0, 1)?;
            let _ = y.add_(&r.like(&y)?);
            y.view([-1])?
        }
        _ => x.contiguous()?,
    }])
}

fn join(r: &mut Draw) -> Result<Vec<Tensor>> {
    let x = r.tensor(&[2, 3, 4])?;
    Ok(match r.below(18) {
        0 => vec![Tensor::cat(&[x.clone(), r.like(&x)?], r.int(1))?],
        1 => vec![Tensor::stack(&[x.clone(), r.like(&x)?], r.int(1))?],
        2 => x.split(r.size(2), r.int(1))?,
        3 => x.split_with_sizes(&r.sizes::<2>(2), r.int(2))?,
        4 | 5 => x.chunk(r.size(2), r.int(1))?,
        6 => x.unbind(r.int(0))?,
        7 => vec![x.repeat([r.int(1), r.int(2), r.int(1)])?],
        8 => vec![x.tile([r.int(1), r.int(2)])?],
        9 => vec![x.repeat_interleave(r.size(2), r.int(1))?],
        10 => vec![x.repeat_interleave_each(&r.indices(&[3], 4)?, r.int(1))?],
        11 => vec![x.tril(r.int(0))?, x.triu(r.int(0))?],
        12 => vec![x.diag(r.int(0))?],
        13 => {
            let row = r.tensor(&[4])?;
            vec![row.diag(r.int(0))?]
        }
        14 => Tensor::meshgrid(&[&r.tensor(&[3])?, &r.tensor(&[2])?])?,
        15 => vec![x.pad(&r.ints::<4>(1), flambeau::PadMode::Zeros)?],
        16 => x.iter()?.take(3).collect(),
        _ => vec![x.where_(&r.like(&x)?, r.float(0.0))?],
    })
}

fn index(r: &mut Draw) -> Result<Vec<Tensor>> {
    let x = r.tensor(&[3, 4])?;
    let places = r.indices(&[3, 4], 3)?;
    let few = r.indices(&[2], 3)?;
    Ok(vec![match r.below(26) {
        0 => x.gather(r.int(0), &places)?,
        1 => x.scatter(r.int(0), &places, &r.like(&x)?)?,
        2 => x.scatter_add(r.int(0), &places, &r.like(&x)?)?,
        3 => x.scatter(r.int(0), &places, r.float(1.0))?,
        4 => x.index_select(r.int(0), &few)?,
        5 => x.index_add(r.int(0), &few, &r.tensor(&[2, 4])?, r.float(1.0))?,
        6 => x.index_copy(r.int(0), &few, &r.tensor(&[2, 4])?)?,
        7 => x.index_fill(r.int(0), &few, r.float(1.0))?,
        8 => x.masked_fill(&r.like(&x)?.gt(0.5)?, r.float(1.0))?,
        9 => x.masked_select(&r.like(&x)?.gt(0.5)?)?,
        10 => x.take(&places)?,
        11 => x.take_along_dim(&places, r.int(0))?,
        12 => x.nonzero()?,
        13 => places.one_hot(r.flag().then(|| r.size(3)))?,
        14 => places.ravel()?.bincount(None, r.size(2))?,
        15 => x.i((r.int(1), r.int(1)))?,
        16 => x.i((s(r.int(0), r.int(2), r.int(1)), r.int(1)))?,
        17 => x.i((&few, s(r.int(0), r.int(2), r.int(1))))?,
        18 => x.i(&x.gt(0.5)?)?,
        19 => {
            let z = x.detach().copy()?;
            z.set((&few, r.int(1)), r.float(1.0))?;
            z
        }
        20 => x.index_put((&few, &few), r.float(1.0), r.flag())?,
        21 => x.sort(r.int(1), r.flag())?.0,
        22 => x.topk(r.size(2), r.int(1), r.flag())?.0,
        23 => x.kthvalue(r.size(2), r.int(1), r.flag())?.0,
        24 => x.unique()?.0,
        _ => places.embedding(&x, r.flag().then(|| r.int(0)), r.flag())?,
    }])
}

fn reduce(r: &mut Draw) -> Result<Vec<Tensor>> {
    let x = r.tensor(&[2, 3, 4])?;
    let dims = [r.int(0), r.int(2)];
    let keep = r.flag();
    Ok(vec![match r.below(30) {
        0 => x.sum()?,
        1 => x.sum_dim(dims, keep)?,
        2 => x.mean_dim(dims, keep)?,
        3 => x.prod_dim(r.int(1), keep)?,
        4 => x.var_dim(dims, r.float(1.0), keep)?,
        5 => x.std_dim(dims, r.float(1.0), keep)?,
        6 => x.max_dim(r.int(1), keep)?.0,
        7 => x.min_dim(r.int(1), keep)?.0,
        8 => x.argmax(r.int(1), keep)?,
        9 => x.amax(dims, keep)?,
        10 => x.aminmax(r.int(1), keep)?.0,
        11 => x.any_dim(dims, keep)?,
        12 => x.all_dim(dims, keep)?,
        13 => x.count_nonzero(dims)?,
        14 => x.cumsum(r.int(1))?,
        15 => x.cumprod(r.int(1))?,
        16 => x.cummax(r.int(1))?.0,
        17 => x.softmax(r.int(1))?,
        18 => x.log_softmax_with(r.int(1), r.dtype())?,
        19 => x.logsumexp(dims, keep)?,
        20 => x.nansum(dims, keep)?,
        21 => x.norm(r.float(2.0), dims, keep)?,
        22 => x.median_dim(r.int(1), keep)?.0,
        23 => x.var()?,
        24 => x.max()?,
        25 => x.median()?,
        26 => x.var_mean(dims, r.float(1.0), keep)?.0,
        27 => x.all()?,
        28 => x.prod()?,
        _ => x.mean()?,
    }])
}

fn binary(r: &mut Draw) -> Result<Vec<Tensor>> {
    let x = r.tensor(&[2, 3, 4])?;
    let y = match r.below(3) {
        0 => r.like(&x)?,
        1 => r.tensor(&[3, 1])?,
        _ => r.tensor(&[2, 3, 4])?,
    };
    let rounding = r.pick(&[Rounding::Floor, Rounding::Trunc]);
    Ok(vec![match r.below(24) {
        0 => x.add(&y)?,
        1 => x.sub(&y)?,
        2 => x.mul(&y)?,
        3 => x.div(&y)?,
        4 => x.div_rounded(&y, rounding)?,
        5 => x.pow(&y)?,
        6 => x.pow(r.float(2.0))?,
        7 => x.pow(r.int(2))?,
        8 => x.remainder(&y)?,
        9 => x.fmod(r.int(3))?,
        10 => x.maximum(&y)?,
        11 => x.atan2(&y)?,
        12 => x.add_(&y)?,
        13 => x.mul_(r.int(2))?,
        14 => x.clamp(r.float(0.0), r.float(1.0))?,
        15 => x.lerp(&y, r.float(0.5))?,
        16 => x.addcmul(&y, &r.like(&x)?, r.float(1.0))?,
        17 => x.add_scaled(&y, r.int(2))?,
        18 => x.eq(&y)?,
        19 => x.isclose(&y, r.float(1e-5), r.float(1e-8), r.flag())?,
        20 => x.bitwise_and(&y)?,
        21 => x.bitwise_left_shift(r.int(2))?,
        22 => x.round_decimals(r.int(2) as i32)?,
        _ => x.logit(r.flag().then(|| r.float(0.1)))?,
    }])
}

fn product(r: &mut Draw) -> Result<Vec<Tensor>> {
    let (a, b) = (r.tensor(&[3, 4])?, r.tensor(&[4, 5])?);
    let (x, y) = (r.tensor(&[2, 3, 4])?, r.tensor(&[2, 4, 5])?);
    Ok(vec![match r.below(13) {
        0 => a.matmul(&b)?,
        1 => x.matmul(&y)?,
        2 => x.matmul(&b)?,
        3 => a.mm(&b)?,
        4 => x.bmm(&y)?,
        5 => a.mv(&r.tensor(&[4])?)?,
        6 => r.tensor(&[4])?.dot(&r.tensor(&[4])?)?,
        7 => r.tensor(&[3])?.outer(&r.tensor(&[4])?)?,
        8 => r
            .tensor(&[3, 5])?
            .addmm(&a, &b, r.float(1.0), r.float(1.0))?,
        9 => r
            .tensor(&[2, 3, 5])?
            .baddbmm(&x, &y, r.float(1.0), r.float(1.0))?,
        10 => {
            let equation = r.pick(&[
                "ij,jk->ik",
                "bij,bjk->bik",
                "ii",
                "ij,kl->",
                "...ij->...ji",
                "ij,jk",
                "",
                "->",
                "i,j->ij",
                "ij",
                "a,b,c",
                "ij,,",
                "ij,ij->ii",
                "é,j",
                "...,...->...",
                "ij-> ji",
            ]);
            let all = [a, b, x];
            let count = r.below(4);
            Tensor::einsum(equation, &all[..count])?
        }
        11 => {
            let options = flambeau::AttentionOptions {
                dropout: r.float(0.0),
                is_causal: r.flag(),
                enable_gqa: r.flag(),
                scale: r.flag().then(|| r.float(0.5)),
                mask: None,
            };
            r.tensor(&[2, 3, 24])?
                .self_attention(r.size(2), r.flag(), options)?
        }
        _ => {
            let q = r.tensor(&[2, 4, 3, 4])?;
            let k = r.tensor(&[2, 2, 5, 4])?;
            let options = flambeau::AttentionOptions {
                enable_gqa: true,
                is_causal: r.flag(),
                ..Default::default()
            };
            q.scaled_dot_product_attention(&k, &k, options)?
        }
    }])
}

fn create(r: &mut Draw) -> Result<Vec<Tensor>> {
    let dtype = r.dtype();
    let size = r.sizes::<2>(3);
    Ok(vec![match r.below(17) {
        0 => Tensor::zeros_with(size, dtype)?,
        1 => Tensor::full_with(size, r.float(1.0), dtype)?,
        2 => Tensor::full_with(size, r.int(1), dtype)?,
        3 => Tensor::empty_with(size, dtype)?
            .shape()
            .len()
            .try_into()
            .map_or_else(|_| Tensor::scalar(0i64), |n: i64| Tensor::scalar(n))?,
        4 => Tensor::arange_with(r.int(0), r.int(5), r.int(1), dtype)?,
        5 => Tensor::arange_with(r.float(0.0), r.float(5.0), r.float(1.0), dtype)?,
        6 => Tensor::linspace_with(r.float(0.0), r.float(1.0), r.size(5), dtype)?,
        7 => Tensor::logspace_with(r.float(0.0), r.float(1.0), r.size(5), r.float(10.0), dtype)?,
        8 => Tensor::eye_with(r.size(3), r.size(4), dtype)?,
        9 => Tensor::rand_with(size, dtype)?,
        10 => Tensor::randn_with(size, dtype)?,
        11 => Tensor::randint_with(r.int(0), r.int(5), size, dtype)?,
        12 => Tensor::randperm(r.size(5))?,
        13 => Tensor::tril_indices(r.size(3), r.size(4), r.int(0))?,
        14 => Tensor::triu_indices(r.size(3), r.size(4), r.int(0))?,
        15 => r.tensor(&[5])?.multinomial(r.size(2), r.flag())?,
        _ => flambeau::random::normal(r.float(0.0), r.float(1.0), size)?,
    }])
}

fn convert(r: &mut Draw) -> Result<Vec<Tensor>> {
    let x = r.tensor(&[2, 3, 4])?;
    Ok(vec![match r.below(14) {
        0 => x.to_dtype(r.dtype())?,
        1 => Tensor::new(x.to_vec::<f32>()?)?,
        2 => x.select(0, 0)?.to_vec2::<f64>().map(|_| x.clone())?,
        3 => x.to_vec3::<i64>().map(|_| x.clone())?,
        4 => x.item::<f32>().map(|_| x.clone())?,
        5 => Tensor::from_bytes(&x.to_bytes()?, r.sizes::<2>(4), r.dtype())?,
        6 => Tensor::from_vec(vec![1.0f32; 6], r.sizes::<2>(2))?,
        7 => x.detach().uniform_(r.float(0.0), r.float(1.0))?,
        8 => x.detach().normal_(r.float(0.0), r.float(1.0))?,
        9 => x.detach().bernoulli_(r.float(0.5))?,
        10 => x.detach().exponential_(r.float(1.0))?,
        11 => x.bernoulli()?,
        12 => x.detach().copy_(&r.tensor(&[3, 1])?)?,
        _ => x.detach().fill_(r.float(1.0))?,
    }])
}
