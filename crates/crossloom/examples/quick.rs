//! scratch
use std::sync::atomic::AtomicBool;
struct R(std::time::Instant);
impl crossloom_train::progress::Progress for R {
    fn update(&mut self, u: &crossloom_train::progress::ProgressUpdate) {
        if u.step % 50 == 0 || u.step == u.steps { println!("{:?} {}/{} loss {:?} {:?}/s t {:.1}", u.phase, u.step, u.steps, u.loss, u.steps_per_second, self.0.elapsed().as_secs_f64()); }
    }
    fn note(&mut self, t: &str) { println!("note {t}"); }
}
impl crossloom::experiment::Reporter for R {
    fn begin(&mut self, v: &str, s: crossloom::experiment::Stage) { println!("== {v} {s:?} t {:.2}", self.0.elapsed().as_secs_f64()); }
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let sets = args[2..].to_vec();
    let loaded = match crossloom_recipe::load(std::path::Path::new(&args[1]), &crossloom_recipe::LoadOptions { sets }) { Ok(l) => l, Err(e) => { println!("{e}"); return; } };
    let request = crossloom::experiment::RunRequest { recipe: &loaded, variants: std::env::var("V").map(|v| v.split(',').map(str::to_owned).collect()).unwrap_or_default(), out: "/tmp/runs".into(), resume: false, force: true, command: String::new() };
    let pool = rayon::ThreadPoolBuilder::new().build().unwrap();
    let out = pool.install(|| match crossloom::experiment::run(&request, &mut R(std::time::Instant::now()), &AtomicBool::new(false)) {
        Ok(crossloom::experiment::RunOutcome::Finished(f)) => f.comparison.to_text(),
        Ok(_) => "interrupted".into(),
        Err(e) => format!("error: {e}"),
    });
    println!("{out}");
}
