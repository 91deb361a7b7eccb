//! Deformable attention and its gradient.

use crossloom_ir::op::DeformableAttention;

use super::Teams;
use crate::launch::{Argument, Launch, Lowered, Source, Types};
use Argument::{Input, Output};

struct Shape<'t> {
    types: Types<'t>,
    cells: usize,
    queries: usize,
    points: usize,
    rows: usize,
    heads: usize,
    width: usize,
    sides: Vec<usize>,
}

impl<'t> Shape<'t> {
    /// Of values and locations among the operands.
    fn of(op: &DeformableAttention, types: Types<'t>, values: usize) -> Self {
        let (values, locations) = (&types.inputs[values].shape, &types.inputs[values + 1].shape);
        Self {
            types,
            cells: values[1],
            queries: locations[1],
            points: locations[4],
            rows: values[0],
            heads: op.heads,
            width: values[2] / op.heads,
            sides: op.sides.clone(),
        }
    }

    fn source(&self) -> Source<'t> {
        let firsts = self.sides.iter().scan(0, |first, side| {
            *first += side * side;
            Some(*first - side * side)
        });
        let source = self.types.source().list("SIDES", &self.sides).list("FIRSTS", firsts);
        source.sets([
            ("SAMPLES", self.rows),
            ("CELLS", self.cells),
            ("QUERIES", self.queries),
            ("HEADS", self.heads),
            ("WIDTH", self.width),
            ("LEVELS", self.sides.len()),
            ("POINTS", self.points),
        ])
    }

    /// One warp per unit of work.
    fn launch(&self, file: &str, text: &str, units: usize, arguments: Vec<Argument>) -> Option<Launch> {
        let teams = Teams::warps(self.rows * self.heads * units)?;
        self.source().set("THREADS", teams.threads).launch(file, text, teams.geometry, arguments)
    }
}

pub(super) fn lower(op: &DeformableAttention, types: Types<'_>) -> Option<Lowered> {
    let shape = Shape::of(op, types, 0);
    let text = include_str!("../kernels/deformable.cu");
    let arguments = vec![Input(0), Input(1), Input(2), Output(0)];
    let launch = shape.launch("deformable", text, shape.queries, arguments)?;
    Some(Lowered::new("deformable_attention", vec![launch]))
}

pub(super) fn lower_grad(op: &DeformableAttention, types: Types<'_>) -> Option<Lowered> {
    let shape = Shape::of(op, types, 1);
    let of_values = shape.launch(
        "deformable_grad_values",
        include_str!("../kernels/deformable_grad_values.cu"),
        shape.cells,
        vec![Input(0), Input(2), Input(3), Output(0)],
    )?;
    let of_points = shape.launch(
        "deformable_grad_points",
        include_str!("../kernels/deformable_grad_points.cu"),
        shape.queries * shape.sides.len() * shape.points,
        vec![Input(0), Input(1), Input(2), Input(3), Output(1), Output(2)],
    )?;
    Some(Lowered::new("deformable_attention_grad", vec![of_values, of_points]))
}
