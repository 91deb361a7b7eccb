//! scratch
use std::collections::BTreeMap;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let loaded = match crossloom_recipe::load(std::path::Path::new(&args[1]), &crossloom_recipe::LoadOptions { sets: args[3..].to_vec() }) { Ok(l) => l, Err(e) => { println!("{e}"); return; } };
    let v = loaded.variants.iter().find(|v| v.name == args[2]).unwrap();
    let data = crossloom::experiment::ExperimentData::load(&v.recipe, std::path::Path::new("."), &mut |_| ()).unwrap();
    let plan = data.plan(&v.recipe).unwrap();
    println!("{plan:?}");
    let mut model = crossloom::experiment::Model::new(&v.recipe, crossloom_model::BatchShape { batch: plan.batch_size, tokens: plan.sequence_len, targets: plan.targets }, plan.vocab_size).unwrap();
    let (split, enc) = data.images(crossloom_recipe::Split::Train);
    let mut packer = crossloom_data::packing::TrainingPacker::new(&plan, enc, split.images(), Default::default()).unwrap();
    let mut batch = crossloom_data::packing::PackedBatch::new(&plan);
    packer.fill(&mut batch).unwrap();
    crossloom::experiment::load_batch(&mut model.step, &batch, crossloom_recipe::GatePool::Image).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().build().unwrap();
    pool.install(|| {
        for _ in 0..3 { model.step.run(&mut model.store).unwrap(); }
        let mut best = vec![f64::MAX; model.step.plan().steps.len()];
        let mut totals = vec![];
        for _ in 0..15 {
            let t = std::time::Instant::now();
            let times = model.step.run_profiled(&mut model.store).unwrap();
            totals.push(t.elapsed().as_secs_f64());
            for t in times { best[t.step] = best[t.step].min(t.time.as_secs_f64()); }
        }
        totals.sort_by(f64::total_cmp);
        let p = model.step.plan();
        let e = crossloom_compiler::explain::explain(p, 2);
        println!("median {:.2} ms  sum of best {:.2} ms  flops {:.2} G  arena {} MB steps {}", totals[7] * 1e3, best.iter().sum::<f64>() * 1e3, e.flops as f64 / 1e9, e.arena_bytes / 1_000_000, p.steps.len());
        let mut by: BTreeMap<String, (f64, usize, f64)> = BTreeMap::new();
        for (s, t) in p.steps.iter().zip(&best) {
            let inst = p.func.inst(s.inst);
            let i: Vec<_> = inst.inputs.iter().map(|&v| p.func.ty(v)).collect();
            let o: Vec<_> = inst.outputs.iter().map(|&v| p.func.ty(v)).collect();
            let c = inst.op.cost(&i, &o);
            let k = by.entry(s.kernel.clone()).or_default();
            k.0 += t; k.1 += 1; k.2 += c.flops as f64;
        }
        let mut by: Vec<_> = by.into_iter().collect();
        by.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
        for (k, (t, n, f)) in by { println!("{:8.3} ms {n:4} {k} {:.1} GFLOP/s", t * 1e3, f / t / 1e9); }
        let mut order: Vec<usize> = (0..best.len()).collect();
        order.sort_by(|&a, &b| best[b].total_cmp(&best[a]));
        for &i in order.iter().take(25) {
            let inst = p.func.inst(p.steps[i].inst);
            println!("{:8.3} ms {} {} {:?} -> {:?} {}", best[i] * 1e3, p.steps[i].kernel, inst.op.attrs(), inst.inputs.iter().map(|&v| p.func.ty(v).to_string()).collect::<Vec<_>>(), inst.outputs.iter().map(|&v| p.func.ty(v).to_string()).collect::<Vec<_>>(), inst.scope);
        }
    });
}
