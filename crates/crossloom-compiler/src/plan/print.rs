//! The plan as text: one line per kernel call, and what it adds up to.

use std::fmt;

use super::{Block, Place, Plan};

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.block {
            Block::Arena => write!(f, "@{}+{}", self.offset, self.len),
            Block::Param(param) => write!(f, "p{param}@{}+{}", self.offset, self.len),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "plan @{} for {}: {} kernel calls, arena {} bytes (lower bound {}), scratch {} bytes",
            self.func.name,
            self.target,
            self.steps.len(),
            self.arena,
            self.lower_bound,
            self.scratch
        )?;
        for (number, step) in self.steps.iter().enumerate() {
            let inst = self.func.inst(step.inst);
            write!(f, "{number:4} {}", step.kernel)?;
            for (i, &output) in inst.outputs.iter().enumerate() {
                let dtype = self.func.dtype(output);
                write!(f, "{} {dtype} {}", if i == 0 { "" } else { "," }, self.place(output))?;
            }
            f.write_str(" <-")?;
            for (i, &input) in inst.inputs.iter().enumerate() {
                write!(f, "{} {}", if i == 0 { "" } else { "," }, self.place(input))?;
            }
            if !step.in_place.is_empty() {
                f.write_str(" in place")?;
                for (i, (from, to)) in step.in_place.iter().enumerate() {
                    write!(f, "{} {from}->{to}", if i == 0 { "" } else { "," })?;
                }
            }
            writeln!(f, "  {}", inst.scope)?;
        }
        Ok(())
    }
}

impl Plan {
    /// Kernel calls by name with their number, and the memory figures: the plan in a few lines that change only when
    /// the choice of kernels or the layout does.
    pub fn summary(&self) -> String {
        let mut counts = std::collections::BTreeMap::new();
        for step in &self.steps {
            *counts.entry(step.kernel.as_str()).or_insert(0usize) += 1;
        }
        let mut text = format!(
            "kernel calls {}\narena bytes {}\nlower bound {}\nscratch bytes {}\n",
            self.steps.len(),
            self.arena,
            self.lower_bound,
            self.scratch
        );
        for (kernel, count) in counts {
            text.push_str(&format!("{count:5} {kernel}\n"));
        }
        text
    }
}
