//! `deformable_attention_grad`: reading points of grids backwards.

use super::DeformableAttention;
use super::grid::{reading, shares};
use crate::attrs::Attrs;
use crate::op::spec::OpSpec;
use crate::op::{check, emit};
use crate::{Builder, Cost, IrError, Real, Tensor, TensorType, Value};

/// Operands: `do [B, Q, H hd]`, then the operands of `deformable_attention`. Outputs: the gradients of these, `dvalues`,
/// `dlocations` and `dweights`. A place at a cell's centre, where the read values have a kink along an axis, has the slope of the
/// places behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeformableAttentionGrad(pub DeformableAttention);

impl OpSpec for DeformableAttentionGrad {
    const MNEMONICS: &'static [&'static str] = &["deformable_attention_grad"];

    fn attrs(&self) -> Attrs {
        self.0.attrs()
    }

    fn from_attrs(mnemonic: &str, attrs: &mut Attrs) -> Result<Self, String> {
        DeformableAttention::from_attrs(mnemonic, attrs).map(Self)
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        check::count(inputs, &["do", "values", "locations", "weights"])?;
        let e = self.0.check([inputs[1], inputs[2], inputs[3]])?;
        check::is_f32("do", inputs[0], &[e.samples, e.queries, e.width()])?;
        Ok(inputs[1..].iter().map(|&ty| ty.clone()).collect())
    }

    fn eval<T: Real>(&self, inputs: &[&Tensor<T>]) -> Result<Vec<Tensor<T>>, String> {
        let [grad, values, locations, weights] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        let e = self.0.extents(&values.shape, &locations.shape);
        let mut of_values = vec![0.0; values.data.len()];
        let mut of_locations = vec![0.0; locations.data.len()];
        let mut of_weights = vec![0.0; weights.data.len()];
        for point in self.0.points(e) {
            let (from, weight) = (e.query(point), weights.at(point.at));
            for (cell, x, y) in e.corners(point, locations) {
                let mut product = 0.0;
                if let Some(cell) = cell {
                    for c in 0..e.head_dim {
                        product += grad.at(from + c) * values.at(cell + c);
                        of_values[cell + c] += weight * y.share * x.share * grad.at(from + c);
                    }
                }
                of_weights[point.at] += y.share * x.share * product;
                of_locations[2 * point.at] += weight * y.share * x.slope * product;
                of_locations[2 * point.at + 1] += weight * y.slope * x.share * product;
            }
        }
        Ok(vec![
            Tensor::from_fn(values.shape.clone(), |i| of_values[i]),
            Tensor::from_fn(locations.shape.clone(), |i| of_locations[i]),
            Tensor::from_fn(weights.shape.clone(), |i| of_weights[i]),
        ])
    }

    fn expand(&self, b: &mut Builder<'_>, inputs: &[Value]) -> Result<Option<Vec<Value>>, IrError> {
        let [grad, values, locations, weights] = [inputs[0], inputs[1], inputs[2], inputs[3]];
        let e = self.0.extents(b.func().shape(values), b.func().shape(locations));
        let [groups, queries, points] = [e.samples * e.heads, e.queries, e.points];
        let (grad, values) = (e.by_head(b, grad)?, e.by_head(b, values)?);
        let (mut of_values, mut of_locations, mut of_weights) = (Vec::new(), Vec::new(), Vec::new());
        for (level, (first, side)) in self.0.grids().into_iter().enumerate() {
            let weights = e.of_grid(b, weights, level, None)?;
            let mut of_axis = |axis| {
                let place = e.of_grid(b, locations, level, Some(axis))?;
                shares(b, place, side)
            };
            let ([across, slope_across], [down, slope_down]) = (of_axis(0)?, of_axis(1)?);
            let reading = reading(b, weights, [across, down])?;
            of_values.push(b.matmul(reading, grad, true, false)?);

            let cells = b.slice(values, 1, first, side * side)?;
            let of_reading = b.matmul(grad, cells, false, true)?;
            let of_reading = b.reshape(of_reading, &[groups, queries, side, side])?;
            // Every point's column of the grid, and the column's change along x: [B H, Q, P, side].
            let column = b.matmul(across, of_reading, false, true)?;
            let change = b.matmul(slope_across, of_reading, false, true)?;
            let mut along = |column, down| {
                let product = b.mul(column, down)?;
                emit::sum_rows(b, product)
            };
            let (read, by_x, by_y) = (along(column, down)?, along(change, down)?, along(column, slope_down)?);
            let mut of_place = Vec::with_capacity(2);
            for by in [by_x, by_y] {
                let by = b.mul(weights, by)?;
                of_place.push(b.reshape(by, &[groups, queries, 1, points, 1])?);
            }
            of_locations.push(b.concat(&of_place, 4)?);
            of_weights.push(b.reshape(read, &[groups, queries, 1, points])?);
        }
        let of_values = b.concat(&of_values, 1)?;
        let of_locations = b.concat(&of_locations, 2)?;
        let of_weights = b.concat(&of_weights, 2)?;
        let lead = [e.samples, e.heads, queries, e.levels, points];
        let of_locations = b.reshape(of_locations, &[&lead[..], &[2]].concat())?;
        let of_weights = b.reshape(of_weights, &lead)?;
        Ok(Some(vec![
            e.beside(b, of_values)?,
            b.transpose(of_locations, &[0, 2, 1, 3, 4, 5])?,
            b.transpose(of_weights, &[0, 2, 1, 3, 4])?,
        ]))
    }

    fn cost(&self, inputs: &[&TensorType], outputs: &[&TensorType]) -> Cost {
        // Per point: four products with a cell's row and four sums into one; shares and slopes.
        let (points, head_dim) = (inputs[3].elements() as u64, inputs[0].last() / self.0.heads.max(1));
        Cost::new(points * (16 * head_dim as u64 + 40), inputs, outputs)
    }
}
