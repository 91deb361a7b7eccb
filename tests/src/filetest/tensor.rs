//! Tensors in directives: `[[1, 2], [3, 4]]`, one number for all elements, or a seeded generator.

use crossloom_ir::TensorType;
use crossloom_ir::interp::Tensor;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Longest line that a tensor is printed on.
const WIDTH: usize = 110;

/// Reads a tensor of that type.
///
/// | text | elements |
/// |---|---|
/// | `[[1, 2], [3, 4]]` | these |
/// | `0.5` | all the same |
/// | `uniform 7` | reals from [-1, 1), drawn from seed 7 |
/// | `positive 7` | reals from [0.5, 1.5) |
/// | `below 10 seed 7` | whole numbers from 0 to 9 |
pub(super) fn read(text: &str, ty: &TensorType) -> Result<Tensor<f64>, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let seeded = |seed: &str| -> Result<ChaCha8Rng, String> {
        Ok(ChaCha8Rng::seed_from_u64(seed.parse().map_err(|_| format!("`{seed}` is no seed"))?))
    };
    let tensor = match words.as_slice() {
        ["uniform", seed] => draw(ty, seeded(seed)?, |rng| rng.random_range(-1.0..1.0)),
        ["positive", seed] => draw(ty, seeded(seed)?, |rng| rng.random_range(0.5..1.5)),
        ["below", limit, "seed", seed] => {
            let limit: u32 = limit.parse().ok().filter(|&l| l > 0).ok_or(format!("`{limit}` is no limit"))?;
            draw(ty, seeded(seed)?, |rng| f64::from(rng.random_range(0..limit)))
        }
        _ => literal(text, ty)?,
    };
    if ty.dtype.is_integer() && tensor.data.iter().any(|x| x.fract() != 0.0) {
        return Err(format!("{ty} holds whole numbers"));
    }
    Ok(tensor)
}

fn draw(ty: &TensorType, mut rng: ChaCha8Rng, mut f: impl FnMut(&mut ChaCha8Rng) -> f64) -> Tensor<f64> {
    Tensor::from_fn(ty.shape.clone(), |_| f(&mut rng))
}

fn literal(text: &str, ty: &TensorType) -> Result<Tensor<f64>, String> {
    if let Ok(number) = text.parse::<f64>() {
        return Ok(Tensor::splat(ty.shape.clone(), number));
    }
    let mut data = Vec::new();
    let rest = nested(text, &ty.shape, &mut data)?;
    if rest.trim().is_empty() {
        Tensor::new(ty.shape.clone(), data)
    } else {
        Err(format!("`{rest}` is left over"))
    }
}

/// Reads the list of that shape at the beginning of a text; returns what follows it.
fn nested<'a>(text: &'a str, shape: &[usize], data: &mut Vec<f64>) -> Result<&'a str, String> {
    let text = text.trim_start();
    let Some((&extent, inner)) = shape.split_first() else {
        let end = text.find([',', ']']).unwrap_or(text.len());
        let number = text[..end].trim();
        data.push(number.parse().map_err(|_| format!("`{number}` is no number"))?);
        return Ok(&text[end..]);
    };
    let bad =
        |rest: &str| format!("a list of {extent} is expected, as the shape says, at `{}`", excerpt(rest));
    let mut rest = text.strip_prefix('[').ok_or_else(|| bad(text))?;
    for at in 0..extent {
        if at > 0 {
            rest = rest.trim_start().strip_prefix(',').ok_or_else(|| bad(rest))?;
        }
        rest = nested(rest, inner, data)?;
    }
    rest.trim_start().strip_prefix(']').ok_or_else(|| bad(rest))
}

fn excerpt(text: &str) -> String {
    text.chars().take(30).collect()
}

/// Prints `PREFIX TENSOR` as comment lines; a long tensor has its outermost elements on lines of their own.
pub(super) fn print_lines(prefix: &str, tensor: &Tensor<f64>) -> String {
    let whole = print(&tensor.shape, &tensor.data);
    if prefix.len() + whole.len() + 3 <= WIDTH || tensor.shape.is_empty() {
        return format!("; {prefix} {whole}\n");
    }
    let inner = &tensor.shape[1..];
    let size = inner.iter().product::<usize>().max(1);
    let mut out = format!("; {prefix} [\n");
    for element in tensor.data.chunks(size) {
        out.push_str(&format!(";   {},\n", print(inner, element)));
    }
    // No comma after the last element.
    out.truncate(out.len() - 2);
    out + "\n;   ]\n"
}

fn print(shape: &[usize], data: &[f64]) -> String {
    let Some((&extent, inner)) = shape.split_first() else {
        return data.first().map_or_else(String::new, |&x| rounded(x).to_string());
    };
    let size = inner.iter().product::<usize>();
    let elements: Vec<String> = (0..extent).map(|i| print(inner, &data[i * size..(i + 1) * size])).collect();
    format!("[{}]", elements.join(", "))
}

/// A number to seven significant digits.
fn rounded(x: f64) -> f64 {
    let rounded = format!("{x:.6e}").parse().unwrap_or(x);
    // No negative zero, which only looks odd.
    if rounded == 0.0 { 0.0 } else { rounded }
}

/// The first element that is off by more than the tolerance (relative above 1, absolute below), or a wrong shape.
pub(super) fn difference(got: &Tensor<f64>, wanted: &Tensor<f64>, tolerance: f64) -> Option<String> {
    if got.shape != wanted.shape {
        return Some(format!("has shape {:?} instead of {:?}", got.shape, wanted.shape));
    }
    let off = |(&a, &b): (&f64, &f64)| {
        let same = a == b || (a.is_nan() && b.is_nan());
        let close = (a - b).abs() <= tolerance * b.abs().max(1.0);
        !(same || close)
    };
    let at = got.data.iter().zip(&wanted.data).position(off)?;
    Some(format!("element {at} is {} instead of {}", got.data[at], wanted.data[at]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn tensors_read_and_print() {
        let ty = TensorType::f32([2, 3]);
        let tensor = read("[[1, 2.5, -3], [0, 1e-3, 7]]", &ty).unwrap();
        assert_eq!(tensor.data, [1.0, 2.5, -3.0, 0.0, 1e-3, 7.0]);
        assert_eq!(print_lines("gives \"y\" =", &tensor), "; gives \"y\" = [[1, 2.5, -3], [0, 0.001, 7]]\n");
        assert_eq!(read("2", &ty).unwrap().data, [2.0; 6]);
        assert_eq!(read("uniform 3", &ty).unwrap(), read("uniform 3", &ty).unwrap());
        assert_ne!(read("uniform 3", &ty).unwrap(), read("uniform 4", &ty).unwrap());
        assert_eq!(read("[]", &TensorType::f32([0])).unwrap().data, [] as [f64; 0]);
    }

    #[test]
    fn a_long_tensor_prints_over_lines_that_read_back() {
        let ty = TensorType::f32([3, 20]);
        let tensor = read("uniform 1", &ty).unwrap();
        let printed = print_lines("gives \"y\" =", &tensor);
        let lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 5);
        let joined = crate::filetest::source::join_continuations(&lines);
        assert_eq!(joined.len(), 1);
        let again = read(joined[0].strip_prefix("; gives \"y\" =").unwrap().trim(), &ty).unwrap();
        assert_eq!(difference(&again, &tensor, 1e-6), None);
    }

    #[test]
    fn wrong_tensors_are_refused() {
        let ty = TensorType::f32([2]);
        for text in ["[1]", "[1, 2, 3]", "[1, x]", "[[1, 2]]", "[1, 2] 3", "uniform x", "below 0 seed 1", ""]
        {
            assert!(read(text, &ty).is_err(), "{text}");
        }
        assert!(read("[1, 0.5]", &TensorType::i32([2])).is_err());
    }

    #[test]
    fn differences_are_found() {
        let of = |data: &[f64]| Tensor::new([data.len()], data.to_vec()).unwrap();
        assert_eq!(difference(&of(&[1.0, f64::NAN]), &of(&[1.0 + 1e-9, f64::NAN]), 1e-6), None);
        assert!(difference(&of(&[1.0]), &of(&[1.1]), 1e-6).is_some());
        assert!(difference(&of(&[1.0]), &of(&[f64::NAN]), 1e-6).is_some());
        assert!(difference(&of(&[f64::INFINITY]), &of(&[1.0]), 1e-6).is_some());
        assert!(difference(&of(&[1.0]), &of(&[1.0, 1.0]), 1e-6).is_some());
    }
}
